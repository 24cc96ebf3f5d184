"""ImageNet, or any pictures in its layout: FOLDER/train/CLASS/PICTURE and FOLDER/val/CLASS/PICTURE."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from landscape.data.pictures import PictureSet
from landscape.errors import DataError

SPLITS = ("train", "test")
SIZE = 224

_FOLDERS = {"train": "train", "test": "val"}
_ENDINGS = (".jpeg", ".jpg", ".png", ".bmp", ".gif", ".ppm", ".tif", ".tiff", ".webp")


def read_image_folder(folder: Path, split: str, *, size: int = SIZE) -> PictureSet:
    """List the pictures of a split; `test` is the folder val. Classes are the folders in train, in order of name.

    A class without pictures in val is allowed; nothing is decoded.

    Raises:
        DataError: a folder is missing, holds no class folders or no pictures, or val has a class that train lacks.
    """
    classes = _classes(folder / _FOLDERS["train"])
    here = folder / _FOLDERS[split]
    found = _classes(here)
    unknown = sorted(set(found) - set(classes))
    if unknown:
        raise DataError(
            f"imagenet: {here} has the class {unknown[0]!r} ({len(unknown)} such), which "
            f"{folder / _FOLDERS['train']} lacks; both must hold the same class folders."
        )
    paths: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        pictures = _pictures(here / name) if name in found else []
        if not pictures and split == "train":
            raise DataError(f"imagenet: {here / name} holds no pictures ({', '.join(_ENDINGS)}); remove the folder.")
        paths += pictures
        labels += [label] * len(pictures)
    if not paths:
        raise DataError(f"imagenet: the class folders in {here} hold no pictures ({', '.join(_ENDINGS)}).")
    return PictureSet("imagenet", split, tuple(paths), torch.tensor(labels, dtype=torch.int64), tuple(classes), size)


def _classes(folder: Path) -> list[str]:
    if not folder.is_dir():
        raise DataError(
            f"imagenet: there is no folder {folder}; name the folder that holds train and val, each with one folder "
            "a class."
        )
    names = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))
    if not names:
        raise DataError(f"imagenet: {folder} holds no class folders; sort its pictures into one folder a class.")
    return names


def _pictures(folder: Path) -> list[Path]:
    # scandir: a Path for each of a million entries is made only for the pictures.
    names = sorted(entry.name for entry in os.scandir(folder) if entry.name.lower().endswith(_ENDINGS))
    return [folder / name for name in names]
