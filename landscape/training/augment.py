"""Augmentation of a batch on the device: a random crop of the padded image, mirrored or not.

    y[c, i, j] = p[c, i + u, s(j) + v],   s(j) = j, or S - 1 - j where the image is mirrored

with p the image padded by P pixels of black on each side, u and v drawn from 0 ... 2P and the mirroring with
probability 1/2, all independent. Black is (0 - mean)/std: torchvision, too, pads before it normalises.

Legend: B samples, C channels, S side, P padding.

Cost: two copies of the batch, without a loop over samples.
"""

from __future__ import annotations

import hashlib
from typing import Literal

import torch
from torch import Tensor

from landscape.data import DATASETS, Normalization
from landscape.errors import OptionError

PADDING = 4

Augmentation = Literal["none", "crop-flip", "imagenet"]


class CropFlip:
    """RandomCrop(S, padding P) and a horizontal flip of inputs that were normalised by `normalization`."""

    def __init__(self, normalization: Normalization, padding: int = PADDING) -> None:
        self.padding = padding
        self._normalization = normalization
        self._black: dict[torch.dtype, list[float]] = {}

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Offsets u and v and whether to mirror, for each of `count` samples: uint8 (count, 3), on the CPU."""
        offsets = torch.randint(2 * self.padding + 1, (count, 2), generator=generator, dtype=torch.uint8)
        mirrored = torch.randint(2, (count, 1), generator=generator, dtype=torch.uint8)
        return torch.cat([offsets, mirrored], 1)

    def __call__(self, inputs: Tensor, drawn: Tensor) -> Tensor:
        """The inputs (B, C, S, S) as `drawn` (B, 3) says; both on the device."""
        count, channels, height, width = inputs.shape
        p = self.padding
        padded = inputs.new_empty(count, channels, height + 2 * p, width + 2 * p)
        # Channel by channel with a number, which is no copy from the host.
        for channel, black in enumerate(self._black_of(inputs.dtype)):
            padded[:, channel].fill_(black)
        padded[:, :, p : p + height, p : p + width] = inputs
        u, v, mirrored = (drawn[:, i, None].long() for i in range(3))
        i, j = (torch.arange(side, device=inputs.device) for side in (height, width))
        columns = torch.where(mirrored.bool(), width - 1 - j, j) + v
        rows = i + u
        at = (rows[:, :, None] * padded.shape[3] + columns[:, None, :]).view(count, 1, -1)
        return padded.flatten(2).gather(2, at.expand(-1, channels, -1)).view(inputs.shape)

    def _black_of(self, dtype: torch.dtype) -> list[float]:
        """A black pixel by channel, to the last bit as `landscape.data.prepare` makes it."""
        if dtype not in self._black:
            mean, std = (torch.tensor(v, dtype=dtype) for v in (self._normalization.mean, self._normalization.std))
            self._black[dtype] = torch.zeros_like(mean).sub_(mean).div_(std).tolist()
        return self._black[dtype]


def augmentation_of(name: str, asked: Augmentation | None) -> Augmentation:
    """The augmentation of the training split of the data set `name`: as asked, or its own.

    Raises:
        OptionError: it does not fit the data set.
    """
    source = DATASETS[name]
    if asked is None:
        return "imagenet" if source.pictures else "none"
    if asked == "imagenet" and not source.pictures:
        remedy = "take crop-flip" if source.mirrored else "leave it out"
        raise OptionError(f"augment imagenet crops pictures of any size, but {name} has fixed ones; {remedy}.")
    if asked == "crop-flip" and source.pictures:
        raise OptionError(f"augment crop-flip pads small images, but {name} has large ones; take imagenet.")
    if asked == "crop-flip" and not source.mirrored:
        fitting = ", ".join(s.name for s in DATASETS.values() if s.mirrored and not s.pictures)
        raise OptionError(
            f"augment crop-flip mirrors images, and a mirrored digit is another sign: {name} is not augmented; "
            f"data sets that can be: {fitting}."
        )
    return asked


def augmentation_generator(seed: int) -> torch.Generator:
    """The generator of a run's augmentation; its numbers have nothing to do with those that order the samples."""
    derived = hashlib.sha256(f"augment {seed}".encode()).digest()[:8]
    return torch.Generator().manual_seed(int.from_bytes(derived, "big") >> 1)
