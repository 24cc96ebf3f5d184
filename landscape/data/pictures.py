"""Pictures of any size in files of their own: decoded, cropped and resized as they are needed.

As it is: the shorter side becomes S * 256/224, rounded, then the middle S x S pixels (torchvision's Resize and
CenterCrop). At random: a rectangle of 8% to 100% of the area and of a ratio between 3/4 and 4/3, resized to S x S
(RandomResizedCrop). Resizing is bilinear, widened to average when it makes smaller (Pillow's).
"""

from __future__ import annotations

import math
import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from landscape.data.images import ImageSet
from landscape.errors import DataError

_AREA = (0.08, 1.0)
_RATIO = (3 / 4, 4 / 3)
_TRIES = 10
_MARGIN = 256 / 224
_THREADS = 4


@dataclass(frozen=True, eq=False)
class PictureSet:
    """One split, as the list of its files.

    Attributes:
        name: of the data set.
        split: `train` or `test`.
        paths: of the pictures, N.
        labels: int64, N, 0 ... K-1.
        classes: the K names.
        size: S, of the decoded pictures.
    """

    name: str
    split: str
    paths: tuple[Path, ...]
    labels: Tensor
    classes: tuple[str, ...]
    size: int
    channels: int = 3
    verified: bool = False

    def __len__(self) -> int:
        return len(self.paths)

    def chosen(self, indices: Tensor) -> ImageSet:
        """The pictures `indices` in memory, in that order, as they are for testing.

        Raises:
            DataError: a file cannot be decoded; names it.
        """
        # Pillow lets other threads run while it decodes.
        with ThreadPoolExecutor(_THREADS) as pool:
            pixels = list(pool.map(lambda n: self.decoded(n), indices.tolist()))
        return ImageSet(
            self.name, self.split, torch.stack(pixels), self.labels[indices], self.classes, verified=self.verified
        )

    def decoded(self, number: int, seed: int | None = None) -> Tensor:
        """One picture, uint8 (3, S, S): its middle, or a rectangle that `seed` draws.

        Raises:
            DataError: the file cannot be decoded; names it.
        """
        path = self.paths[number]
        try:
            with Image.open(path) as picture:
                whole = picture.convert("RGB")
        except Exception as error:  # a damaged picture can fail anywhere in a decoder
            reason = " ".join(str(error).split()) or type(error).__name__
            raise DataError(
                f"{self.name} {self.split}: {path} is no picture or damaged ({reason}); replace or remove it."
            ) from error
        pixels = middle(whole, self.size) if seed is None else random_crop(whole, self.size, random.Random(seed))
        return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))


def middle(picture: Image.Image, size: int) -> NDArray[np.uint8]:
    """Resize so that the shorter side is `size` * 256/224, and cut out the middle; (size, size, 3)."""
    width, height = picture.size
    short = round(size * _MARGIN)
    if width <= height:
        width, height = short, int(short * height / width)
    else:
        width, height = int(short * width / height), short
    left, top = round((width - size) / 2.0), round((height - size) / 2.0)
    resized = picture.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(resized.crop((left, top, left + size, top + size)))


def random_crop(picture: Image.Image, size: int, draws: random.Random) -> NDArray[np.uint8]:
    """Cut out the rectangle of `random_rectangle` and resize it; (size, size, 3)."""
    left, top, width, height = random_rectangle(*picture.size, draws)
    part = picture.crop((left, top, left + width, top + height))
    return np.asarray(part.resize((size, size), Image.Resampling.BILINEAR))


def random_rectangle(width: int, height: int, draws: random.Random) -> tuple[int, int, int, int]:
    """Left, top, width and height: an area uniform in 8% to 100%, a ratio log-uniform in 3/4 to 4/3, any place.

    After ten draws that do not fit, the largest rectangle in the middle whose ratio is allowed.
    """
    for _ in range(_TRIES):
        area = width * height * draws.uniform(*_AREA)
        ratio = math.exp(draws.uniform(*map(math.log, _RATIO)))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            return draws.randint(0, width - w), draws.randint(0, height - h), w, h
    w, h = width, height
    if width / height < _RATIO[0]:
        h = round(width / _RATIO[0])
    elif width / height > _RATIO[1]:
        w = round(height * _RATIO[1])
    return (width - w) // 2, (height - h) // 2, w, h
