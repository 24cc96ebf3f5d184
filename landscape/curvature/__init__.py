"""Curvature and slopes of a problem: Hessian, Jacobian and per-sample products."""
