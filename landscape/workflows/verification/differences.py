"""Derivatives of the loss by differences: they ask autograd for nothing, or for one derivative less."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from landscape.parameters import flatten, unflatten
from landscape.problem import Problem

FIRST_DISPLACEMENT, LAST_DISPLACEMENT = 1e-5, 1e-8
_AGREEMENT = 1e-4  # of two steps, relative: what is left of the third derivative and of rounding


def slope_by_differences(problem: Problem, v: Tensor) -> float | None:
    """(L(theta + a v) - L(theta - a v)) / 2a for a unit vector v, at the first two steps that agree; None for none.

    Cost: at least four forward passes.
    """
    theta = flatten(problem.parameters)

    def loss(at: Tensor) -> Tensor:
        with torch.no_grad():
            moved = unflatten(at, problem.parameters)
            return torch.stack([problem.objective(moved, batch) for batch in problem.batches()]).sum()

    found = agreeing(lambda a: (loss(theta + a * v) - loss(theta - a * v)) / (2 * a))
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

    return agreeing(lambda a: (gradient(theta + a * v) - gradient(theta - a * v)) / (2 * a))


def agreeing(difference: Callable[[float], Tensor]) -> Tensor | None:
    """The first difference that agrees with that at half its step, from 1e-5 down to 1e-8; None if none does."""
    a = FIRST_DISPLACEMENT
    found = difference(a)
    while a / 2 >= LAST_DISPLACEMENT:
        closer = difference(a / 2)
        size = float(closer.norm())
        if not math.isfinite(size):
            return None
        if float((closer - found).norm()) <= _AGREEMENT * size:
            return closer
        a, found = a / 2, closer
    return None
