"""What a benchmark found, as plain values: rows (a contender each) and bars (a demand each)."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import torch

from benchmarks.clock import Kind, Race, spread

SCHEMA = "landscape.benchmark/1"
Sense = Literal["at least", "at most"]


@dataclass(frozen=True)
class Row:
    """A line of a table; `ratio` is in the benchmark's unit, {median, min, max} over repeats."""

    who: str
    what: str
    repeats: int = 0
    ratio: dict[str, float] | None = None
    cpu_ratio: dict[str, float] | None = None
    seconds: dict[str, float] | None = None
    cpu_seconds: dict[str, float] | None = None
    products: float | None = None
    counted: float | None = None
    value: float | None = None
    error: float | None = None
    note: str = ""
    failed: str | None = None


@dataclass(frozen=True)
class Bar:
    """A demand: `measured` must be at least or at most `limit`; None where it could not be measured."""

    text: str
    sense: Sense
    limit: float
    measured: float | None
    aim: float | None = None
    note: str = ""
    judged_by: str = ""

    @classmethod
    def row(cls, text: str, row: Row, limit: float, note: str = "") -> Bar:
        """That a row's ratio is at most `limit`."""
        return cls(text, "at most", limit, _judged(row), note=row.failed or note, judged_by=judge())

    @classmethod
    def quotient(
        cls, text: str, slow: Row | None, fast: Row, limit: float, aim: float | None = None, note: str = ""
    ) -> Bar:
        """That the row `slow` takes at least `limit` times as long as `fast`."""
        above, below = (None if one is None else _judged(one) for one in (slow, fast))
        measured = above / below if above is not None and below is not None else None
        reason = next((one.failed for one in (slow, fast) if one is not None and one.failed), note)
        return cls(text, "at least", limit, measured, aim, reason, judge())

    @property
    def met(self) -> bool | None:
        """Whether it is reached; None where it was not measured."""
        if self.measured is None:
            return None
        return self.measured >= self.limit if self.sense == "at least" else self.measured <= self.limit


def judge() -> str:
    """Which time the bars are judged by: with one thread CPU time, which other programs do not lengthen; else wall."""
    return "cpu" if torch.get_num_threads() == 1 and not torch.cuda.is_initialized() else "wall"


def _judged(row: Row) -> float | None:
    ratio: Mapping[str, float] | None = row.cpu_ratio if judge() == "cpu" else row.ratio
    return None if ratio is None else ratio["median"]


def fastest(rows: Sequence[Row]) -> Row | None:
    """The row with the smallest ratio of those that did not fail."""
    known = {judged: one for one in rows if (judged := _judged(one)) is not None}
    return known[min(known)] if known else None


@dataclass
class Outcome:
    """All of one benchmark.

    Attributes:
        title: what is measured.
        subject: network and data, in words.
        samples: how many images.
        unit: what a ratio of 1 is.
        rows, bars: see there.
        skipped: the reason why it was not run.
        remarks: what a reader of the table has to know.
    """

    title: str
    subject: str
    samples: int
    unit: str = "one gradient pass over the same images"
    rows: list[Row] = field(default_factory=list)
    bars: list[Bar] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    skipped: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values; a bar carries its verdict."""
        values = asdict(self)
        values["bars"] = [{**asdict(bar), "met": bar.met} for bar in self.bars]
        return values


def row(one: Race, *, scale: float = 1.0, reference: float | None = None, note: str = "") -> Row:
    """The line of one contender; `scale` multiplies its times (1/k for k vectors at once; n/m to go from m to n)."""
    who, what = one.contender.who, one.contender.what
    if one.failed is not None or not one.laps:
        return Row(who, what, failed=one.failed or "not run", note=note)
    values = [a.value for a in one.answers if a.value is not None]
    return Row(
        who,
        what,
        repeats=len(one.laps),
        ratio=spread([scale * r for r in one.ratios("wall")]),
        cpu_ratio=spread([scale * r for r in one.ratios("cpu")]),
        seconds=spread([scale * lap.wall for lap in one.laps]),
        cpu_seconds=spread([scale * lap.cpu for lap in one.laps]),
        products=_median([a.products for a in one.answers], scale),
        counted=_median([a.counted for a in one.answers], scale),
        value=statistics.median(values) if values else None,
        error=max(abs(v / reference - 1) for v in values) if values and reference else None,
        note=note,
    )


def weighted(who: str, what: str, races: Sequence[Race], weights: Sequence[float]) -> Row:
    """The sum of the races' ratios, each times its weight, repeat by repeat: work whose parts were timed apart."""
    failed = next((one.failed for one in races if one.failed is not None), None)
    if failed is not None:
        return Row(who, what, failed=failed)

    def sums(kind: Kind) -> list[float]:
        turns = zip(*(one.ratios(kind) for one in races), strict=True)
        return [sum(w * r for w, r in zip(weights, turn, strict=True)) for turn in turns]

    wall, cpu = sums("wall"), sums("cpu")
    return Row(who, what, len(wall), spread(wall), spread(cpu))


def _median(values: Sequence[float | None], scale: float) -> float | None:
    known = [v for v in values if v is not None]
    return scale * statistics.median(known) if known else None
