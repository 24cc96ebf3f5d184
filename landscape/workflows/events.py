"""What an analysis tells while it runs, and what an interruption carries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from landscape.records import Analysis, Record


@dataclass(frozen=True)
class MeasureStarted:
    """A measure begins: number `index` (from 0) of `count`."""

    name: str
    index: int
    count: int


@dataclass(frozen=True)
class MeasureProgress:
    """Gradient-equivalents done and expected, and what is known so far."""

    name: str
    done: float
    expected: float
    message: str


@dataclass(frozen=True)
class MeasureFinished:
    """A measure ended with this record; `cached` if an earlier analysis found it."""

    name: str
    record: Record
    cached: bool = False


@dataclass(frozen=True)
class NotKept:
    """The results of this analysis are not kept for another one, and why."""

    reason: str


Event = MeasureStarted | MeasureProgress | MeasureFinished | NotKept
OnEvent = Callable[[Event], None]


class Interrupted(KeyboardInterrupt):
    """The user stopped the analysis; `partial` holds the measures that were finished."""

    def __init__(self, partial: Analysis) -> None:
        super().__init__()
        self.partial = partial
