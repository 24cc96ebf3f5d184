"""Named exceptions. Each message says what was expected, what came and what to do, in one or two lines.

The command line turns every `LandscapeError` into its message on standard error and the exit code that the
exception's class names; nothing else decides an exit code.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class LandscapeError(Exception):
    """Base of all errors that a user can mend; `exit_code` is what the command line returns.

    `partial` is what was finished before the error, where that is worth keeping: of an analysis, an `Analysis`.
    """

    exit_code = 2
    partial: object = None


class OptionError(LandscapeError, ValueError):
    """An option, setting or name is unknown or out of range."""


class CheckpointError(LandscapeError):
    """A checkpoint file is missing, damaged, unsafe or does not fit the network."""


class DataError(LandscapeError):
    """A data set is missing, damaged, empty or does not fit the network."""


class ModelError(LandscapeError):
    """A network cannot be built, or its outputs do not fit the loss."""


class ProblemError(LandscapeError):
    """A model, a loss and data do not make a function L(theta; D)."""


class NonFiniteError(LandscapeError):
    """A weight, loss or gradient is NaN or infinite; the message names the tensor or the samples."""


class NotApplicableError(LandscapeError):
    """A measure is not defined for this problem; the message is the reason."""


class DeviceError(LandscapeError):
    """A device that was asked for is not there."""


class ProcessError(LandscapeError):
    """A process of a group died or cannot be reached; no result of the group can be had."""

    exit_code = 71


class OutOfMemoryError(LandscapeError):
    """A batch did not fit into memory; the message suggests a batch size."""


class WriteError(LandscapeError):
    """A file or folder cannot be written."""


class DivergedError(LandscapeError):
    """Training left the finite numbers; the last good checkpoint is kept."""

    exit_code = 3


def near(name: str, known: Iterable[str]) -> str:
    """Return ' Did you mean a, b?' for the known names close to `name`, else ' Known: ...'."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    if close:
        return f" Did you mean {', '.join(close)}?"
    return f" Known: {', '.join(names)}."
