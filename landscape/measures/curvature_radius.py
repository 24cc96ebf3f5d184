"""The radius of curvature of the loss along each parameter, and its median over each layer.

Legend: P parameters, k probes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from landscape.curvature.hessian import HessianOperator, gradient
from landscape.linalg.probes import rademacher
from landscape.parameters import flatten, group_parameters, unflatten
from landscape.problem import Problem

CAP = 1e6
_OWN_PROBES = 1_000_005  # keeps the signs apart from those of other measures


@dataclass(frozen=True)
class Radius:
    """The radii of one group of parameters.

    Attributes:
        median: of the radii, those above the cap as the cap; NaN where none is defined.
        capped: how many were above the cap or infinite.
        undefined: how many were 0/0, and left out.
        size: parameters in all.
    """

    median: float
    capped: int
    undefined: int
    size: int


def curvature_radius(
    problem: Problem,
    *,
    way: Literal["parabola", "diagonal"] = "parabola",
    probes: int = 16,
    cap: float = CAP,
    seed: int = 0,
    by: str = "layer",
) -> dict[str, Radius]:
    """The median radius of curvature of each group.

        diagonal    R_i = (1 + g_i^2)^{3/2} / |H_ii|    the curve L along theta_i at its point
        parabola    R_i = |theta_i / g_i|               that of a parabola with its minimum at 0, and g_i^2 << 1

    g is the gradient of the problem's loss; H_ii is estimated by the mean of v ∘ Hv over `probes` random sign vectors
    (Bekas, Kokiopoulou and Saad 2007), unbiased but noisy: |H_ii| of a small entry is too large. The paper's figures do
    not say which of the two they show; its method is built on the parabola. *Our reading*: 0/0 is undefined and left
    out of the median, all else that exceeds `cap` counts as `cap`.

    Args:
        problem: the problem.
        way: `parabola` or `diagonal`.
        probes: for `diagonal`.
        cap: the largest radius.
        seed: of the probes.
        by: how parameters are grouped.

    Returns:
        Group name -> radius.

    Cost: 1 gradient-equivalent; `diagonal` 2.4 more a probe.

    Reference: arXiv:2012.08795, equations 9 and 17, figure 2.
    """
    theta = problem.parameters
    g_P = gradient(problem)
    if way == "parabola":
        above, below = flatten(theta).abs(), g_P.abs()
    else:
        above, below = (1 + g_P.square()).pow(1.5), _diagonal(problem, probes, seed).abs()
    radii_P = above / below  # 0/0 is NaN
    parts = unflatten(radii_P, theta)
    return {group: _radius(parts, names, cap) for group, names in group_parameters(problem.infos, by).items()}


def _diagonal(problem: Problem, probes: int, seed: int) -> Tensor:
    """The mean over the probes of v ∘ Hv, (P,); signs make v ∘ v one."""
    operator = HessianOperator(problem)
    total = torch.zeros(problem.size, dtype=problem.dtype, device=problem.device)
    for k in range(probes):
        v_P = rademacher(problem.size, seed, _OWN_PROBES, k, dtype=problem.dtype, device=problem.device)
        total += v_P * operator.matmat(v_P[:, None])[:, 0]
    return total / probes


def _radius(parts: Mapping[str, Tensor], names: tuple[str, ...], cap: float) -> Radius:
    radii = torch.cat([parts[name].reshape(-1) for name in names]).cpu().double()
    defined = radii[~radii.isnan()]
    capped = defined.clamp(max=cap)
    median = float(capped.quantile(0.5)) if 0 < len(capped) < 2**24 else _large_median(capped)
    return Radius(median, int((defined > cap).sum()), len(radii) - len(defined), len(radii))


def _large_median(values: Tensor) -> float:
    """The middle value, the lower of two; `quantile` refuses more than 2^24 values."""
    return float(values.median()) if len(values) else float("nan")
