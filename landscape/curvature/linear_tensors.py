"""Which parameters a network's outputs are linear in, each tensor alone, around the point where they are.

Where f is linear in a tensor s (the others fixed) the residual R = sum_n sum_k (dl_n/df_k) H(f_nk) of the Hessian has
no diagonal block of s: R_ss = 0 and H_ss = G_ss. So it is for every tensor of a network of convolutions, linear layers,
normalisation by running statistics, ReLU and max pooling, which is piecewise linear in each of them: the diagonal and
the trace of its Hessian are those of its Gauss-Newton part.

Legend: T parameter tensors, N samples.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from landscape.curvature.second_derivatives import check_second_derivative
from landscape.errors import NotApplicableError
from landscape.linalg.probes import gaussian
from landscape.problem import Problem
from landscape.work import WEIGHTS, charge

_FEW = 3  # samples that show it
# Second derivatives that are 0 come out as 0 or as rounding; others are of the size of the first, a unit of theta.
_TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-10}
_SIGNS, _DIRECTIONS = 1_000_009, 1_000_010  # keep these draws apart from those of measures


def trial_cost(problem: Problem) -> float:
    """What `linear_tensors` costs at most, in gradient-equivalents."""
    passes = WEIGHTS["gradient"] + WEIGHTS["backward"] * len(problem.parameters)
    return passes * min(_FEW, len(problem)) / len(problem)


def linear_tensors(problem: Problem) -> frozenset[str]:
    """The parameters s with d^2 <f_n, c> / d theta_s^2 v = 0 for random c and v on a few samples n.

    A random product is 0 for a block that is not 0 with probability 0. What the few samples do not show is not seen: a
    nonlinearity that none of them reaches. Empty where the outputs are not one tensor or have no second derivative.

    Cost: on 3 samples, a gradient and T backward passes; processes share the tensors.
    """
    theta = {name: tensor.detach().requires_grad_() for name, tensor in problem.parameters.items()}
    batch = next(problem.batches(0, min(_FEW, len(problem)), size=_FEW))
    with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
        outputs = problem.outputs(theta, batch.inputs)
        charge("gradient", len(batch))
        if not isinstance(outputs, Tensor) or not outputs.requires_grad:
            return frozenset()
        c = gaussian(outputs.numel(), 0, _SIGNS, dtype=outputs.dtype, device=outputs.device).view_as(outputs)
        leaves, linear, failed = list(theta.values()), np.zeros(len(theta)), 0.0
        try:
            slopes = torch.autograd.grad(outputs, leaves, c, create_graph=True, allow_unused=True)
            check_second_derivative(slopes, "")
            for t in problem.group.share(len(theta)):
                slope = slopes[t]
                linear[t] = slope is None or _is_linear(problem, leaves[t], slope, t, len(batch))
        except (RuntimeError, NotApplicableError):  # a function of the network has no second derivative
            failed = 1.0
    *of_all, failures = problem.group.sum_array(np.append(linear, failed))
    return frozenset(name for name, known in zip(theta, of_all, strict=True) if known and not failures)


def _is_linear(problem: Problem, leaf: Tensor, slope: Tensor, number: int, samples: int) -> bool:
    if not slope.requires_grad:
        return True
    v = gaussian(leaf.numel(), 0, _DIRECTIONS, number, dtype=leaf.dtype, device=leaf.device).view_as(leaf)
    (product,) = torch.autograd.grad(slope, leaf, v, retain_graph=True, allow_unused=True)
    charge("backward", samples)
    if product is None:
        return True
    size = float(leaf.detach().norm()) or 1.0
    tolerance = _TOLERANCE.get(leaf.dtype, 1e-2)
    return float(product.norm()) <= tolerance * float(slope.detach().norm()) * float(v.norm()) / size
