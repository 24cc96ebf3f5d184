"""Epochs, their batch sizes and their steps: which step belongs to which epoch.

Steps count from 0, epochs from 1. The last batch of an epoch holds what is left of the samples.
"""

from __future__ import annotations

import bisect
import math
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate


def steps_per_epoch(samples: int, batch_size: int) -> int:
    """Batches an epoch; the last one holds what is left."""
    return math.ceil(samples / batch_size)


@dataclass(frozen=True)
class StepPlan:
    """The steps of a run over `samples` samples whose epoch e has batches of `sizes[e - 1]`."""

    samples: int
    sizes: tuple[int, ...]

    @property
    def epochs(self) -> int:
        """Epochs in all."""
        return len(self.sizes)

    @property
    def total(self) -> int:
        """Steps in all."""
        return self._starts[-1]

    def steps(self, epoch: int) -> int:
        """Steps of an epoch."""
        return steps_per_epoch(self.samples, self.sizes[epoch - 1])

    def first(self, epoch: int) -> int:
        """The first step of an epoch; of one after the last: the total."""
        return self._starts[min(epoch - 1, self.epochs)]

    def epoch_of(self, step: int) -> int:
        """The epoch of a step; of a step beyond the total: the last."""
        return min(bisect.bisect_right(self._starts, step), max(self.epochs, 1))

    def after(self, epochs: float) -> int:
        """Steps in the first `epochs` epochs, of which the last may be a part, rounded to whole steps."""
        whole = min(int(epochs), self.epochs)
        part = (epochs - whole) * self.steps(whole + 1) if whole < self.epochs else 0.0
        return self._starts[whole] + round(part)

    @cached_property
    def _starts(self) -> tuple[int, ...]:
        return tuple(accumulate((steps_per_epoch(self.samples, size) for size in self.sizes), initial=0))
