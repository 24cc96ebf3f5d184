"""What a measure cost: passes, seconds and memory, put into its record."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import ParamSpec

import numpy as np

from landscape.errors import NonFiniteError
from landscape.float32_products import full_products
from landscape.measures.arguments import checked
from landscape.measures.sharing import Shared
from landscape.memory import watch_peak
from landscape.problem import Problem
from landscape.problem.checks import check_weights
from landscape.records import Record
from landscape.work import count_work

Parameters = ParamSpec("Parameters")
Progress = Callable[[str, float], None]  # (what is known so far, expected cost in all)


def announce(on_progress: Progress | None, cost: float) -> None:
    """Tell what a measure of known cost will cost."""
    if on_progress is not None:
        on_progress("", cost)


def metered(measure: Callable[Parameters, Record]) -> Callable[Parameters, Record]:
    """Fill the cost, the seconds and the peak memory of the record that `measure` returns, computed in full precision.

    Keywords are held to their bounds before (`landscape.measures.arguments`). The problem is the first argument.
    What the measure put into its record itself (the share of a computation that was handed in), and what it took from
    `shared`, is added to the cost and the seconds.
    """

    @functools.wraps(measure)
    def run(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Record:
        problem = args[0] if args else kwargs["problem"]
        assert isinstance(problem, Problem)
        kwargs.update(checked(measure, kwargs))
        shared = kwargs.get("shared")
        if isinstance(shared, Shared):
            shared.taken()
        start = time.perf_counter()
        # a problem follows a model that is being trained: its weights may have left the finite numbers since
        check_weights(problem.model)
        with full_products(), count_work() as work, watch_peak(problem.device) as peak:
            record = measure(*args, **kwargs)
        if record.skipped is None and not math.isfinite(record.value):
            name = getattr(measure, "__name__", "the measure")
            raise NonFiniteError(f"{name} is NaN or infinite: the numbers overflow; try --dtype float64.")
        cost = problem.group.sum_array(np.array(work.gradient_equivalents(len(problem))))
        taken_cost, taken_seconds = shared.taken() if isinstance(shared, Shared) else (0.0, 0.0)
        return replace(
            record,
            cost=record.cost + float(cost) + taken_cost,
            seconds=record.seconds + time.perf_counter() - start + taken_seconds,
            peak_memory=peak.bytes,
        )

    return run
