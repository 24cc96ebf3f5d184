"""The exit codes of the command line. `LandscapeError` classes carry theirs; the rest are named here."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """What a run of `landscape` tells the shell.

    `DIVERGED`, `BAD_INPUT` and `PROCESS_DIED` are `exit_code` of the exceptions in `landscape.errors`;
    `NOT_VERIFIED`: `landscape verify` found a number that is wrong; `BROKEN_PIPE` is what Typer and Rich return when
    the reader of standard output has gone; `INTERNAL` is EX_SOFTWARE of sysexits.h; `INTERRUPTED` is 128 + SIGINT.
    """

    OK = 0
    BROKEN_PIPE = 1
    BAD_INPUT = 2
    DIVERGED = 3
    NOT_VERIFIED = 4
    INTERNAL = 70
    PROCESS_DIED = 71
    INTERRUPTED = 130
