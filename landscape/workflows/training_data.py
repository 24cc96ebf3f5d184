"""The data of a training run, ready for its network: small images on the device, pictures from their files."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, replace

import torch

from landscape.config.training import TrainConfig
from landscape.data import (
    ImageSet,
    Normalization,
    PictureSet,
    default_normalization,
    open_images,
    parse_data,
    prepare,
)
from landscape.errors import OptionError
from landscape.models import image_side, parse_model
from landscape.training.augment import Augmentation, CropFlip, augmentation_of
from landscape.training.batch_schedule import batch_sizes
from landscape.training.failures import user_errors
from landscape.training.picture_samples import PictureSamples
from landscape.training.samples import Samples, Split

MOST_WORKERS = 16


@dataclass(frozen=True)
class TrainingData:
    """Both splits, and what a checkpoint says of them."""

    train: Samples
    test: Samples
    classes: int
    normalization: Normalization

    @property
    def channels(self) -> int:
        """C."""
        return self.train.shape[0]

    @property
    def size(self) -> int:
        """S, the side of an input."""
        return self.train.shape[1]


def load_training_data(config: TrainConfig, device: torch.device, workers: int | None = None) -> TrainingData:
    """Read the data of `config`; the training split is augmented as it says.

    Raises:
        OptionError: a batch is larger than the split, or the augmentation does not fit the data set.
        DataError: a file is missing or damaged.
        OutOfMemoryError: the device does not hold the images.
    """
    spec = parse_data(config.data)
    augment = augmentation_of(spec.name, config.augment)
    normalization = default_normalization(spec.name)
    images = open_images(spec, "train")
    largest = max(batch_sizes(config))
    if largest > len(images):
        raise OptionError(
            f"batch_size is {largest}, but {spec.name} has {len(images)} training samples; choose at most that many."
        )
    train, test = (
        _pictures(config, split, normalization, device, augment, workers)
        if isinstance(split, PictureSet)
        else _in_memory(config, split, normalization, device, augment)
        for split in (images, open_images(spec, "test"))
    )
    return TrainingData(train, test, len(images.classes), normalization)


def _in_memory(
    config: TrainConfig, images: ImageSet, normalization: Normalization, device: torch.device, augment: Augmentation
) -> Split:
    size = image_side(parse_model(config.model), images.size)
    inputs, labels = prepare(images, normalization, size=size, dtype=getattr(torch, config.dtype))
    crop = CropFlip(normalization) if augment == "crop-flip" and images.split == "train" else None
    with user_errors(config.batch_size):
        return Split(inputs.to(device), labels.to(device), crop)


def _pictures(
    config: TrainConfig,
    pictures: PictureSet,
    normalization: Normalization,
    device: torch.device,
    augment: Augmentation,
    workers: int | None,
) -> PictureSamples:
    return PictureSamples(
        replace(pictures, size=image_side(parse_model(config.model), pictures.size)),
        normalization,
        device,
        getattr(torch, config.dtype),
        augment=augment == "imagenet" and pictures.split == "train",
        workers=_cpus() if workers is None else workers,
    )


def _cpus() -> int:
    # What this process may use, where the system says it.
    count = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return min(count, MOST_WORKERS)
