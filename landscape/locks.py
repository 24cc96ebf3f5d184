"""One writer at a time: a lock of the operating system on what a command writes, which ends with its process.

The lock is on a file beside what is written, not the file itself: nothing has to be cleaned up after a crash, as the
system lets go of the lock of a process that is gone, however it went. What stands in the file is for people.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from landscape.errors import OptionError, WriteError

PATIENCE = 2.0
"""Seconds that a lock is waited for: those that a process which was killed a moment ago takes to go."""

LOCK = ".lock"


def only_writer_in(folder: Path) -> AbstractContextManager[None]:
    """Be the only process that writes into `folder` while the block runs: it holds the lock of `folder/.lock`.

    The folder is made if it is not there, and goes again if the block leaves it empty. Where the file system knows no
    locks the block runs without one.

    Raises:
        OptionError: another process writes there; the message says which.
        WriteError: the folder cannot be made or written to.
    """
    return _held(folder, folder / LOCK)


def only_writer_of(file: Path) -> AbstractContextManager[None]:
    """Be the only process that writes `file` while the block runs: as `only_writer_in`, by `.NAME.lock` beside it."""
    return _held(file, file.with_name(f".{file.name}{LOCK}"))


@contextmanager
def _held(target: Path, file: Path) -> Iterator[None]:
    made: list[Path] = []
    lock = FileLock(file)
    try:
        for path in reversed([path for path in (file.parent, *file.parent.parents) if not path.exists()]):
            path.mkdir(exist_ok=True)
            made.append(path)
        lock.acquire(timeout=PATIENCE)
    except Timeout:
        raise OptionError(
            f"{target} is being written by {_holder(file)}; wait until it is done, or choose another --out."
        ) from None
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP):
            _remove(made)
            raise WriteError(f"cannot write {target}: {error.strerror or error}. Choose another --out.") from error
    try:
        with suppress(OSError):  # a full disk cannot say who it is
            file.write_text(f"process {os.getpid()} on {socket.gethostname()}\n", encoding="utf-8")
        yield
    finally:
        # While it is held: who waits for it sees that it has no name any more, and takes the next one.
        with suppress(OSError):
            file.unlink()
        lock.release()
        _remove(made)


def _holder(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").strip() or "another process"
    except (OSError, UnicodeDecodeError):
        return "another process"


def _remove(made: list[Path]) -> None:
    """Remove folders that are empty still, the inner ones first."""
    for path in reversed(made):
        with suppress(OSError):
            path.rmdir()
