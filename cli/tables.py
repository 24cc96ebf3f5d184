"""An analysis as tables for the terminal."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable

from rich.console import Group
from rich.table import Table
from rich.text import Text

from landscape.numbers import format_count, format_exactness, format_share, format_short, format_value
from landscape.records import Analysis, Record

VALUE_DIGITS = 5
TITLES_WIDTH = 100
"""Characters that the names of measures may take side by side, so that none is cut short."""


def analysis_tables(analysis: Analysis, title: str) -> Group:
    """What was measured on, the measures, their values by substructure, and why a measure was skipped."""
    parts: list[Table | Text] = [Text(title, style="bold"), Text(_measured_on(analysis)), _measures(analysis)]
    if "top_eigenvalues" in analysis.measures:
        parts.append(_eigenvalues(analysis.measures["top_eigenvalues"]))
    grouped = {name: record for name, record in analysis.measures.items() if record.groups}
    if grouped:
        layers = {tensor.get("layer") for tensor in analysis.problem.get("tensors", ())}
        by = str(analysis.settings.get("by", "role"))
        parts.extend(_substructures(table, by, layers) for table in _side_by_side(grouped))
    parts.extend(
        Text(f"{name} was skipped: {record.skipped}", style="dim")
        for name, record in analysis.measures.items()
        if record.skipped is not None
    )
    return Group(*parts)


def _measured_on(analysis: Analysis) -> str:
    problem = analysis.problem
    words = [
        " ".join(str(problem[key]) for key in ("data", "split") if problem.get(key) is not None),
        _counted(problem.get("samples"), "samples"),
        _counted(problem.get("parameters"), "parameters"),
        f"loss {format_value(problem['loss'])}" if problem.get("loss") is not None else "",
        f"accuracy {format_share(problem['accuracy'])}" if problem.get("accuracy") is not None else "",
    ]
    return ", ".join(word for word in words if word)


def _counted(count: object, noun: str) -> str:
    return f"{format_count(count)} {noun}" if isinstance(count, int) else ""


def _measures(analysis: Analysis) -> Table:
    table = _table("measure", ["value", "standard error", "sampling error", "converged", "cost", "seconds"])
    cached = analysis.total.get("cached", ())
    for name, record in analysis.measures.items():
        if record.skipped is not None:
            table.add_row(name, "skipped", style="dim")
            continue
        table.add_row(
            name,
            format_value(record.value, digits=VALUE_DIGITS),
            format_exactness(record.stderr),
            format_exactness(record.sampling_stderr),
            Text("yes") if record.converged else Text("no", style="bold yellow"),
            format_short(record.cost),
            "cached" if name in cached else format_short(record.seconds),
        )
    return table


def _eigenvalues(record: Record) -> Text:
    """All eigenvalues that were asked for, each with its residual; the table has room for the largest only."""
    details = record.details
    pairs = zip(details.get("eigenvalues", ()), details.get("residuals", ()), strict=True)
    largest = ", ".join(format_value(value, residual) for value, residual in pairs)
    lowest = details.get("most_negative")
    words = [f"eigenvalues and residuals: {largest}"] if largest else []
    if lowest is not None:
        words.append(f"lowest Ritz value {format_value(lowest, details.get('most_negative_residual', math.nan))}")
    return Text("; ".join(words))


def _side_by_side(grouped: dict[str, Record]) -> list[dict[str, Record]]:
    """Measures that share groups, as many beside each other as keep their names legible; the others apart."""
    tables: list[dict[str, Record]] = []
    for name, record in grouped.items():
        for table in tables:
            shared = any(record.groups.keys() & other.groups.keys() for other in table.values())
            if shared and sum(len(title) + 3 for title in [*table, name]) <= TITLES_WIDTH:
                table[name] = record
                break
        else:
            tables.append({name: record})
    return tables


def _substructures(grouped: dict[str, Record], by: str, layers: Collection[str | None] = ()) -> Table:
    """One row a group, one column a measure that is known by group; in the order in which the groups first appear.

    Some measures know layers alone, whatever the others are split by: theirs say so.
    """
    groups = dict.fromkeys(group for record in grouped.values() for group in record.groups)
    kind = "layer" if by != "tensor" and all(group in layers for group in groups) else by
    table = _table(kind if kind in ("role", "layer", "tensor") else "group", grouped)
    for group in groups:
        values = (record.groups.get(group) for record in grouped.values())
        table.add_row(group, *("" if value is None else format_value(value) for value in values))
    return table


def _table(first: str, others: Iterable[str]) -> Table:
    table = Table(show_edge=False, pad_edge=False, header_style="bold")
    table.add_column(first, no_wrap=True)
    for name in others:
        table.add_column(name, justify="right", no_wrap=False)
    return table
