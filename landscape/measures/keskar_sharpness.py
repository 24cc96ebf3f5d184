"""Keskar's sharpness: the relative increase of the loss within a small box around the weights.

Legend: P parameters.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from landscape.distributed import Group
from landscape.errors import NotApplicableError
from landscape.linalg.ascent import Ascent, Function, Point, apgd, highest, lbfgsb
from landscape.linalg.ball import Ball
from landscape.measures.highest import Terrain, find_highest
from landscape.measures.metering import Progress, announce, metered
from landscape.measures.sample_groups import SampleGroups
from landscape.measures.worst_sharpness import within
from landscape.parameters import flatten
from landscape.problem import Problem
from landscape.records import Record

_KEY = 1_000_015
_SEARCHED = 4  # evaluations an iteration that a line search is allowed on average

Solver = Literal["l-bfgs-b", "apgd"]


@metered
def keskar_sharpness(
    problem: Problem,
    *,
    epsilon: float = 1e-3,
    solver: Solver = "l-bfgs-b",
    steps: int = 10,
    restarts: int = 1,
    rtol: float = 0.05,
    budget: float = 200.0,
    seed: int = 0,
    on_progress: Progress | None = None,
) -> Record:
    """Keskar's sharpness, in percent, over the box C of all parameters:

        100 (max { L(theta + e) : e in C } - L(theta)) / (1 + L(theta)),   C = { e : |e_i| <= epsilon (|theta_i| + 1) }

    The maximum is sought as the paper does, by a few iterations of L-BFGS-B, or by Auto-PGD, whose steps go to the
    box's corners; from the weights themselves and from random points of the box. The largest value found is told, a
    lower bound. (The paper's other form, over random subspaces, is not offered.)

    Args:
        problem: the problem; all of its parameters are shifted, the running statistics of batch normalisation are not.
        epsilon: the size of the box; the paper has 1e-3 and 5e-4.
        solver: `l-bfgs-b` or `apgd`.
        steps: iterations of the solver; the paper has 10 of L-BFGS-B, each of which may evaluate several points.
        restarts: random starts, beside the weights themselves.
        rtol: `converged` asks that a linear function with the slope at the point found gain no more than this share of
            the value within the box.
        budget: gradient-equivalents at most: random starts are left out, then steps, then evaluations.
        seed: of the random starts.
        on_progress: hears the largest increase so far, in percent.

    Returns:
        A record: `value`; `stderr` NaN (how far below the maximum is not known); `sampling_stderr` to first order, with
        the perturbation and L(theta) held fixed; `epsilon`, `solver`, `steps`, `restarts`, `increase` (of the loss),
        `perturbed_loss`, `perturbed_accuracy`, `starts`, `gap` and `trace` (increases of the loss).

    Cost: 1 gradient-equivalent an evaluation: one a step of Auto-PGD, one or a few an iteration of L-BFGS-B. L-BFGS-B
    keeps 20 vectors of float64 on the CPU.

    Raises:
        NotApplicableError: 1 + L(theta) is not positive.

    Reference: Keskar et al. 2017, metric 2.1 with equations 3 and 4.
    """
    per_step = _SEARCHED if solver == "l-bfgs-b" else 1
    steps, restarts = within(budget / per_step, steps, restarts)
    evaluations = max(1, min(per_step * steps, int(budget / (1 + restarts)) - 1))
    cost = (1 + restarts) * (1 + evaluations)
    announce(on_progress, cost)
    ball = Ball(epsilon, "inf")
    base: list[float] = []

    def climb(terrain: Terrain, start: Point) -> Ascent:
        base[:] = [terrain.base.loss]
        if solver == "apgd":
            return apgd(terrain.slope, start, ball, steps)
        return led(problem.group, terrain.slope, start, lambda f: lbfgsb(f, start, ball, steps, evaluations))

    found = find_highest(
        problem, SampleGroups(problem, None), scale=flatten(problem.parameters).abs() + 1, ball=ball, climb=climb,
        restarts=restarts, seed=seed, key=_KEY,
        on_start=None if on_progress is None else lambda rise: on_progress(f"{100 * rise / (1 + base[0]):.4g}", cost),
    )  # fmt: skip
    if not 1 + base[0] > 0:
        raise NotApplicableError(f"a relative increase needs 1 + L > 0, and the loss is {base[0]:.4g}")
    percent = 100 / (1 + base[0])
    settings = {"epsilon": epsilon, "solver": solver, "steps": steps, "restarts": restarts}
    return Record(
        value=percent * found.value,
        sampling_stderr=percent * found.sampling_stderr,
        converged=found.gap <= rtol * found.value,
        details={**settings, "increase": found.value, **found.details},
    )


def led(group: Group, function: Function, start: Point, way: Callable[[Function], Ascent]) -> Ascent:
    """Let process 0 alone decide where a function is evaluated; the others evaluate along.

    A way that decides by itself (a library's) must run once: its processes could part ways by a rounding.

    Args:
        group: the processes; each calls this with the same arguments.
        function: evaluated by all of them together, with the same value in each.
        start: a point that counts among those visited.
        way: takes the function and walks.
    """
    if group.size == 1:
        return way(function)
    best, values = start, [start.value]

    def together(u: Tensor) -> Point:
        nonlocal best
        point = function(group.sum(u.clone() if group.rank == 0 else torch.zeros_like(start.u)))
        values.append(point.value)
        best = highest([best, point])
        return point

    def announced(u: Tensor) -> Point:
        group.first(True)
        return together(u)

    if group.rank == 0:
        try:
            way(announced)
        finally:
            group.first(False)
    else:
        while group.first(None):
            together(start.u)
    return Ascent(best, tuple(values))
