"""Tables of values by substructure: one a grouping, a column a measure that has it, a few columns a table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from landscape.numbers import format_column, format_count
from landscape.records import Analysis
from landscape.report.blocks import Column, Table
from landscape.report.entries import about, ordered
from landscape.report.figures import number
from landscape.report.structure import by_title, sums_by, tables

COLUMNS = 5
"""Measures beside each other in one table."""

_SHORT = 11  # letters of a number that fits a column of even share
_LONG = 30  # letters of a name that wants a wide column


@dataclass(frozen=True)
class Substructures:
    """A table and what its rows are."""

    title: str
    table: Table


def substructures(analysis: Analysis) -> list[Substructures]:
    """All groupings of all measures, as asked for first; a grouping with many measures has several tables."""
    columns: dict[str, dict[str, tuple[dict[str, float], Mapping[str, Any]]]] = {}
    for name, record in ordered(analysis):
        if record.skipped is None:
            errors = record.details.get("groups_stderr") or {}
            for title, values in tables(analysis, record, additive=about(name).additive):
                columns.setdefault(title, {})[name] = (values, errors)
    found = []
    for title, by_measure in columns.items():
        names = list(by_measure)
        pieces = [names[start : start + COLUMNS] for start in range(0, len(names), COLUMNS)]
        for place, piece in enumerate(pieces):
            of = f" ({place + 1} of {len(pieces)})" if place else ""
            found.append(Substructures(f"{title}{of}", _table(analysis, title, {n: by_measure[n] for n in piece})))
    return found


def _table(
    analysis: Analysis, title: str, by_measure: Mapping[str, tuple[Mapping[str, float], Mapping[str, Any]]]
) -> Table:
    groups = list(dict.fromkeys(group for values, _ in by_measure.values() for group in values))
    sizes = _sizes(analysis, title)
    order = {group: place for place, group in enumerate(sizes)}  # roles as usual, layers as in the network
    groups.sort(key=lambda group: order.get(group, len(order)))
    cells = [_column(groups, values, errors) for values, errors in by_measure.values()]
    rows = [[group, *row] for group, row in zip(groups, zip(*cells, strict=True), strict=True)]
    heads = [about(name).title for name in by_measure]
    if sizes:
        heads.insert(0, "Parameters")
        rows = [[row[0], sizes.get(group, ""), *row[1:]] for group, row in zip(groups, rows, strict=True)]
    longest = max((len(group) for group in groups), default=0)
    first = Column("", "text", 3.0 if longest > _LONG else 1.6)
    columns = [first, *(Column(head, "right", share(row[i] for row in rows)) for i, head in enumerate(heads, start=1))]
    return Table(columns, rows, small=True)


def share(texts: Iterable[str]) -> float:
    """The share of the free width for a column of `texts`: more where one of them is long."""
    return max(1.0, max(map(len, texts), default=0) / _SHORT)


def _sizes(analysis: Analysis, title: str) -> dict[str, str]:
    """How many parameters each role or layer has; empty for other groupings, whose members the document lacks."""
    tensors = analysis.problem.get("tensors") or ()
    key = {by_title("role"): "role", by_title("layer"): "layer"}.get(title)
    if key is None:
        return {}
    sums = sums_by(key, tensors, {tensor["name"]: tensor["size"] for tensor in tensors})
    return {group: format_count(size) for group, size in sums.items()}


def _column(groups: Sequence[str], values: Mapping[str, float], errors: Mapping[str, Any]) -> list[str]:
    known = [group for group in groups if group in values]
    texts = format_column([values[group] for group in known], [number(errors, group) for group in known])
    return [dict(zip(known, texts, strict=True)).get(group, "") for group in groups]
