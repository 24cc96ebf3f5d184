"""The embedded digits: 1,797 real 8x8 images of handwritten digits, which scikit-learn carries."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray

from landscape.data.images import ImageSet

SPLITS = ("train", "test")
CLASSES = tuple("0123456789")
SIZE = 8
MAXIMUM = 16
TEST_IMAGES = 360

_SPLIT_SEED = 0


def read_digits(split: str) -> ImageSet:
    """The 1,437 training or 360 test images, pixels 0 ... 16, by a fixed split stratified by class.

    Each class gives the test split its share of 360/1797, rounded by largest remainder, drawn by NumPy's legacy
    generator, whose stream is frozen. Both splits keep the order of the data set.
    """
    # scikit-learn takes a second to import, and no other data set needs it.
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    is_test = test_mask(labels)
    chosen = is_test if split == "test" else ~is_test
    pixels = torch.from_numpy(images[chosen].astype(np.uint8)).view(-1, 1, SIZE, SIZE)
    return ImageSet("digits", split, pixels, torch.from_numpy(labels[chosen].astype(np.int64)), CLASSES, MAXIMUM)


def test_mask(labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of the 1,797 images are for testing."""
    counts = np.bincount(labels)
    shares = counts * TEST_IMAGES / counts.sum()
    quotas = np.floor(shares).astype(np.int64)
    by_remainder: Iterable[int] = np.argsort(-(shares - quotas), kind="stable")[: TEST_IMAGES - quotas.sum()]
    for label in by_remainder:
        quotas[label] += 1
    generator = np.random.RandomState(_SPLIT_SEED)
    mask = np.zeros(len(labels), dtype=np.bool_)
    for label, quota in enumerate(quotas):
        mask[generator.permutation(np.flatnonzero(labels == label))[:quota]] = True
    return mask
