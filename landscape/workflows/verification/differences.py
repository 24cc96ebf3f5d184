"""Derivatives of the loss by differences: they ask autograd for nothing, or for one derivative less."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from landscape.parameters import flatten, unflatten
from landscape.problem import Problem

FIRST_DISPLACEMENT, LAST_DISPLACEMENT = 1e-6, 1e-8
_AGREEMENT = 1e-4  # of two steps, relative: what is left of the third derivative and of rounding


@dataclass(frozen=True)
class Agreement:
    """Differences at two steps that agree.

    Attributes:
        value: the one at half the step; None where no two agree: there are kinks, or all is lost in rounding.
        step: the step.
        apart: how far apart the closest two were, relative.
    """

    value: Tensor | None
    step: float
    apart: float


def slope_by_differences(problem: Problem, v: Tensor) -> float | None:
    """(L(theta + a v) - L(theta - a v)) / 2a for a unit vector v, at the first two steps that agree; None for none.

    Cost: at least four forward passes.
    """
    theta = flatten(problem.parameters)

    def loss(at: Tensor) -> Tensor:
        with torch.no_grad():
            moved = unflatten(at, problem.parameters)
            return torch.stack([problem.objective(moved, batch) for batch in problem.batches()]).sum()

    found = agreeing(lambda a: (loss(theta + a * v) - loss(theta - a * v)) / (2 * a)).value
    return None if found is None else float(found)


def gradient_differences(problem: Problem, v: Tensor) -> Tensor | None:
    """(grad L(theta + a v) - grad L(theta - a v)) / 2a (P,) likewise."""
    theta = flatten(problem.parameters)

    def gradient(at: Tensor) -> Tensor:
        moved = {name: t.detach().requires_grad_() for name, t in unflatten(at, problem.parameters).items()}
        total = torch.zeros_like(theta)
        for batch in problem.batches():
            found = torch.autograd.grad(problem.objective(moved, batch), list(moved.values()), allow_unused=True)
            pairs = zip(moved.items(), found, strict=True)
            total += flatten({name: torch.zeros_like(t) if g is None else g for (name, t), g in pairs})
        return total

    return agreeing(lambda a: (gradient(theta + a * v) - gradient(theta - a * v)) / (2 * a)).value


def agreeing(difference: Callable[[float], Tensor], rounding: float = 0.0) -> Agreement:
    """The first two differences, the second at half the step of the first, that agree.

    Args:
        difference: of a step a.
        rounding: what the rounding of a function value leaves in a difference, times its step.
    """
    a, apart = FIRST_DISPLACEMENT, math.inf
    found = difference(a)
    while a / 2 >= LAST_DISPLACEMENT:
        closer = difference(a / 2)
        size, between = float(closer.norm()), float((closer - found).norm())
        apart = min(apart, between / size if size > 0 else 0.0)
        if between <= _AGREEMENT * size + rounding / a:
            return Agreement(closer, a, apart)
        a, found = a / 2, closer
    return Agreement(None, a, apart)
