"""Results on disk, one JSON file each, under the hash of what decides them. Knows no torch.

A cache may lose any entry at any time and never fails its user: a damaged entry is as good as none, and where the
folder cannot be written nothing is kept and `Cache.fault` says why.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from landscape.config.recipe import digest
from landscape.errors import WriteError
from landscape.files import write_atomically

SCHEMA = "landscape.cache/1"
LIMIT = 500_000_000  # bytes; an entry has some thousands
_FOLDERS = 256  # two hexadecimal digits of the key


def cache_folder() -> Path:
    """`$LANDSCAPE_CACHE`, or where this system keeps what can be made again.

    Raises:
        WriteError: there is no home folder to keep it in.
    """
    try:
        return _folder()
    except RuntimeError as error:
        raise WriteError("there is no home folder to keep a cache in; name one in LANDSCAPE_CACHE.") from error


def _folder() -> Path:
    chosen = os.environ.get("LANDSCAPE_CACHE")
    if chosen:
        return Path(chosen)
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA")
        return (Path(local) if local else Path("~/AppData/Local").expanduser()) / "landscape" / "Cache"
    if sys.platform == "darwin":
        return Path("~/Library/Caches/landscape").expanduser()
    base = os.environ.get("XDG_CACHE_HOME", "")
    # the XDG specification: a relative path is to be ignored
    return (Path(base) if Path(base).is_absolute() else Path("~/.cache").expanduser()) / "landscape"


@dataclass
class Cache:
    """The entries in `folder`.

    Attributes:
        folder: made by the first write.
        limit: bytes that all entries together stay below. Keys are hashes, so that each of the 256 folders is kept
            below its share: the oldest entries of a folder make room, and a write looks into one folder only.
        fault: why an entry could not be written, after that happened.
    """

    folder: Path
    limit: int = LIMIT
    fault: str | None = None

    def read(self, key: str) -> dict[str, Any] | None:
        """The values under `key`; None where there are none or they are damaged."""
        path = self._path(key)
        try:
            entry = json.loads(path.read_bytes())
            values = entry["values"]
            whole = (entry["schema"], entry["key"], entry["sha256"]) == (SCHEMA, key, digest(values))
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            return None
        if not whole or not isinstance(values, dict):
            return None
        with suppress(OSError):
            os.utime(path)  # the oldest entries are those that nobody asked for
        return values

    def write(self, key: str, values: Mapping[str, Any]) -> None:
        """Keep plain `values` under `key`; what is there is replaced."""
        entry = {"schema": SCHEMA, "key": key, "sha256": digest(values), "values": values}
        content = json.dumps(entry, allow_nan=False).encode()
        share = self.limit // _FOLDERS
        if self.fault is not None or len(content) > share:
            return
        path = self._path(key)
        try:
            _make_room(path.parent, share - len(content))
            write_atomically(path, content)
        except WriteError as error:
            reason = getattr(error.__cause__, "strerror", None) or "cannot be written"
            self.fault = f"{self.folder}: {reason}"

    def size(self) -> tuple[int, int]:
        """How many entries there are, and their bytes."""
        sizes = [size for folder in self._folders() for _, size, _ in _files(folder)]
        return len(sizes), sum(sizes)

    def clear(self) -> None:
        """Delete every entry, and nothing else that may be in the folder."""
        for folder in self._folders():
            _make_room(folder, -1)  # empty files go as well
            with suppress(OSError):
                folder.rmdir()

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key[2:]}.json"

    def _folders(self) -> Iterator[Path]:
        for number in range(_FOLDERS):
            yield self.folder / f"{number:02x}"


def _make_room(folder: Path, most: int) -> None:
    """Delete the oldest files of `folder` until the others have at most `most` bytes."""
    there = sorted(_files(folder))
    left = sum(size for _, size, _ in there)
    for _, size, path in there:
        if left <= most:
            break
        with suppress(OSError):
            Path(path).unlink()
        left -= size


def _files(folder: Path) -> list[tuple[float, int, str]]:
    """(time, bytes, path) of the entries in `folder`, with what a killed write has left of one."""
    found: list[tuple[float, int, str]] = []
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if ".json" in entry.name:
                with suppress(OSError):
                    status = entry.stat()
                    found.append((status.st_mtime, status.st_size, entry.path))
    return found
