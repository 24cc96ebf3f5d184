"""Worst-case sharpness by projected ascent: within a ball or a box, relative to the weights or not.

Legend: P parameters.
"""

from __future__ import annotations

import torch
from torch import Tensor

from landscape.linalg.ascent import Ascent, Point, apgd
from landscape.linalg.ball import Ball, Norm
from landscape.measures.highest import Terrain, find_highest
from landscape.measures.metering import Progress, announce, metered
from landscape.measures.sample_groups import SampleGroups
from landscape.parameters import flatten
from landscape.problem import Problem
from landscape.records import Record

RADIUS: dict[Norm, float] = {2: 0.5, "inf": 0.002}
_KEY = 1_000_013


def relative_scale(problem: Problem, adaptive: bool) -> Tensor:
    """c (P,): |theta| where shifts are relative to the weights, else 1."""
    theta = flatten(problem.parameters)
    return theta.abs() if adaptive else torch.ones_like(theta)


@metered
def worst_sharpness(
    problem: Problem,
    *,
    rho: float | None = None,
    norm: Norm = "inf",
    adaptive: bool = True,
    steps: int = 20,
    restarts: int = 1,
    m: int | None = None,
    rtol: float = 0.05,
    budget: float = 200.0,
    seed: int = 0,
    on_progress: Progress | None = None,
) -> Record:
    """Worst-case sharpness, max { L(theta + c ∘ u) - L(theta) : ||u||_p <= rho }, by Auto-PGD in u.

    c = |theta| (adaptive) or 1, p = 2 or inf. The ascent starts from u = 0 and from random points; the largest increase
    found is told, a lower bound on the maximum. A parameter that is 0 stays 0 where the shifts are relative.

    The ascent and its projections are in u, so that the value is invariant with the set (the authors' code projects in
    the Euclidean norm of c ∘ u, and its step is not the steepest one of the set).

    Args:
        problem: the problem; all of its parameters are shifted, the running statistics of batch normalisation are not.
        rho: the radius; None for 0.002 with p = inf and 0.5 with p = 2.
        norm: p.
        adaptive: whether shifts are relative to |theta|.
        steps: of each ascent.
        restarts: random starts, beside the weights themselves.
        m: samples that share a perturbation (m-sharpness: the mean over groups of m consecutive ones); None for all.
            The authors take 128.
        rtol: `converged` asks that a linear function with the slope at the point found gain no more than this share of
            the value within the set.
        budget: gradient-equivalents at most: random starts are left out, then steps.
        seed: of the random starts.
        on_progress: hears the largest increase so far.

    Returns:
        A record: `value`; `stderr` NaN (how far below the maximum is not known); `sampling_stderr` to first order, with
        the perturbation held fixed; `rho`, `norm`, `adaptive`, `steps`, `restarts`, `m`, `perturbed_loss`,
        `perturbed_accuracy`, `starts`, `gap`, and the `trace` of the best start, or `group_quantiles` where there are
        several groups.

    Cost: 1 gradient-equivalent a step, and 1 a start.

    Reference: Andriushchenko et al. 2023, section 3 (S_max); Croce and Hein 2020, algorithm 1 (Auto-PGD).
    """
    rho = RADIUS[norm] if rho is None else rho
    steps, restarts = within(budget, steps, restarts)
    cost = (1 + restarts) * (1 + steps)
    announce(on_progress, cost)
    ball = Ball(rho, norm)

    def climb(terrain: Terrain, start: Point) -> Ascent:
        return apgd(terrain.slope, start, ball, steps)

    found = find_highest(
        problem, SampleGroups(problem, m), scale=relative_scale(problem, adaptive), ball=ball, climb=climb,
        restarts=restarts, seed=seed, key=_KEY,
        on_start=None if on_progress is None else lambda rise: on_progress(f"{rise:.4g}", cost),
    )  # fmt: skip
    settings = {"rho": rho, "norm": norm, "adaptive": adaptive, "steps": steps, "restarts": restarts, "m": m}
    return Record(
        value=found.value,
        sampling_stderr=found.sampling_stderr,
        converged=found.gap <= rtol * found.value,
        details={**settings, **found.details},
    )


def within(budget: float, steps: int, restarts: int) -> tuple[int, int]:
    """As many of the random starts and then of the steps as the budget allows, one step at the least."""
    while restarts and (1 + restarts) * (1 + steps) > budget:
        restarts -= 1
    return max(1, min(steps, int(budget / (1 + restarts)) - 1)), restarts
