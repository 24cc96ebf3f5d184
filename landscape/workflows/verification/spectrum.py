"""Checks of trace, density and largest eigenvalue against each other and against other packages."""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

from landscape.curvature.pyhessian import pyhessian_eigenvalues
from landscape.errors import NotApplicableError
from landscape.measures import hessian_trace
from landscape.workflows.verification.finding import Figure, Finding, equal, within
from landscape.workflows.verification.subject import Subject

_SIGMAS = 4.0  # of a normal estimate one in 16,000 is further off
_ROUNDING = 1e-9
_DENSE = 64  # parameters up to which the trace is summed from all products
_ARPACK_PRODUCTS, _ARPACK_TOLERANCE = 60, 1e-4
_PYHESSIAN_PRODUCTS = 40


def trace_and_density(subject: Subject) -> Finding:
    """Tr H against p times the mean of the spectral density, and against the sum over layers.

    The two estimates use other probes; they may differ by four of their combined standard errors.
    """
    problem = subject.problem
    trace = hessian_trace(problem, rtol=subject.rtol, budget=subject.budget, seed=subject.seed, by="layer")
    density = subject.density
    mean, error = problem.size * density.value, problem.size * density.stderr
    combined = math.hypot(trace.stderr, error)
    floor = _ROUNDING * abs(trace.value)
    figures = [
        within(f"trace and {problem.size:,} times the density's mean", trace.value, mean, _SIGMAS * combined + floor),
        equal("trace and the sum of the layers' traces", trace.value, sum(trace.groups.values()), rtol=_ROUNDING),
    ]
    if problem.size <= _DENSE:
        exact = sum(
            float(subject.reference.product(e) @ e)
            for e in torch.eye(problem.size, dtype=problem.dtype).to(problem.device)
        )
        figures.append(
            within("trace and the sum of e'He", trace.value, exact, _SIGMAS * trace.stderr + _ROUNDING * abs(exact))
        )
    return Finding.of(figures, reason="" if trace.converged else "the budget ended before the trace was that exact")


def top_eigenvalue(subject: Subject) -> Finding:
    """lambda_1 against ARPACK (SciPy's eigsh) on the plain network's products, and PyHessian's against it.

    An eigenvalue of PyHessian above ours by more than both errors would be one that we missed. One below is none of
    ours to fail: its power iteration stops on a small change and finds the largest in magnitude.
    """
    problem, record = subject.problem, subject.top
    if problem.size < 3:
        return Finding.skip(f"ARPACK needs three parameters or more, the network has {problem.size}")
    bound = record.stderr
    figures = []
    notes = [] if record.converged else ["the budget ended before the eigenvalue was certain"]
    try:
        value = _arpack(subject)
        allowed = bound + 10 * _ARPACK_TOLERANCE * abs(value) + 1e-12
        if value > record.value + allowed:
            notes.append(
                "the start vector hardly meets the largest eigenvector, which a run may miss (excluded_above says with "
                "which confidence); another --seed finds it"
            )
        figures.append(within("largest eigenvalue, by ARPACK", record.value, value, allowed))
    except ArpackNoConvergence:
        notes.append(f"ARPACK did not converge in {_ARPACK_PRODUCTS} iterations")
    try:
        values, vectors = pyhessian_eigenvalues(problem, top=1, max_products=_PYHESSIAN_PRODUCTS, seed=subject.seed)
        v = vectors[:, 0].to(problem.device, problem.dtype)
        residual = float((subject.reference.product(v) - values[0] * v).norm())
        above = max(0.0, float(values[0]) - record.value)
        allowed = bound + residual + 1e-9 * abs(record.value)
        figures.append(Figure("PyHessian's eigenvalue, how far above", record.value, float(values[0]), above, allowed))
        if float(values[0]) < record.value - allowed:
            notes.append("PyHessian stopped at another eigenvalue, or before it converged")
    except NotApplicableError as error:
        notes.append(str(error))
    return Finding.of(figures, reason="; ".join(notes)) if figures else Finding.skip("; ".join(notes))


def _arpack(subject: Subject) -> float:
    problem, reference = subject.problem, subject.reference

    def product(v: np.ndarray) -> np.ndarray:
        vector = torch.from_numpy(np.ascontiguousarray(v).reshape(-1)).to(problem.device, problem.dtype)
        return reference.product(vector).double().cpu().numpy()

    operator = LinearOperator((problem.size, problem.size), matvec=product, dtype=np.float64)
    start = subject.direction(2).double().cpu().numpy()
    size = min(problem.size, 20)
    (value,) = eigsh(
        operator, k=1, which="LA", v0=start, tol=_ARPACK_TOLERANCE, ncv=size, maxiter=_ARPACK_PRODUCTS,
        return_eigenvectors=False,
    )  # fmt: skip
    return float(value)
