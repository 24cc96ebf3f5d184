"""MNIST and Fashion-MNIST: gzipped IDX files, read in place."""

from __future__ import annotations

import gzip
import math
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from landscape.data.images import ImageSet
from landscape.data.published import find_file, read_file
from landscape.errors import DataError

_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
SPLITS = tuple(_FILES)
SIZE = 28


@dataclass(frozen=True)
class _Variant:
    name: str
    folder: str
    classes: tuple[str, ...]
    md5: dict[str, str]


MNIST = _Variant(
    "mnist",
    "MNIST",
    tuple("0123456789"),
    {
        "train-images-idx3-ubyte": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "train-labels-idx1-ubyte": "d53e105ee54ea40749a09fcbcd1e9432",
        "t10k-images-idx3-ubyte": "9fb629c4189551a2d022fa330f9573f3",
        "t10k-labels-idx1-ubyte": "ec29112dd5afa0611ce80d1b7f02629c",
    },
)
FASHION_MNIST = _Variant(
    "fashion-mnist",
    "FashionMNIST",
    (
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
    {
        "train-images-idx3-ubyte": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "train-labels-idx1-ubyte": "25c81989df183df01b3e8a0aad5dffbe",
        "t10k-images-idx3-ubyte": "bef4ecab320f06d8554ea6380940ec79",
        "t10k-labels-idx1-ubyte": "bb300cfdad3c16e7a12a480ee83cd310",
    },
)


def read_mnist(folder: Path, split: str, *, verify: bool = True) -> ImageSet:
    """Read `folder`/MNIST/raw (also `folder`/raw or `folder` itself): .gz files, checked by md5, or unpacked ones.

    Raises:
        DataError: a file is missing, corrupt or of another structure.
    """
    return _read(MNIST, folder, split, verify)


def read_fashion_mnist(folder: Path, split: str, *, verify: bool = True) -> ImageSet:
    """Read `folder`/FashionMNIST/raw as `read_mnist` reads MNIST.

    Raises:
        DataError: a file is missing, corrupt or of another structure.
    """
    return _read(FASHION_MNIST, folder, split, verify)


def _read(variant: _Variant, folder: Path, split: str, verify: bool) -> ImageSet:
    arrays, verified = [], True
    for name, shape in zip(_FILES[split], ((SIZE, SIZE), ()), strict=True):
        path = find_file((f"{name}.gz", name), folder, (f"{variant.folder}/raw", "raw"), what=variant.name)
        # The sums are published for the .gz files only.
        md5 = variant.md5[name] if path.suffix == ".gz" else None
        content, same = read_file(path, md5, must_match=verify, what=variant.name)
        verified = verified and same
        arrays.append(_parse(content, path, shape, variant.name))
    images, labels = arrays
    if len(images) != len(labels):
        raise DataError(
            f"{variant.name} {split}: expected as many labels as images, got {len(labels)} and {len(images)}."
        )
    return ImageSet(variant.name, split, images.unsqueeze(1), labels.long(), variant.classes, 255, verified)


def _parse(content: bytes, path: Path, shape: tuple[int, ...], what: str) -> Tensor:
    """An IDX file of uint8: two zero bytes, the type 8, the number of dimensions, each dimension (big-endian), data."""
    if path.suffix == ".gz":
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(f"{what}: {path} is truncated or damaged ({error}); download it again.") from error
    magic = bytes((0, 0, 8, 1 + len(shape)))
    if content[:4] != magic:
        raise DataError(f"{what}: {path}: expected an IDX file beginning with {magic.hex()}, got {content[:4].hex()}.")
    start = 4 + 4 * (1 + len(shape))
    dimensions = tuple(int.from_bytes(content[i : i + 4], "big") for i in range(4, start, 4))
    if dimensions[1:] != shape:
        raise DataError(f"{what}: {path}: expected items of shape {shape}, got {dimensions[1:]}.")
    if len(content) - start != math.prod(dimensions):
        raise DataError(
            f"{what}: {path} is truncated or damaged: expected {math.prod(dimensions)} bytes of data, "
            f"got {max(0, len(content) - start)}; download it again."
        )
    return torch.from_numpy(np.frombuffer(content, np.uint8, offset=start).reshape(dimensions).copy())
