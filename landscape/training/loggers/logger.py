"""What a place for logged values is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from landscape.training.run_folder import RunFolder


class Logger(Protocol):
    """Takes values by name, step by step."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Take the values at a step; steps never fall."""
        ...

    def close(self) -> None:
        """Hand on what is held."""
        ...


@dataclass(frozen=True)
class LoggerFamily:
    """A kind of logger.

    Attributes:
        name: what `--log` takes.
        check: raises `OptionError` where what it needs is not installed.
        open: (run folder, settings of the run as plain values, steps that a resumed run has done) -> the logger.
    """

    name: str
    check: Callable[[], None]
    open: Callable[[RunFolder, Mapping[str, Any], int], Logger]
