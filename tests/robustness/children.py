"""The command line in processes that start in a moment: forked from one that has loaded torch and run nothing.

They can be killed, and held to a size of file, where the tests' own process cannot.
"""

from __future__ import annotations

import contextlib
import io
import os
import resource
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

_context = get_context("forkserver")
_LOADED_BEFORE = (
    "landscape_cli.main", "landscape_cli.progress", "landscape_cli.tables", "landscape_cli.train_progress",
    "landscape.workflows.analyze", "landscape.workflows.surface", "landscape.workflows.sweep",
    "landscape.workflows.train", "sklearn.datasets", "torch._dynamo",
)  # fmt: skip
_context.set_forkserver_preload(list(_LOADED_BEFORE))

PATIENCE = 120.0  # seconds; a machine may be busy with others


@dataclass(frozen=True)
class Ended:
    """The exit code of a child (negative: the signal that ended it), and what it said unless it was killed."""

    code: int
    out: str = ""
    err: str = ""


class Child:
    """`landscape ARGUMENTS` in `folder`, with the cache in `cache` and no file larger than `largest` bytes."""

    def __init__(self, arguments: Sequence[str], folder: Path, cache: Path, largest: int | None = None) -> None:
        self._ours, theirs = _context.Pipe(duplex=False)
        self.process = _context.Process(target=_run, args=(theirs, tuple(arguments), folder, cache, largest))
        self.process.start()
        theirs.close()

    def kill(self) -> None:
        """End it as a power cut does."""
        self.process.kill()

    def ended(self, seconds: float = PATIENCE) -> Ended:
        """Wait until it has ended; a child that does not is killed and fails the test."""
        said = ("", "")
        with contextlib.suppress(EOFError, OSError):
            if self._ours.poll(seconds):
                said = self._ours.recv()
        self.process.join(seconds)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
            raise AssertionError(f"it did not end within {seconds} s")
        assert self.process.exitcode is not None
        return Ended(self.process.exitcode, *said)


def run(arguments: Sequence[str], folder: Path, cache: Path, largest: int | None = None) -> Ended:
    """Run the command to its end."""
    return Child(arguments, folder, cache, largest).ended()


def _run(connection: Connection, arguments: Sequence[str], folder: Path, cache: Path, largest: int | None) -> None:
    # Loaded in the process that this one was forked from.
    import torch

    from landscape_cli.main import main

    torch.set_num_threads(1)  # how many decide how sums are split
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(folder)
    os.environ["LANDSCAPE_CACHE"] = str(cache)
    if largest is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(arguments)
    connection.send((out.getvalue(), err.getvalue()))
    sys.exit(code)
