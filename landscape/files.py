"""Writing files so that a reader sees the old content or the new one, never half of it."""

from __future__ import annotations

import os
import secrets
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from landscape.errors import WriteError

_DESCRIPTORS = Path("/proc/self/fd")


def write_atomically(path: Path, content: bytes | Callable[[BinaryIO], None]) -> None:
    """Write `content` (bytes, or a function that writes to an open file) to `path` by rename.

    The folder is made if it is not there. On any failure the old file, if any, is untouched and no
    temporary file remains; on Linux none remains of a process that is killed either, where the file system can keep a
    file without a name.

    Raises:
        WriteError: the folder or the file cannot be written (permission, full disk, not a folder).
    """
    path = Path(path)
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = _without_name(path.parent)
        if descriptor is None:
            descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
            temporary = Path(name)
            temporary.chmod(0o666 & ~_umask())
        with os.fdopen(descriptor, "wb") as file:
            if callable(content):
                content(file)
            else:
                file.write(content)
            file.flush()
            os.fsync(file.fileno())
            if temporary is None:
                temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
                # With a descriptor beside the path, of no use here, Python asks the system to follow the link.
                os.link(_DESCRIPTORS / str(file.fileno()), temporary, src_dir_fd=file.fileno())
        temporary.replace(path)
        temporary = None
    except OSError as error:
        raise WriteError(f"cannot write {path}: {error.strerror or error}. Choose another --out.") from error
    finally:
        if temporary is not None:
            with suppress(OSError):
                temporary.unlink()


def _without_name(folder: Path) -> int | None:
    """A new file in `folder` that has no name yet and goes with its process; None where there are no such files."""
    if sys.platform != "linux" or not _DESCRIPTORS.is_dir():
        return None
    try:
        return os.open(folder, os.O_WRONLY | os.O_TMPFILE, 0o666)
    except OSError:  # what is wrong with the folder shows when a file with a name is made
        return None


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
