"""What several measures of one analysis need and compute once."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Hashable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from landscape.problem import Problem
from landscape.work import count_work

T = TypeVar("T")


@dataclass(frozen=True)
class _Kept:
    value: Any
    cost: float
    seconds: float


class Shared:
    """Results by need and key, each computed by the first measure that asks.

    A result must depend on its key alone, not on who asks. Each measure that takes one is told its cost, as if it had
    computed it: no record depends on what else is measured.

    Args:
        problem: of the measures.
        needs: what the measures need, so that what two of them share can be computed for both at once.
    """

    def __init__(self, problem: Problem, needs: Collection[str] = ()) -> None:
        self._problem = problem
        self._needs = set(needs)
        self._kept: dict[tuple[str, Hashable], _Kept] = {}
        self._cost, self._seconds = 0.0, 0.0
        self._charged: set[tuple[str, Hashable]] = set()  # what the measure at work has computed or been told

    def get(self, need: str, key: Hashable, compute: Callable[[], T]) -> T:
        """The result of `compute`, kept under `need` and `key`; every process asks for the same."""
        known = self._kept.get((need, key))
        if known is not None:
            if (need, key) not in self._charged:
                self._charged.add((need, key))
                self._cost += known.cost
                self._seconds += known.seconds
            value: T = known.value
            return value
        start, cost_before, seconds_before = time.perf_counter(), self._cost, self._seconds
        with count_work() as work:
            value = compute()
        done = self._problem.group.sum_array(np.array(work.gradient_equivalents(len(self._problem))))
        # what it took from others belongs to it for whoever takes it later
        cost = float(done) + self._cost - cost_before
        seconds = time.perf_counter() - start + self._seconds - seconds_before
        self._kept[need, key] = _Kept(value, cost, seconds)
        self._charged.add((need, key))
        return value

    def expect(self, need: str) -> None:
        """Say that a measure will ask for it."""
        self._needs.add(need)

    def expects(self, need: str) -> bool:
        """Whether any measure needs it."""
        return need in self._needs

    def taken(self) -> tuple[float, float]:
        """Cost and seconds of what was taken and not computed since this was last asked."""
        found = self._cost, self._seconds
        self._cost, self._seconds = 0.0, 0.0
        self._charged.clear()
        return found

    def keep_only(self, needs: Collection[str]) -> None:
        """Forget the results of all other needs."""
        self._kept = {key: kept for key, kept in self._kept.items() if key[0] in needs}
