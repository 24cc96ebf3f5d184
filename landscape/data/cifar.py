"""CIFAR-10 and CIFAR-100: the Python version, pickled batches."""

from __future__ import annotations

import io
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from landscape.data.images import ImageSet
from landscape.data.published import find_file, read_file
from landscape.errors import DataError
from landscape.unpickling import PlainArray, load_plain

SPLITS = ("train", "test")
SIZE = 32


@dataclass(frozen=True)
class _Variant:
    name: str
    folder: str
    labels: str
    splits: dict[str, dict[str, str]]
    classes: tuple[str, ...]


CIFAR10 = _Variant(
    "cifar10",
    "cifar-10-batches-py",
    "labels",
    {
        "train": {
            "data_batch_1": "c99cafc152244af753f735de768cd75f",
            "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
            "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
            "data_batch_4": "634d18415352ddfa80567beed471001a",
            "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
        },
        "test": {"test_batch": "40351d587109b95175f43aff81a1287e"},
    },
    ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
)
CIFAR100 = _Variant(
    "cifar100",
    "cifar-100-python",
    "fine_labels",
    {"train": {"train": "16019d7e3df5f24257cddd939b257f8d"}, "test": {"test": "f0ef6b0ae62326f3e7ffdfab6717acfc"}},
    tuple(
        """apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can
        castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin
        elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster
        man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck
        pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk
        skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger
        tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm""".split()  # noqa: SIM905  # a hundred names in seven lines
    ),
)


def read_cifar10(folder: Path, split: str) -> ImageSet:
    """Read `folder`/cifar-10-batches-py, or `folder` itself.

    The batches are pickles. Whatever their md5, they are read by `load_plain`, which knows plain data only; one that
    is not the published file makes the set `verified = False`.

    Raises:
        DataError: a file is missing, damaged, of another structure, or names anything but plain data.
    """
    return _read(CIFAR10, folder, split)


def read_cifar100(folder: Path, split: str) -> ImageSet:
    """Read `folder`/cifar-100-python, or `folder` itself, with the 100 fine labels, as `read_cifar10` reads CIFAR-10.

    Raises:
        DataError: a file is missing, damaged, of another structure, or names anything but plain data.
    """
    return _read(CIFAR100, folder, split)


def _read(variant: _Variant, folder: Path, split: str) -> ImageSet:
    images, labels, verified = [], [], True
    for name, md5 in variant.splits[split].items():
        path = find_file((name,), folder, (variant.folder,), what=variant.name)
        content, same = read_file(path, md5, must_match=False, what=variant.name)
        verified = verified and same
        batch = _unpickle(content, path, md5, variant.name)
        images.append(_images(batch.get("data"), path, variant.name))
        labels.append(_labels(batch.get(variant.labels), len(images[-1]), path, variant))
    return ImageSet(
        variant.name,
        split,
        torch.from_numpy(np.concatenate(images)),
        torch.from_numpy(np.concatenate(labels)),
        variant.classes,
        255,
        verified,
    )


def _unpickle(content: bytes, path: Path, md5: str, what: str) -> dict[str, Any]:
    try:
        batch = load_plain(io.BytesIO(content))
    except pickle.UnpicklingError as error:
        raise DataError(
            f"{what}: {path} is not the published file (md5 {md5}) and was refused: {error}; nothing was executed. "
            "Download it again."
        ) from error
    except Exception as error:  # a damaged pickle can fail anywhere in the reader
        raise DataError(f"{what}: {path} is truncated or damaged ({error}); download it again.") from error
    if not isinstance(batch, dict):
        raise DataError(f"{what}: {path}: expected a pickled dict, got a {type(batch).__name__}.")
    # Python 2 wrote the published files: their keys are bytes here.
    return {key.decode("latin1") if isinstance(key, bytes) else str(key): value for key, value in batch.items()}


def _images(data: Any, path: Path, what: str) -> NDArray[np.uint8]:
    """Rows of the red, green and blue plane of an image -> (N, 3, 32, 32)."""
    rows = data.array if isinstance(data, PlainArray) else None
    if rows is None or rows.dtype != np.uint8 or rows.ndim != 2 or rows.shape[1] != 3 * SIZE**2:
        got = f"a {type(data).__name__}" if rows is None else f"{rows.dtype} {rows.shape}"
        raise DataError(f"{what}: {path}: expected 'data' as uint8 (N, {3 * SIZE**2}), got {got}.")
    return rows.reshape(-1, 3, SIZE, SIZE)


def _labels(values: Any, count: int, path: Path, variant: _Variant) -> NDArray[np.int64]:
    if not isinstance(values, list) or len(values) != count or not all(type(v) is int for v in values):
        got = f"{len(values)} values" if isinstance(values, list) else f"a {type(values).__name__}"
        raise DataError(f"{variant.name}: {path}: expected {count} integers under {variant.labels!r}, got {got}.")
    try:
        return np.array(values, dtype=np.int64)
    except OverflowError:
        raise DataError(f"{variant.name}: {path}: a label is out of range; the file is damaged.") from None
