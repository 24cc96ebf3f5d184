from __future__ import annotations

import numpy as np
import torch
from sklearn.datasets import load_digits

from landscape.data import DataSpec, default_normalization, load_images


def test_the_two_splits_are_the_whole_set_without_overlap() -> None:
    parts = [load_images(DataSpec("digits"), split) for split in ("train", "test")]
    assert [len(p) for p in parts] == [1437, 360]
    whole, labels = load_digits(return_X_y=True)

    def rows(pixels: np.ndarray, labels: np.ndarray) -> list[bytes]:
        return sorted(np.append(p.astype(np.uint8), np.uint8(y)).tobytes() for p, y in zip(pixels, labels, strict=True))

    ours = torch.cat([p.images.flatten(1) for p in parts]).numpy()
    assert rows(ours, torch.cat([p.labels for p in parts]).numpy()) == rows(whole, labels)
    assert all(p.maximum == 16 and p.images.shape[1:] == (1, 8, 8) for p in parts)


def test_the_split_is_stratified() -> None:
    _, labels = load_digits(return_X_y=True)
    share = np.bincount(labels) * 360 / 1797
    test = load_images(DataSpec("digits"), "test").labels.bincount().numpy()
    assert (np.abs(test - share) < 1).all()


def test_the_split_is_fixed_and_leaves_the_global_generators_alone() -> None:
    np.random.seed(1)
    torch.manual_seed(1)
    before = np.random.get_state()[1].copy(), torch.get_rng_state()
    first = load_images(DataSpec("digits"), "train")
    assert (np.random.get_state()[1] == before[0]).all()
    assert torch.equal(torch.get_rng_state(), before[1])
    np.random.seed(2)
    assert torch.equal(first.images, load_images(DataSpec("digits"), "train").images)


def test_the_normalisation_is_that_of_the_training_split() -> None:
    pixels = load_images(DataSpec("digits"), "train").images.double() / 16
    stated = default_normalization("digits")
    assert abs(float(pixels.mean()) - stated.mean[0]) < 5e-5
    assert abs(float((pixels.square().mean() - pixels.mean() ** 2).sqrt()) - stated.std[0]) < 5e-5
