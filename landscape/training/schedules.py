"""Learning rates as pure functions of the step."""

from __future__ import annotations

from collections.abc import Callable

# step (0 for the first) -> learning rate of that step
Schedule = Callable[[int], float]


def constant(lr: float) -> Schedule:
    """The schedule eta(t) = `lr`."""
    return lambda step: lr
