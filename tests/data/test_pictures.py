"""Folders of pictures: what is listed, how a picture is decoded, and damaged files."""

import math
import random

import numpy as np
import pytest
import torch
from PIL import Image

from landscape.data import DataSpec, load_images, open_images
from landscape.data.image_folder import read_image_folder
from landscape.data.pictures import middle, random_crop, random_rectangle
from landscape.errors import DataError, OptionError


def picture(path, width, height, seed=0, mode="RGB"):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).convert(mode).save(path)


@pytest.fixture
def folder(tmp_path):
    picture(tmp_path / "train" / "cat" / "b.JPEG", 40, 30, 1)
    picture(tmp_path / "train" / "cat" / "a.png", 30, 50, 2)
    picture(tmp_path / "train" / "dog" / "c.png", 33, 33, 3, "L")
    picture(tmp_path / "val" / "dog" / "d.png", 60, 20, 4)
    (tmp_path / "train" / "cat" / "notes.txt").write_text("no picture")
    return tmp_path


def test_classes_are_the_folders_of_train_in_order_of_name(folder):
    train, test = (open_images(DataSpec("imagenet", folder), split) for split in ("train", "test"))
    assert train.classes == test.classes == ("cat", "dog")
    assert [str(path.relative_to(folder)) for path in train.paths] == [
        "train/cat/a.png",
        "train/cat/b.JPEG",
        "train/dog/c.png",
    ]
    assert train.labels.tolist() == [0, 0, 1]
    assert test.labels.tolist() == [1]
    assert (len(train), train.channels, train.size) == (3, 3, 224)


def test_chosen_pictures_come_in_the_order_asked(folder):
    chosen = read_image_folder(folder, "train", size=28).chosen(torch.tensor([2, 0]))
    assert chosen.images.shape == (2, 3, 28, 28)
    assert chosen.labels.tolist() == [1, 0]
    assert torch.equal(chosen.images[0, 0], chosen.images[0, 2])  # grey becomes three equal channels
    assert chosen.maximum == 255


def test_all_pictures_are_not_read_at_once(folder):
    with pytest.raises(OptionError, match="not read into memory at once"):
        load_images(DataSpec("imagenet", folder), "train")


def bilinear(pixels, size):
    """Resize (n, m) to `size` (rows, columns) by triangles of a width of max(1, scale), in float64."""
    for axis, target in enumerate(size):
        length = pixels.shape[axis]
        scale = length / target
        weights = np.zeros((target, length))
        for out in range(target):
            centre = (out + 0.5) * scale
            for i in range(length):
                weights[out, i] = max(0.0, 1 - abs(i + 0.5 - centre) / max(1.0, scale))
        weights /= weights.sum(1, keepdims=True)
        pixels = np.moveaxis(np.tensordot(weights, pixels, (1, axis)), 0, axis)
    return pixels


@pytest.mark.parametrize(("width", "height"), [(50, 40), (40, 61), (20, 30), (32, 32)])
def test_a_test_picture_is_resized_and_cut_from_the_middle(width, height):
    size = 28  # the shorter side becomes 32
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    if width <= height:
        columns, rows = 32, 32 * height // width
    else:
        columns, rows = 32 * width // height, 32
    top, left = (round((side - size) / 2) for side in (rows, columns))
    expected = bilinear(pixels.astype(np.float64), (rows, columns))[top : top + size, left : left + size]
    assert np.abs(middle(Image.fromarray(pixels), size) - expected).max() <= 1.01  # Pillow rounds after each axis


def test_a_random_rectangle_is_cut_out_and_resized():
    pixels = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    for seed in range(5):
        left, top, width, height = random_rectangle(70, 50, random.Random(seed))
        part = pixels[top : top + height, left : left + width].astype(np.float64)
        got = random_crop(Image.fromarray(pixels), 16, random.Random(seed))
        assert np.abs(got - bilinear(part, (16, 16))).max() <= 1.01


def test_rectangles_have_the_areas_and_ratios_of_the_paper():
    draws = random.Random(0)
    boxes = [random_rectangle(500, 400, draws) for _ in range(20_000)]
    assert all(x >= 0 and y >= 0 and x + w <= 500 and y + h <= 400 for x, y, w, h in boxes)
    areas = np.array([w * h / 200_000 for _, _, w, h in boxes])
    ratios = np.array([math.log(w / h) for _, _, w, h in boxes])
    assert areas.min() > 0.079
    assert abs(ratios).max() < math.log(4 / 3) + 0.02
    # Below half the area every rectangle fits: uniform in area, log-uniform in ratio, uniform in place.
    small = areas < 0.5
    assert np.histogram(areas[small], bins=5, range=(0.08, 0.5))[0].std() < 5 * math.sqrt(small.sum() / 5)
    assert abs(ratios[small].mean()) < 5 * math.log(4 / 3) / math.sqrt(3 * small.sum())
    places = np.array([x / (500 - w) for x, _, w, _ in boxes if w < 480])
    assert abs(places.mean() - 0.5) < 5 / math.sqrt(12 * len(places))


@pytest.mark.parametrize(("width", "height", "box"), [(1000, 10, (493, 0, 13, 10)), (10, 1000, (0, 493, 10, 13))])
def test_a_very_long_picture_gives_its_middle(width, height, box):
    # 4/3 of 10 is 13.3: no rectangle of 8% of the area fits.
    assert random_rectangle(width, height, random.Random(0)) == box


@pytest.mark.parametrize("damage", ["cut", "text", "empty"])
@pytest.mark.parametrize("ending", ["png", "jpg"])
def test_a_damaged_picture_is_named_in_one_line(folder, damage, ending):
    path = folder / "train" / "cat" / f"a0.{ending}"
    picture(path, 64, 64)
    whole = path.read_bytes()
    path.write_bytes({"cut": whole[: len(whole) // 2], "text": b"<html>", "empty": b""}[damage])
    with pytest.raises(DataError) as caught:
        read_image_folder(folder, "train", size=28).chosen(torch.arange(4))
    assert f"{path} is no picture or damaged" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_wrong_with_the_folders_is_said(folder):
    def said(where, split, words):
        with pytest.raises(DataError, match=words):
            read_image_folder(where, split)

    said(folder / "nowhere", "train", "there is no folder .*nowhere/train; name the folder that holds train and val")
    (folder / "val" / "cow").mkdir()
    said(folder, "test", "has the class 'cow' .*which .*train lacks")
    (folder / "val" / "cow").rmdir()
    (folder / "train" / "eel").mkdir()
    said(folder, "train", "eel holds no pictures")
    flat = folder / "flat"
    picture(flat / "train" / "a" / "x.png", 8, 8)
    picture(flat / "val" / "x.png", 8, 8)
    said(flat, "test", "val holds no class folders; sort its pictures")
