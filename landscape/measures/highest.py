"""The largest increase of the loss that was found within a neighbourhood of the weights.

    max { L(theta + c ∘ u) - L(theta) : ||u||_p <= rho }

by ways up (`landscape.linalg.ascent`) from the weights themselves and from random points. What is found is a lower
bound on the maximum.

Legend: P parameters, G groups of samples, R starts, N samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from landscape.curvature.shifted import SampleValues, Shifted
from landscape.linalg.ascent import Ascent, Point
from landscape.linalg.ball import Ball
from landscape.linalg.means import sampling_stderr
from landscape.measures.sample_groups import SampleGroups
from landscape.problem import Problem


class Terrain:
    """The increase of a group's loss as a function of u.

    Args:
        shifted: the loss as a function of the shift e = c ∘ u.
        scale: c (P,).
    """

    def __init__(self, shifted: Shifted, scale: Tensor) -> None:
        self._shifted = shifted
        self._scale = scale
        self.base, gradient = shifted.with_gradient()
        self.origin = Point(torch.zeros_like(gradient), 0.0, scale * gradient, self.base)

    def slope(self, u: Tensor) -> Point:
        """Value and gradient at u. Cost: a gradient."""
        values, gradient = self._shifted.with_gradient(self._scale * u)
        return Point(u, self._rise(values), self._scale * gradient, values)

    def level(self, u: Tensor) -> Point:
        """The value alone. Cost: a forward pass."""
        values = self._shifted.values(self._scale * u)
        return Point(u, self._rise(values), None, values)

    def _rise(self, values: SampleValues) -> float:
        return self._shifted.agreed(values.loss - self.base.loss)


Climb = Callable[[Terrain, Point], Ascent]


@dataclass(frozen=True)
class Highest:
    """What was found, over all groups.

    Attributes:
        value: the mean over the groups of the largest increase found in each.
        sampling_stderr: that of the mean over groups, or to first order (where the perturbation stays) over samples.
        gap: the mean over the groups of what a linear function with the slope at the highest point could still gain;
            NaN where no gradient was taken there.
        details: for the record.
    """

    value: float
    sampling_stderr: float
    gap: float
    details: dict[str, Any]


def find_highest(
    problem: Problem,
    groups: SampleGroups,
    *,
    scale: Tensor,
    ball: Ball,
    climb: Climb,
    restarts: int,
    seed: int,
    key: int,
    on_start: Callable[[float], None] | None = None,
) -> Highest:
    """Climb in every group from u = 0 and from `restarts` random points of the ball.

    Args:
        problem: the problem.
        groups: the groups of samples.
        scale: c (P,).
        ball: the neighbourhood of u.
        climb: the way up from a start.
        restarts: random starts, beside u = 0; they depend on (seed, key, start, group).
        seed: of the random starts.
        key: keeps the random points of different measures apart.
        on_start: hears the largest increase after each start.
    """
    found_GR = np.zeros((len(groups), 1 + restarts))
    rest_G4 = np.zeros((len(groups), 4))
    rises_N = np.zeros(len(problem))
    trace = np.zeros(0)
    for g, shifted in groups.own():
        terrain = Terrain(shifted, scale)
        best: Ascent | None = None
        for r in range(1 + restarts):
            start = terrain.origin if r == 0 else terrain.slope(_random(ball, scale, seed, key, r, g))
            ascent = climb(terrain, start)
            found_GR[g, r] = ascent.best.value
            if best is None or ascent.best.value > best.best.value or not math.isfinite(ascent.best.value):
                best = ascent
            if on_start is not None:
                on_start(best.best.value)
        assert best is not None, "at least one start"
        point, base = best.best, terrain.base
        gap = math.nan if point.gradient is None else ball.gap(point.u, point.gradient)
        values: SampleValues = point.extra
        rest_G4[g] = (shifted.agreed(gap), values.loss, values.correct.sum(), values.counted.sum())
        low, high = groups.rows(g)
        rises_N[low:high] = values.losses - base.losses
        trace = np.array(best.values)
    found_GR, rest_G4 = groups.of_all(found_GR), groups.of_all(rest_G4)
    share = len(problem) / problem.population
    if groups.together:
        sampling = sampling_stderr(rises_N, problem.weights.numpy(), sampled_share=share)
    else:
        sampling = sampling_stderr(found_GR.max(1), groups.omega, sampled_share=share)
    gap, loss = (float(groups.omega @ column) for column in rest_G4.T[:2])
    correct, counted = rest_G4.T[2:].sum(1)
    details: dict[str, Any] = {
        "perturbed_loss": loss,
        "perturbed_accuracy": float(correct / counted) if counted else math.nan,
        "starts": (groups.omega @ found_GR).tolist(),
        "gap": gap,
    }
    if groups.together:
        details["trace"] = trace.tolist()
    else:
        details["group_quantiles"] = np.quantile(found_GR.max(1), [0, 0.25, 0.5, 0.75, 1]).tolist()
    return Highest(float(groups.omega @ found_GR.max(1)), sampling, gap, details)


def _random(ball: Ball, scale: Tensor, seed: int, *keys: int) -> Tensor:
    return ball.random(scale.numel(), seed, *keys, dtype=scale.dtype, device=scale.device)
