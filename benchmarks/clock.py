"""Timing in units that a machine does not decide: seconds divided by those of a plain pass over the same samples.

The unit is timed right before and right after each contender, and contenders take turns, so that a machine that is
slow for a minute slows both sides of a ratio. CPU time (of all threads of the process) stands beside wall time: with
one thread it says what the work was even where other programs share the processor. What a GPU was asked for is waited
for before the clock is read.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

Kind = Literal["wall", "cpu"]


@dataclass(frozen=True)
class Lap:
    """Seconds of one run."""

    wall: float
    cpu: float


@dataclass(frozen=True)
class Answer:
    """What a contender found.

    Attributes:
        value: the estimate.
        products: Hessian products (or passes of its main kind) that it took.
        counted: the gradient-equivalents that our own record counts.
        extra: further plain values.
    """

    value: float | None = None
    products: float | None = None
    counted: float | None = None
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Contender:
    """One way to the answer: `run(r)` is repetition r, whose number is its seed; `warm` is called once, untimed."""

    who: str
    what: str
    run: Callable[[int], Answer]
    warm: Callable[[], object] | None = None
    repeats: int | None = None


@dataclass
class Race:
    """What became of one contender: laps, the units beside them, answers; or the error that ended it."""

    contender: Contender
    laps: list[Lap] = field(default_factory=list)
    units: list[Lap] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    failed: str | None = None

    def ratios(self, kind: Kind) -> list[float]:
        """Seconds of each run over those of the unit beside it."""
        return [getattr(a, kind) / getattr(u, kind) for a, u in zip(self.laps, self.units, strict=True)]


def lap(work: Callable[[], Any]) -> tuple[Lap, Any]:
    """Time one call."""
    settle()
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    settle()
    return Lap(time.perf_counter() - wall, time.process_time() - cpu), result


def settle() -> None:
    """Wait until the GPU has done what it was asked for."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


def whole(work: Callable[[], object]) -> Callable[[], Lap]:
    """A unit that is all of `work`."""
    return lambda: lap(work)[0]


def race(contenders: Sequence[Contender], unit: Callable[[], Lap], repeats: int) -> list[Race]:
    """Let the contenders take turns, `repeats` times, each between two runs of the unit.

    A contender that raises is out, with its error; the others go on.
    """
    races = [Race(contender) for contender in contenders]
    unit()
    for one in races:
        if one.contender.warm is not None:
            _attempt(one, one.contender.warm)
    for r in range(max(c.repeats or repeats for c in contenders)):
        for one in races:
            if one.failed is not None or r >= (one.contender.repeats or repeats):
                continue
            gc.collect()
            before = unit()
            timed = _attempt(one, lambda one=one, r=r: lap(lambda: one.contender.run(r)))
            if timed is not None:
                after = unit()
                one.laps.append(timed[0])
                one.answers.append(timed[1])
                one.units.append(Lap((before.wall + after.wall) / 2, (before.cpu + after.cpu) / 2))
    return races


def _attempt(one: Race, work: Callable[[], Any]) -> Any:
    try:
        return work()
    except Exception as error:  # a peer may fail in any way; the table shows it
        lines = str(error).splitlines()
        one.failed = f"{type(error).__name__}: {lines[0] if lines else ''}".strip().rstrip(":")
        return None


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, smallest and largest."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}
