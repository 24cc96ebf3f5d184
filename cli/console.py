"""Where words go: results to standard output, everything else to standard error."""

from __future__ import annotations

import errno
import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console, RenderableType

from landscape.errors import WriteError

# Wide enough that no table is folded when a program reads it; a terminal tells its own width.
PIPED_WIDTH = 200


_silent = False


def silence(silent: bool) -> None:
    """Say nothing from now on, to nobody: another process of the command does."""
    global _silent
    _silent = silent


def output() -> Console:
    """The console on standard output, as it is now (tests and pipes replace it)."""
    return _console(stderr=False)


def messages() -> Console:
    """The console on standard error, as it is now."""
    return _console(stderr=True)


def say(text: str) -> None:
    """Write a line for the reader to standard error; brackets in it are text, not markup."""
    if not _silent:
        messages().print(text, markup=False, highlight=False, soft_wrap=True)


def say_error(text: str) -> None:
    """Write an error, marked as one, to standard error."""
    if _silent:
        return
    console = messages()
    console.print("error:", style="bold red", end=" ")
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def show(renderable: RenderableType, *, to_messages: bool = False) -> None:
    """Write a table or a text to standard output, or to standard error where that carries a document.

    Raises:
        WriteError, BrokenPipeError: as `write_document`.
    """
    if _silent:
        return
    if to_messages:
        messages().print(renderable)
    else:
        with _writing():
            output().print(renderable)


def write_document(text: str) -> None:
    """Write `text` to standard output unchanged: no markup, no wrapping.

    Raises:
        WriteError: standard output cannot take it, for instance on a full disk. A reader that has gone
            (`| head`) is no error of the user's and passes as `BrokenPipeError`.
    """
    if _silent:
        return
    with _writing():
        if sys.stdout is not None:
            sys.stdout.write(text)
        flush()


def flush() -> None:
    """Hand on what is still held of both streams; one that is closed is None."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()


@contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno == errno.EPIPE:
            raise
        raise WriteError(f"cannot write to standard output: {error.strerror or error}.") from error


def tolerate_any_encoding() -> None:
    """Replace characters that a stream's encoding lacks, rather than fail in the middle of a result."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _console(*, stderr: bool) -> Console:
    console = Console(stderr=stderr)
    if not console.is_terminal:
        console = Console(stderr=stderr, width=PIPED_WIDTH)
    return console
