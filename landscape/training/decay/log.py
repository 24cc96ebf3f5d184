"""The decay of each step as a table: a row holds from its `step` until the next row's.

Columns: `step` (from 1), then the lambda of each trained tensor by its name; 0 where it is not decayed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from landscape.training.history import Row


def only_changes(rows: Sequence[Row], new: Iterable[Row]) -> list[Row]:
    """`rows` and those of `new` that are not the lambdas of the row before; all in the order of their steps."""
    kept = list(rows)
    for row in new:
        if not kept or _lambdas(row) != _lambdas(kept[-1]):
            kept.append(row)
    return kept


def decayed_share(new: Sequence[Row], names: Sequence[str]) -> float:
    """The share of the pairs of a step of `new` and a tensor of `names` in which the tensor is decayed."""
    decayed = sum(1 for row in new for name in names if row[name] > 0)
    return decayed / (len(new) * len(names))


def _lambdas(row: Row) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "step"}
