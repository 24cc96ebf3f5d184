"""A split of an image data set in memory, and how it becomes the inputs of a network."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from landscape.data.normalization import Normalization
from landscape.errors import DataError


@dataclass(frozen=True, eq=False)
class ImageSet:
    """One split as it was read, unscaled.

    Attributes:
        name: of the data set.
        split: `train`, `test`, ...
        images: uint8, N x C x S x S, 0 ... `maximum`.
        labels: int64, N, 0 ... K-1.
        classes: the K names.
        maximum: the value of a full pixel.
        verified: whether every byte was checked against a published md5, as far as the set has one.

    Raises:
        DataError: the shapes or types do not fit each other, a label or pixel is out of range, or there are none.
    """

    name: str
    split: str
    images: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    maximum: int = 255
    verified: bool = True

    def __post_init__(self) -> None:
        where = f"{self.name} {self.split}"
        if self.images.dtype != torch.uint8 or self.images.ndim != 4 or self.images.shape[2] != self.images.shape[3]:
            raise DataError(
                f"{where}: expected uint8 images (N, C, S, S), got {self.images.dtype} {tuple(self.images.shape)}."
            )
        if self.labels.dtype != torch.int64 or self.labels.shape != self.images.shape[:1]:
            raise DataError(
                f"{where}: expected {len(self.images)} int64 labels, one for each image, "
                f"got {self.labels.dtype} {tuple(self.labels.shape)}."
            )
        if len(self.labels) == 0:
            raise DataError(f"{where}: expected images, got none.")
        wrong = ((self.labels < 0) | (self.labels >= len(self.classes))).nonzero()
        if len(wrong):
            at = int(wrong[0])
            raise DataError(
                f"{where}: expected labels 0 to {len(self.classes) - 1}, got {int(self.labels[at])} at image {at} "
                f"({len(wrong)} out of range); the file is damaged or of another data set."
            )
        if int(self.images.max()) > self.maximum:
            raise DataError(f"{where}: expected pixels 0 to {self.maximum}, got {int(self.images.max())}.")

    def __len__(self) -> int:
        return len(self.labels)

    def chosen(self, indices: Tensor) -> ImageSet:
        """The images `indices`, in that order."""
        return replace(self, images=self.images[indices], labels=self.labels[indices])

    @property
    def channels(self) -> int:
        """C."""
        return self.images.shape[1]

    @property
    def size(self) -> int:
        """S, the side in pixels."""
        return self.images.shape[2]


def prepare(
    image_set: ImageSet,
    normalization: Normalization,
    *,
    size: int | None = None,
    indices: Tensor | None = None,
    dtype: torch.dtype = torch.float32,
) -> tuple[Tensor, Tensor]:
    """Scale the chosen images to 0..1, upsample them to `size` pixels and normalise: (x / maximum - mean) / std.

    Upsampling is bilinear between pixel centres (`align_corners=False`), before normalising. Images are never made
    smaller, and grey ones never become colour: both would change what is measured without saying so.

    Returns:
        inputs (n, C, size, size) of `dtype` and labels (n,), in the order of `indices` (all if None).

    Raises:
        DataError: `size` is below the images', the normalisation has another number of channels, or no image is chosen.
    """
    where = f"{image_set.name} {image_set.split}"
    if len(normalization.mean) != image_set.channels:
        raise DataError(
            f"{where} has {image_set.channels} channel(s), the normalisation {normalization} has "
            f"{len(normalization.mean)}; give one mean and one deviation for each channel."
        )
    if size is not None and size < image_set.size:
        raise DataError(
            f"{where} has images of {image_set.size}x{image_set.size} pixels, asked for {size}x{size}; "
            "images are enlarged, never shrunk: choose a network that takes them."
        )
    if indices is not None and len(indices) == 0:
        raise DataError(f"{where}: expected samples, got none; choose at least one.")
    images = image_set.images if indices is None else image_set.images[indices]
    labels = image_set.labels if indices is None else image_set.labels[indices]
    inputs = images.to(dtype).div_(image_set.maximum)
    if size is not None and size > image_set.size:
        inputs = functional.interpolate(inputs, (size, size), mode="bilinear", align_corners=False)
    mean = torch.tensor(normalization.mean, dtype=dtype).view(-1, 1, 1)
    std = torch.tensor(normalization.std, dtype=dtype).view(-1, 1, 1)
    return inputs.sub_(mean).div_(std), labels.clone()
