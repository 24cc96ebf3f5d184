"""What a check finds: a verdict with its figures, as plain values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Verdict = Literal["passed", "failed", "kinks", "skipped"]


@dataclass(frozen=True)
class Figure:
    """Two numbers that ought to be equal, how far apart they are, and how far they may be.

    Attributes:
        what: which numbers.
        value: what this project computes.
        other: what it ought to be: computed another way, or again.
        difference: in the units of `allowed` (absolute, or relative: `what` says so).
        allowed: the most that the error budget grants.
    """

    what: str
    value: float
    other: float
    difference: float
    allowed: float

    @property
    def holds(self) -> bool:
        """Whether the difference is within what is allowed; NaN is not."""
        return self.difference <= self.allowed


def equal(what: str, value: float, other: float, *, rtol: float, floor: float = 0.0) -> Figure:
    """Two numbers that may differ by `rtol` of the larger one's size, which is taken as `floor` where it is below."""
    scale = max(abs(value), abs(other), floor)
    difference = abs(value - other) / scale if scale > 0 else abs(value - other)
    return Figure(f"{what}, relative", value, other, difference, rtol)


def within(what: str, value: float, other: float, allowed: float) -> Figure:
    """Two numbers that may differ by `allowed`, in their own units."""
    return Figure(what, value, other, abs(value - other), allowed)


@dataclass(frozen=True)
class Finding:
    """The outcome of one check.

    Attributes:
        verdict: `kinks` where the loss has no derivative to compare with at any usable step: no failure.
        figures: what was compared.
        reason: why it was skipped, or what a verdict means here.
        causes: of a failure, the likely ones.
    """

    verdict: Verdict
    figures: tuple[Figure, ...] = ()
    reason: str = ""
    causes: tuple[str, ...] = ()

    @classmethod
    def of(cls, figures: Sequence[Figure], reason: str = "") -> Finding:
        """Passed if every figure holds, else failed."""
        assert figures, "a check that compares nothing must be skipped with its reason"
        return cls("passed" if all(f.holds for f in figures) else "failed", tuple(figures), reason)

    @classmethod
    def skip(cls, reason: str) -> Finding:
        """The check does not apply."""
        return cls("skipped", reason=reason)

    def to_dict(self) -> dict[str, Any]:
        """The finding as plain JSON values; NaN and infinities are null."""
        figures = [
            {
                "what": f.what,
                **{
                    key: number if math.isfinite(number) else None
                    for key, number in (
                        ("value", f.value),
                        ("other", f.other),
                        ("difference", f.difference),
                        ("allowed", f.allowed),
                    )
                },
                "holds": f.holds,
            }
            for f in self.figures
        ]
        return {"verdict": self.verdict, "figures": figures, "reason": self.reason, "causes": list(self.causes)}


@dataclass(frozen=True)
class Verification:
    """All findings of a network, with what it is; `to_dict` is the document of schema `landscape.verification/1`."""

    findings: dict[str, Finding]
    titles: dict[str, str]
    problem: dict[str, Any] = field(default_factory=dict)
    checkpoint: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        """Whether no check failed."""
        return all(finding.verdict != "failed" for finding in self.findings.values())

    def to_dict(self) -> dict[str, Any]:
        """The document as plain JSON values."""
        return {
            "schema": "landscape.verification/1",
            "passed": self.passed,
            "problem": self.problem,
            "checkpoint": self.checkpoint,
            "checks": {
                name: {"title": self.titles[name], **finding.to_dict()} for name, finding in self.findings.items()
            },
            "seconds": self.seconds,
        }
