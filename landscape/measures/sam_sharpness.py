"""SAM's and ASAM's sharpness: the increase of the loss at the worst weights nearby, to first order or better.

Legend: P parameters.
"""

from __future__ import annotations

import torch
from torch import Tensor

from landscape.linalg.ascent import Ascent, Point, linear_ascent
from landscape.linalg.ball import Ball
from landscape.measures.highest import Terrain, find_highest
from landscape.measures.metering import Progress, announce, metered
from landscape.measures.sample_groups import SampleGroups
from landscape.parameters import flatten
from landscape.problem import Problem
from landscape.records import Record
from landscape.work import WEIGHTS

_SAM, _ASAM = 1_000_011, 1_000_012  # keep the random starts of the two apart


@metered
def sam_sharpness(
    problem: Problem,
    *,
    rho: float = 0.05,
    steps: int = 1,
    restarts: int = 0,
    m: int | None = None,
    rtol: float = 0.05,
    budget: float = 200.0,
    seed: int = 0,
    on_progress: Progress | None = None,
) -> Record:
    """SAM's sharpness, max { L(theta + e) - L(theta) : ||e||_2 <= rho }.

    With one step it is what SAM descends on, exact on the chosen samples and negative where the loss falls that way:

        L(theta + e) - L(theta),   e = rho g/||g||_2,   g = grad L(theta)     (e = 0 where g = 0)

    More steps repeat the step with the gradient at the shifted weights (`landscape.linalg.ascent.linear_ascent`), also
    from random points of the sphere; the largest increase found is told, a lower bound on the maximum.

    Args:
        problem: the problem; all of its parameters are shifted, the running statistics of batch normalisation are not.
        rho: the radius, in the norm of all parameters.
        steps: of the ascent.
        restarts: random starts, beside the weights themselves.
        m: samples that share a perturbation (m-sharpness: the mean over groups of m consecutive ones); None for all.
        rtol: `converged` asks that a linear function with the slope at the point found gain no more than this share of
            the value within the ball; one step has converged, it is what it is defined to be.
        budget: gradient-equivalents at most: random starts are left out, then steps; one step is always taken.
        seed: of the random starts.
        on_progress: hears the largest increase so far.

    Returns:
        A record: `value`; `stderr` 0 for one step, NaN for more (how far below the maximum is not known);
        `sampling_stderr` to first order, with the perturbation held fixed; `rho`, `steps`, `restarts`, `m` (null for
        all), `perturbed_loss`, `perturbed_accuracy`, `starts` (the increase found from each), `gap` (null for one
        step), and the `trace` of the best start, or `group_quantiles` where there are several groups.

    Cost: 4/3 gradient-equivalents for one step; else 1 a step and 1 more a start.

    Reference: Foret et al. 2021, section 2 (the sharpness) and equation 2 (the step).
    """
    scale = torch.ones(problem.size, dtype=problem.dtype, device=problem.device)
    return _sharpness(problem, scale, _SAM, rho, steps, restarts, m, rtol, budget, seed, {}, on_progress)


@metered
def asam_sharpness(
    problem: Problem,
    *,
    rho: float = 0.5,
    eta: float = 0.01,
    steps: int = 1,
    restarts: int = 0,
    m: int | None = None,
    rtol: float = 0.05,
    budget: float = 200.0,
    seed: int = 0,
    on_progress: Progress | None = None,
) -> Record:
    """ASAM's sharpness, max { L(theta + e) - L(theta) : ||T^-1 e||_2 <= rho }, with shifts relative to the weights.

    T_i = |theta_i| + eta on weights (tensors of two axes and more, *our reading*), 1 on other parameters. One step:

        L(theta + e) - L(theta),   e = rho T^2 g/||T g||_2

    Args:
        problem, rho, steps, restarts, m, rtol, budget, seed, on_progress: as for `sam_sharpness`; rho is in units of T.
        eta: added to |theta|.

    Returns:
        A record as that of `sam_sharpness`, with `eta`.

    Cost: as `sam_sharpness`.

    Reference: Kwon et al. 2021, definition 2 (the sharpness) and algorithm 1 (the step).
    """
    parts = [t.abs() + eta if t.ndim > 1 else torch.ones_like(t) for t in problem.parameters.values()]
    scale = flatten({str(i): part for i, part in enumerate(parts)})
    return _sharpness(problem, scale, _ASAM, rho, steps, restarts, m, rtol, budget, seed, {"eta": eta}, on_progress)


def _sharpness(
    problem: Problem,
    scale: Tensor,
    key: int,
    rho: float,
    steps: int,
    restarts: int,
    m: int | None,
    rtol: float,
    budget: float,
    seed: int,
    details: dict[str, float],
    on_progress: Progress | None,
) -> Record:
    steps, restarts = _within(budget, steps, restarts)
    cost = _cost(steps, restarts)
    announce(on_progress, cost)
    ball = Ball(rho, 2)
    once = steps == 1 and restarts == 0

    def climb(terrain: Terrain, start: Point) -> Ascent:
        return linear_ascent(terrain.level if once else terrain.slope, start, ball, steps)

    groups = SampleGroups(problem, m)
    found = find_highest(
        problem, groups, scale=scale, ball=ball, climb=climb, restarts=restarts, seed=seed, key=key,
        on_start=None if on_progress is None else lambda rise: on_progress(f"{rise:.4g}", cost),
    )  # fmt: skip
    return Record(
        value=found.value,
        stderr=0.0 if once else float("nan"),
        sampling_stderr=found.sampling_stderr,
        converged=once or found.gap <= rtol * found.value,
        details={"rho": rho, **details, "steps": steps, "restarts": restarts, "m": m, **found.details},
    )


def _cost(steps: int, restarts: int) -> float:
    if steps == 1 and restarts == 0:
        return 1 + WEIGHTS["forward"]
    return (1 + restarts) * (1 + steps)


def _within(budget: float, steps: int, restarts: int) -> tuple[int, int]:
    """As many of the random starts and then of the steps as the budget allows, one step at the least."""
    while restarts and _cost(steps, restarts) > budget:
        restarts -= 1
    while steps > 1 and _cost(steps, restarts) > budget:
        steps -= 1
    return steps, restarts
