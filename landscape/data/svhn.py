"""SVHN: street-view house numbers, cropped digits, as MATLAB files."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import torch

from landscape.data.images import ImageSet
from landscape.data.published import find_file, read_file
from landscape.errors import DataError

_MD5 = {
    "train": "e26dedcc434d2e4c54c9b2d4a06d8373",
    "test": "eb5a983be6a315427106f1b164d9cef3",
    "extra": "a93ce644f1a588dc4d68dda5feec44a7",
}
SPLITS = tuple(_MD5)
EXTENDED_SPLITS = ("train", "test")
CLASSES = tuple("0123456789")
SIZE = 32


def read_svhn(folder: Path, split: str, *, verify: bool = True) -> ImageSet:
    """Read `split`_32x32.mat in `folder`, `folder`/svhn or `folder`/SVHN; the label 10 stands for the digit 0.

    Raises:
        DataError: the file is missing, corrupt or of another structure.
    """
    # scipy's readers take a third of a second to import, and no other data set needs them.
    from scipy.io import loadmat

    path = find_file((f"{split}_32x32.mat",), folder, ("svhn", "SVHN"), what="svhn")
    content, verified = read_file(path, _MD5[split], must_match=verify, what="svhn")
    try:
        values = loadmat(io.BytesIO(content), variable_names=["X", "y"])  # type: ignore[arg-type]  # the stubs know only paths
        pixels, digits = np.asarray(values["X"]), np.asarray(values["y"]).ravel()
    except Exception as error:  # a damaged file can fail anywhere in the reader
        raise DataError(
            f"svhn: {path}: expected a MATLAB file with X and y, got a damaged or other one ({error}); "
            "download it again."
        ) from error
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[:3] != (SIZE, SIZE, 3):
        raise DataError(f"svhn: {path}: expected X as uint8 (32, 32, 3, N), got {pixels.dtype} {pixels.shape}.")
    if digits.shape != pixels.shape[3:] or not np.isin(digits, np.arange(1, 11)).all():
        raise DataError(f"svhn: {path}: expected y as {pixels.shape[3]} labels 1 to 10, got {digits.shape[0]} others.")
    images = torch.from_numpy(np.ascontiguousarray(pixels.transpose(3, 2, 0, 1)))
    return ImageSet("svhn", split, images, torch.from_numpy(digits.astype(np.int64) % 10), CLASSES, 255, verified)


def read_svhn_extra(folder: Path, split: str, *, verify: bool = True) -> ImageSet:
    """As `read_svhn`; the training split is the 73,257 training images followed by the 531,131 extra ones.

    Raises:
        DataError: as `read_svhn`, for either file.
    """
    parts = [read_svhn(folder, name, verify=verify) for name in (("train", "extra") if split == "train" else (split,))]
    return ImageSet(
        "svhn-extra",
        split,
        torch.cat([part.images for part in parts]),
        torch.cat([part.labels for part in parts]),
        CLASSES,
        255,
        all(part.verified for part in parts),
    )
