"""Files as their authors published them: where they are, and whether they are whole."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from landscape.errors import DataError


def find_file(names: Sequence[str], folder: Path, inner: Sequence[str], *, what: str) -> Path:
    """The first of `names` that is in `folder` or in its subfolders `inner`, these first, one folder at a time.

    Raises:
        DataError: there is none; names the file and every place, and the archive where that is what is there.
    """
    places = [*(folder / name for name in inner), folder]
    for place in places:
        for name in names:
            if (place / name).is_file():
                return place / name
    archives = [folder] if folder.is_file() else sorted(p for place in places for p in place.glob("*.tar*"))
    if archives and ".tar" in archives[0].name:
        raise DataError(
            f"{what}: expected the unpacked {names[0]}, got {archives[0]}; unpack it (tar -xf {archives[0].name}) "
            "and name the folder that comes out."
        )
    if not folder.is_dir():
        raise DataError(f"{what}: there is no folder {folder}; name the folder that holds {names[0]}.")
    raise DataError(
        f"{what}: there is no {' or '.join(names)} in {', '.join(map(str, places))}; name the folder that holds it."
    )


def read_file(path: Path, md5: str | None, *, must_match: bool, what: str) -> tuple[bytes, bool]:
    """The bytes of `path`, and whether their md5 is the published one (False where none is published).

    Raises:
        DataError: the file cannot be read, or its md5 differs and it must not.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{what}: cannot read {path}: {error.strerror or error}.") from error
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if must_match and md5 is not None and found != md5:
        raise DataError(f"{what}: {path} is corrupt: expected md5 {md5}, got {found}; download it again.")
    return content, found == md5
