"""Where a run's batches come from: a split in the device's memory, or one that is read as it is needed.

A batch is taken, and augmented, once a step: all that an optimizer asks of it (SAM's second gradient, products with
the Hessian, micro-batches) sees the same inputs.

Legend: N samples, B samples of a batch, C channels, S side.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from landscape.training.augment import CropFlip


class Samples(Protocol):
    """A labelled split."""

    @property
    def labels(self) -> Tensor:
        """The labels of all samples, int64 (N,)."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """C, S and S of an input."""

    @property
    def dtype(self) -> torch.dtype:
        """Of the inputs."""

    @property
    def evaluated(self) -> Samples:
        """The samples that stand for the split where it is evaluated: itself, or a fixed part of a very large one."""

    def __len__(self) -> int:
        """N."""

    def batches(
        self, size: int, order: Tensor | None = None, draws: torch.Generator | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """The inputs (B, C, S, S) and labels (B,) of one batch of `size` after another, on the device.

        Args:
            size: samples of a batch; the last holds what is left.
            order: which samples, in that order; all as they are if None.
            draws: augments the samples as it says, if the split is augmented at all; as they are if None. All
                that it draws for `order` is drawn at once, a sample at a time: batches do not matter.

        Raises:
            DataError: a sample cannot be read.
        """


@dataclass(frozen=True)
class Split:
    """Labelled samples on the device: `inputs` (N, C, S, S), `labels` (N,) int64; `augment` says how, if at all."""

    inputs: Tensor
    labels: Tensor
    augment: CropFlip | None = None

    def __len__(self) -> int:
        return self.labels.shape[0]

    @property
    def shape(self) -> tuple[int, int, int]:
        """C, S and S of an input."""
        channels, height, width = self.inputs.shape[1:]
        return channels, height, width

    @property
    def dtype(self) -> torch.dtype:
        """Of the inputs."""
        return self.inputs.dtype

    @property
    def evaluated(self) -> Split:
        """Itself."""
        return self

    def batches(
        self, size: int, order: Tensor | None = None, draws: torch.Generator | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """As `Samples.batches`; without `order` they are views. Nothing waits for the device."""
        if order is None and (draws is None or self.augment is None):
            yield from zip(torch.split(self.inputs, size), torch.split(self.labels, size), strict=True)
            return
        order = torch.arange(len(self)) if order is None else order
        chosen = order.to(self.inputs.device)
        drawn = None
        if draws is not None and self.augment is not None:
            drawn = self.augment.draw(len(order), draws).to(self.inputs.device)
        for start in range(0, len(order), size):
            batch = chosen[start : start + size]
            inputs = self.inputs[batch]
            if drawn is not None and self.augment is not None:
                inputs = self.augment(inputs, drawn[start : start + size])
            yield inputs, self.labels[batch]


def first_inputs(samples: Samples, count: int) -> Tensor:
    """The inputs of the first `count` samples."""
    chosen = torch.arange(min(count, len(samples)))
    return next(samples.batches(count, chosen))[0]
