"""Batches of pictures: worker processes decode, crop and resize; the device mirrors and normalises.

The order of the samples and a seed for each are known when an epoch begins, so that workers decode ahead and what they
make does not depend on how many they are. Between them and the device a pixel is a byte.

Legend: N samples, B samples of a batch, C channels, S side.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from landscape.data import Normalization, PictureSet, choose_samples
from landscape.errors import DataError

# Of a training split this many pictures stand for it where it is evaluated: as many as ImageNet has for validation.
EVALUATED = 50_000

# The place of a picture in its split and, to augment it, a seed.
_Asked = tuple[int, int | None]


@dataclass(frozen=True)
class PictureSamples:
    """A split of pictures as `Samples`.

    Attributes:
        pictures: the files.
        normalization: of their pixels.
        device: where the batches go.
        dtype: of the inputs.
        augment: whether batches that come with `draws` are cropped at random and mirrored.
        workers: processes that decode; 0: this one.
        evaluation: at most so many pictures stand for the split where it is evaluated.
    """

    pictures: PictureSet
    normalization: Normalization
    device: torch.device
    dtype: torch.dtype = torch.float32
    augment: bool = False
    workers: int = 0
    evaluation: int = EVALUATED

    def __len__(self) -> int:
        return len(self.pictures)

    @cached_property
    def labels(self) -> Tensor:
        """The labels of all samples, int64 (N,), on the device."""
        return self.pictures.labels.to(self.device)

    @property
    def shape(self) -> tuple[int, int, int]:
        """C, S and S of an input."""
        return self.pictures.channels, self.pictures.size, self.pictures.size

    @cached_property
    def evaluated(self) -> PictureSamples:
        """Itself, or a fixed draw of `evaluation` pictures."""
        if len(self) <= self.evaluation:
            return self
        kept = choose_samples(len(self), str(self.evaluation), 0)
        paths = tuple(self.pictures.paths[n] for n in kept.tolist())
        part = PictureSet(
            self.pictures.name,
            self.pictures.split,
            paths,
            self.pictures.labels[kept],
            self.pictures.classes,
            self.pictures.size,
        )
        return PictureSamples(
            part, self.normalization, self.device, self.dtype, workers=self.workers, evaluation=self.evaluation
        )

    def batches(
        self, size: int, order: Tensor | None = None, draws: torch.Generator | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """As `landscape.training.samples.Samples.batches`. The global random state is left alone.

        Raises:
            DataError: a picture cannot be decoded; names it.
        """
        numbers = torch.arange(len(self)) if order is None else order.cpu()
        seeds = mirrored = None
        if draws is not None and self.augment:
            seeds = torch.randint(2**62, (len(numbers),), generator=draws)
            mirrored = torch.randint(2, (len(numbers),), generator=draws, dtype=torch.uint8).to(self.device)
        plan = _Plan(numbers, seeds, size)
        # A few pictures are decoded sooner than processes start.
        workers = self.workers if len(plan) > 1 else 0
        loader: DataLoader[Tensor | str] = DataLoader(
            _Decoding(self.pictures),
            batch_sampler=plan,
            num_workers=workers,
            collate_fn=_stacked,
            pin_memory=self.device.type == "cuda",
            # Of its own: without one the loader draws a number from the global generator.
            generator=torch.Generator(),
        )
        mean, std = (
            torch.tensor(values, dtype=self.dtype, device=self.device).view(-1, 1, 1)
            for values in (self.normalization.mean, self.normalization.std)
        )
        places = numbers.to(self.device)
        for start, pixels in zip(range(0, len(numbers), size), loader, strict=True):
            if isinstance(pixels, str):
                raise DataError(pixels)
            inputs = pixels.to(self.device, non_blocking=True).to(self.dtype).div_(255).sub_(mean).div_(std)
            if mirrored is not None:
                flip = mirrored[start : start + size].bool().view(-1, 1, 1, 1)
                inputs = torch.where(flip, inputs.flip(3), inputs)
            yield inputs, self.labels[places[start : start + size]]


class _Plan:
    """What is asked of the decoding, a batch at a time."""

    def __init__(self, numbers: Tensor, seeds: Tensor | None, size: int) -> None:
        self._numbers, self._seeds, self._size = numbers, seeds, size

    def __len__(self) -> int:
        return -(-len(self._numbers) // self._size)

    def __iter__(self) -> Iterator[list[_Asked]]:
        for start in range(0, len(self._numbers), self._size):
            part = slice(start, start + self._size)
            numbers = self._numbers[part].tolist()
            seeds = [None] * len(numbers) if self._seeds is None else self._seeds[part].tolist()
            yield list(zip(numbers, seeds, strict=True))


class _Decoding(Dataset[Tensor | str]):
    """Decodes one picture; what is wrong with one is said in words, since a loader rewrites a worker's exceptions."""

    def __init__(self, pictures: PictureSet) -> None:
        self._pictures = pictures

    def __getitem__(self, asked: _Asked) -> Tensor | str:
        try:
            return self._pictures.decoded(*asked)
        except DataError as error:
            return str(error)


def _stacked(pixels: list[Tensor | str]) -> Tensor | str:
    for one in pixels:
        if isinstance(one, str):
            return one
    return torch.stack([one for one in pixels if isinstance(one, Tensor)])
