from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from scipy import ndimage

from landscape.data import ImageSet, Normalization, choose_samples, prepare
from landscape.errors import DataError, OptionError


def _images(n: int = 5, channels: int = 3, side: int = 4, maximum: int = 255) -> ImageSet:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, maximum + 1, (n, channels, side, side), generator=generator).to(torch.uint8)
    return ImageSet("toy", "train", pixels, torch.arange(n) % 3, ("a", "b", "c"), maximum)


@pytest.mark.parametrize("maximum", [255, 16])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_prepare_scales_and_normalises_by_channel(maximum: int, dtype: torch.dtype) -> None:
    images = _images(maximum=maximum)
    before = images.images.clone()
    inputs, labels = prepare(images, Normalization((0.1, 0.2, 0.3), (0.4, 0.5, 0.6)), dtype=dtype)
    pixels = images.images.numpy().astype(np.float64) / maximum
    expected = (pixels - np.array([0.1, 0.2, 0.3])[:, None, None]) / np.array([0.4, 0.5, 0.6])[:, None, None]
    assert inputs.dtype == dtype
    np.testing.assert_allclose(inputs.numpy(), expected, atol=8 * torch.finfo(dtype).eps)
    assert torch.equal(labels, images.labels)
    assert torch.equal(images.images, before)


def test_prepare_keeps_the_order_of_the_indices() -> None:
    images, identity = _images(), Normalization((0.0,) * 3, (1.0,) * 3)
    chosen = torch.tensor([4, 0, 2])
    inputs, labels = prepare(images, identity, indices=chosen)
    whole, _ = prepare(images, identity)
    assert torch.equal(inputs, whole[chosen])
    assert labels.tolist() == [1, 0, 2]


def test_upsampling_is_bilinear_between_pixel_centres() -> None:
    images = _images(n=2, channels=1, side=8)
    inputs, _ = prepare(images, Normalization((0.0,), (1.0,)), size=32, dtype=torch.float64)
    # Centre i of 32 lies at (i + 1/2) / 4 - 1/2 on the grid of 8; beyond the outer centres the edge is repeated.
    centres = (np.arange(32) + 0.5) / 4 - 0.5
    grid = np.meshgrid(centres, centres, indexing="ij")
    for image, result in zip(images.images.numpy(), inputs.numpy(), strict=True):
        expected = ndimage.map_coordinates(image[0] / 255.0, grid, order=1, mode="nearest")
        np.testing.assert_allclose(result[0], expected, atol=1e-12)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"size": 3}, "4x4 pixels, asked for 3x3"),
        ({"indices": torch.tensor([], dtype=torch.int64)}, "expected samples, got none"),
    ],
)
def test_prepare_refuses(options: dict[str, object], said: str) -> None:
    with pytest.raises(DataError, match=said):
        prepare(_images(), Normalization((0.0,) * 3, (1.0,) * 3), **options)


def test_grey_images_do_not_become_colour_ones() -> None:
    with pytest.raises(DataError, match=r"has 1 channel\(s\), the normalisation .* has 3"):
        prepare(_images(channels=1), Normalization((0.0,) * 3, (1.0,) * 3))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"labels": torch.tensor([0, 1, 3, 1, 0])}, "expected labels 0 to 2, got 3 at image 2"),
        ({"labels": torch.tensor([0, 1, 2, -1, 0])}, "expected labels 0 to 2, got -1 at image 3"),
        ({"labels": torch.zeros(4, dtype=torch.int64)}, "expected 5 int64 labels"),
        ({"labels": torch.zeros(5)}, "expected 5 int64 labels.*float32"),
        ({"images": torch.zeros(5, 3, 4, 4)}, "expected uint8 images.*float32"),
        ({"images": torch.zeros(5, 3, 4, 5, dtype=torch.uint8)}, "expected uint8 images"),
        (
            {"images": torch.zeros(0, 3, 4, 4, dtype=torch.uint8), "labels": torch.zeros(0, dtype=torch.int64)},
            "got none",
        ),
        ({"images": torch.full((5, 3, 4, 4), 17, dtype=torch.uint8), "maximum": 16}, "pixels 0 to 16, got 17"),
    ],
)
def test_an_image_set_checks_itself(changed: dict[str, object], said: str) -> None:
    good = _images()
    values = {"images": good.images, "labels": good.labels, "classes": good.classes, "maximum": 255} | changed
    with pytest.raises(DataError, match=said):
        ImageSet("toy", "train", **values)


@pytest.mark.parametrize(
    ("text", "mean", "std"),
    [
        ("0.5:0.25", (0.5,), (0.25,)),
        ("0.485,0.456,0.406:0.229,0.224,0.225", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ],
)
def test_normalisation_text_and_back(text: str, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
    parsed = Normalization.parse(text)
    assert (parsed.mean, parsed.std) == (mean, std)
    assert Normalization.parse(str(parsed)) == parsed


@pytest.mark.parametrize(
    "text", ["", "0.5", "0.5:", "a:b", "0.5:0.1:0.2", "0.5,0.5:0.1", "0.5:0", "0.5:-1", "nan:1", "0.5:inf"]
)
def test_normalisation_errors(text: str) -> None:
    with pytest.raises(OptionError, match="expected"):
        Normalization.parse(text)


@pytest.mark.parametrize(("how", "count"), [("all", 100), ("first:7", 7), ("30", 30), ("100", 100), ("first:100", 100)])
def test_choose_samples(how: str, count: int) -> None:
    before = torch.get_rng_state()
    chosen = choose_samples(100, how, seed=3)
    assert torch.equal(torch.get_rng_state(), before)
    assert chosen.dtype == torch.int64
    assert chosen.tolist() == sorted(set(chosen.tolist()))
    assert len(chosen) == count
    assert 0 <= chosen.min() <= chosen.max() < 100
    if how.startswith("first"):
        assert chosen.tolist() == list(range(count))
    torch.manual_seed(99)
    assert torch.equal(chosen, choose_samples(100, how, seed=3))


def test_a_random_subset_depends_on_the_seed_and_nests() -> None:
    assert not torch.equal(choose_samples(1000, "50", 0), choose_samples(1000, "50", 1))
    assert set(choose_samples(1000, "50", 0).tolist()) <= set(choose_samples(1000, "200", 0).tolist())


def test_a_random_subset_is_uniform() -> None:
    counts = torch.stack([choose_samples(20, "5", seed).bincount(minlength=20) for seed in range(400)]).sum(0)
    # Each sample is drawn with probability 1/4: a binomial of 400 with deviation 8.66.
    assert (counts - 100).abs().max() < 5 * 8.66


@pytest.mark.parametrize("how", ["0", "first:0", "-1", "first:", "1.5", "some", "", "last:3", "all:3", "²"])
def test_choose_samples_refuses_other_forms(how: str) -> None:
    with pytest.raises(OptionError, match=re.escape(f"got {how!r}")):
        choose_samples(100, how, 0)


@pytest.mark.parametrize(
    ("total", "how", "said"), [(10, "11", "at most 10.*got 11"), (10, "first:12", "12"), (0, "all", "none")]
)
def test_choose_samples_needs_enough(total: int, how: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        choose_samples(total, how, 0)
