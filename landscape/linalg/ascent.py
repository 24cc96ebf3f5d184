"""Ways up a function within a ball: each visits points of the ball and gives the highest one that it met.

Every value found is a lower bound on the maximum; only where the function is known to be concave does the gap to first
order (`Ball.gap`) say how much is missing. A value that is not finite ends a way at once and is what it gives.

Legend: P size, N steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.optimize
import torch
from torch import Tensor

from landscape.linalg.ball import Ball

_MOMENTUM = 0.75
_LEAST_UPDATES = 0.75


@dataclass(frozen=True)
class Point:
    """A point u (P,), the function's value and gradient (P,) there, and what the function keeps with it.

    The gradient is None where only the value was asked for.
    """

    u: Tensor
    value: float
    gradient: Tensor | None
    extra: Any = None

    @property
    def slope(self) -> Tensor:
        """The gradient, where it must be there."""
        assert self.gradient is not None, "a way goes on from points with a gradient"
        return self.gradient


Function = Callable[[Tensor], Point]


@dataclass(frozen=True)
class Ascent:
    """The highest point of a way, and the values of all its points in their order, the start first."""

    best: Point
    values: tuple[float, ...]


def highest(points: Iterable[Point]) -> Point:
    """The first point of the largest value; one whose value is not finite before all others."""
    best = None
    for point in points:
        if not math.isfinite(point.value):
            return point
        if best is None or point.value > best.value:
            best = point
    assert best is not None, "a way has points"
    return best


def linear_ascent(function: Function, start: Point, ball: Ball, steps: int) -> Ascent:
    """Go to the maximiser over the ball of the linear function with the slope at hand, `steps` times.

        u_{k+1} = argmax { g(u_k)'u : ||u||_p <= radius }

    The first step from 0 is SAM's. A convex function never falls on this way, and where it stays (the gap is 0) the
    first-order conditions of a maximum hold. The start is no candidate for the highest point.

    Cost: `steps` evaluations.

    Reference: Foret et al. 2021, equation 2 (the step); Journée et al. 2010, algorithm 1 (repeated, convex functions).
    """
    values = [start.value]
    here, best = start, None
    for _ in range(steps):
        here = function(ball.radius * ball.steepest(here.slope))
        values.append(here.value)
        best = highest([best, here] if best is not None else [here])
        if not math.isfinite(here.value):
            break
    assert best is not None, "at least one step"
    return Ascent(best, tuple(values))


def apgd(function: Function, start: Point, ball: Ball, steps: int) -> Ascent:
    """Auto-PGD: projected ascent with momentum, whose step is halved where it no longer pays.

        z = Proj(u_k + eta d_k),   u_{k+1} = Proj(u_k + 0.75 (z - u_k) + 0.25 (u_k - u_{k-1}))

    with d_k the steepest direction of the ball's norm and eta = 2 radius at first. At the checkpoints of
    `checkpoints` eta is halved, and the way goes on from the highest point, if fewer than 75% of the steps since the
    last one went up, or if neither eta nor the highest value changed since.

    Cost: `steps` evaluations.

    Reference: Croce and Hein 2020, algorithm 1, with `steps` = N_iter.
    """
    eta = 2 * ball.radius
    best, here, before = start, start, start
    values = [start.value]
    marks = checkpoints(steps)
    rises, last = 0, (0, eta, start.value)
    for k in range(steps):
        z = ball.project(here.u + eta * ball.steepest(here.slope))
        keep = _MOMENTUM if k > 0 else 1.0
        u = ball.project(here.u + keep * (z - here.u) + (1 - keep) * (here.u - before.u))
        before, here = here, function(u)
        values.append(here.value)
        if not math.isfinite(here.value):
            return Ascent(here, tuple(values))
        rises += here.value > before.value
        if here.value > best.value:
            best = here
        if k + 1 in marks:
            since, last_eta, last_best = last
            last = (k + 1, eta, best.value)
            if rises < _LEAST_UPDATES * (k + 1 - since) or (last_eta == eta and last_best == best.value):
                eta /= 2
                here = before = best
            rises = 0
    return Ascent(best, tuple(values))


def checkpoints(steps: int) -> set[int]:
    """The steps w_j = ceil(p_j N) with p_1 = 0.22, p_{j+1} = p_j + max(p_j - p_{j-1} - 0.03, 0.06)."""
    shares = [0.0, 0.22]
    while shares[-1] < 1:
        shares.append(shares[-1] + max(shares[-1] - shares[-2] - 0.03, 0.06))
    return {math.ceil(p * steps - 1e-9) for p in shares[1:] if p < 1}  # 0.41 * 100 is above 41 by a rounding


def lbfgsb(function: Function, start: Point, ball: Ball, steps: int, evaluations: int) -> Ascent:
    """L-BFGS-B (scipy) on the negative of the function, within a box: `steps` iterations, `evaluations` at most.

    Cost: one to twenty evaluations an iteration (a line search). Memory: 2 x 10 vectors of float64 on the CPU.

    Reference: Byrd, Lu, Nocedal and Zhu 1995.
    """
    assert ball.norm == "inf", "L-BFGS-B knows boxes only"
    best = start
    values = [start.value]
    asked = False

    def negative(u: np.ndarray) -> tuple[float, np.ndarray]:
        nonlocal best, asked
        if not asked:  # scipy asks for the start first, which is known
            asked = True
            return -start.value, -start.slope.cpu().double().numpy()
        if len(values) > evaluations or not math.isfinite(best.value):
            raise _SpentError
        point = function(ball.project(torch.from_numpy(u).to(start.u)))
        values.append(point.value)
        best = highest([best, point])
        return -point.value, -point.slope.cpu().double().numpy()

    size = start.u.numel()
    with suppress(_SpentError):
        scipy.optimize.minimize(
            negative,
            start.u.cpu().double().numpy(),
            jac=True,
            method="L-BFGS-B",
            bounds=scipy.optimize.Bounds(np.full(size, -ball.radius), np.full(size, ball.radius)),
            options={"maxiter": steps, "maxfun": evaluations + 1, "ftol": 0.0, "gtol": 0.0},
        )
    return Ascent(best, tuple(values))


class _SpentError(Exception):
    """No further evaluation is wanted."""
