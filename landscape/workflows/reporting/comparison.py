"""The part that holds networks against each other: tables, a figure of all measures, the substructures.

Few networks stand side by side, a row a measure, with z of each difference; more of them stand under each other, a row
a network, so that the eye goes down a column.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from landscape.numbers import (
    format_column,
    format_measured,
    format_share,
    format_value,
    format_z,
    with_exactness,
)
from landscape.plots.dots import DotPanel, dots_figures
from landscape.plots.style import svg
from landscape.records import Analysis
from landscape.report.blocks import Block, Cell, Column, Fact, Facts, Figures, Heading, Part, Prose, Row, Shown, Table
from landscape.report.entries import about
from landscape.report.figures import number
from landscape.report.substructures import share
from landscape.workflows.compare import Compared, Comparison

SIDE_BY_SIDE = 3
"""Networks beside each other; more stand under each other."""

COLUMNS = 4
"""Measures beside each other in a table of networks under each other."""

GROUPS = 12
"""Substructures of a measure that are compared; of more the sum of them would be longer than the report."""

TALLEST = 9.2
"""Inches of a figure."""

_ERRORS = (
    "± is the standard error {of}, – where it is not known; with neither ± nor exact a value is sure to the last digit "
    "shown."
)
_Z = (
    " z is the difference from {first} in combined standard errors, bold where it is more than two; exact values that "
    "differ have no z."
)
_TITLES = {
    "test_accuracy": "Test accuracy",
    "test_loss": "Test loss",
    "accuracy": "Accuracy on the samples",
    "loss": "Loss on the samples",
}


def comparison_part(
    found: Comparison, *, analyses: Sequence[Analysis] = (), key: str = "comparison", origin: Sequence[Fact] = ()
) -> Part:
    """The part on a comparison.

    Args:
        found: the comparison.
        analyses: of the networks, in the same order, where they are known: for accuracy and loss on the samples.
        key: of the part.
        origin: where the comparison was read from.
    """
    outcomes = _outcomes(found, analyses)
    whole = [row for row in found.rows if not row.group]
    few = len(found.names) <= SIDE_BY_SIDE
    of = "of the estimates on the same samples" if found.same_samples else "of estimate and draw of the samples"
    blocks: list[Block] = [Facts(origin)] if origin else []
    blocks += _beside(found, outcomes, whole) if few else _under(found, outcomes, whole)
    blocks.append(Prose(_ERRORS.format(of=of) + (_Z.format(first=found.names[0]) if few else ""), "small"))
    blocks += [Prose(note, "small") for note in found.notes]
    figures = _figures(found, outcomes, whole)
    blocks.append(Figures(figures))
    inner = _substructures(found)
    if inner:
        blocks.append(Heading(2, f"By {found.by}" if "," not in found.by else "By pattern", f"{key}-groups"))
        blocks += inner
    return Part("Comparison", key, blocks, summary=_line(found))


def _outcomes(found: Comparison, analyses: Sequence[Analysis]) -> dict[str, list[float]]:
    """Accuracies and losses by their name, a network each; those that no network has are left out."""
    values = {
        name: [metrics.get(name, math.nan) for metrics in found.metrics] for name in ("test_accuracy", "test_loss")
    }
    if analyses:
        for name in ("accuracy", "loss"):
            values[name] = [number(analysis.problem, name) for analysis in analyses]
    return {name: row for name, row in values.items() if any(math.isfinite(value) for value in row)}


def _line(found: Comparison) -> str:
    accuracies = [metrics["test_accuracy"] for metrics in found.metrics if "test_accuracy" in metrics]
    words = f"{len(found.names)} networks"
    if len(accuracies) > 1:
        words += f", test accuracy {format_share(min(accuracies))} to {format_share(max(accuracies))}"
    return words


def _beside(found: Comparison, outcomes: Mapping[str, Sequence[float]], rows: Sequence[Compared]) -> list[Block]:
    columns = [Column("", "text", 1.3), Column(found.names[0], "right", 1.0)]
    for name in found.names[1:]:
        columns += [Column(name, "right", 1.0), Column("z", "right")]
    lines: list[Row] = []
    for name, values in outcomes.items():
        cells = [_outcome(name, value) for value in values]
        lines.append([_TITLES[name], cells[0], *(cell for text in cells[1:] for cell in (text, ""))])
    lines += [[about(row.measure).title, *_cells(row)] for row in rows]
    return [Table(columns, lines)]


def _cells(row: Compared) -> list[str | Cell]:
    """Value, then value and z of each further network."""
    cells: list[str | Cell] = [format_measured(row.values[0], row.errors[0])]
    for i in range(1, len(row.values)):
        cells += [
            format_measured(row.values[i], row.errors[i]),
            Cell(format_z(row.z[i]), "strong" if row.marked[i] else ""),
        ]
    return cells


def _under(found: Comparison, outcomes: Mapping[str, Sequence[float]], rows: Sequence[Compared]) -> list[Block]:
    blocks: list[Block] = []
    columns = [Column("", "text", 1.2), *(Column(_TITLES[name], "right", 0.7) for name in outcomes)]
    texts = [[_outcome(name, value) for value in values] for name, values in outcomes.items()]
    if texts:
        lines = [[name, *cells] for name, cells in zip(found.names, zip(*texts, strict=True), strict=True)]
        blocks.append(Table(columns, lines, small=True))
    for start in range(0, len(rows), COLUMNS):
        chosen = rows[start : start + COLUMNS]
        heads = [about(row.measure).title for row in chosen]
        blocks.append(_columns(found.names, heads, chosen))
    return blocks


def _columns(names: Sequence[str], heads: Sequence[str], rows: Sequence[Compared]) -> Table:
    """A row a network, a column a measure or substructure, each with one power of ten."""
    texts = [
        [
            with_exactness(text, value, error)
            for text, value, error in zip(format_column(row.values, row.errors), row.values, row.errors, strict=True)
        ]
        for row in rows
    ]
    lines = [[name, *cells] for name, cells in zip(names, zip(*texts, strict=True), strict=True)]
    columns = [Column("", "text", 1.2), *(Column(h, "right", share(c)) for h, c in zip(heads, texts, strict=True))]
    return Table(columns, lines, small=True)


def _figures(found: Comparison, outcomes: Mapping[str, Sequence[float]], rows: Sequence[Compared]) -> list[Shown]:
    none = [0.0] * len(found.names)
    panels = []
    for name, values in outcomes.items():
        share = name in ("accuracy", "test_accuracy")
        title = _TITLES[name] + (", %" if share else "")
        panels.append(DotPanel(title, [100 * value for value in values] if share else values, none))
    panels += [DotPanel(about(row.measure).title, row.values, row.errors) for row in rows]
    drawn = dots_figures(found.names, panels, tallest=TALLEST)
    caption = f"Bars: one standard error. Dotted: {found.names[0]}, which the others are held against."
    alt = f"Values of {len(panels)} quantities for {len(found.names)} networks as dots."
    return [Shown(svg(figure).decode(), caption, alt) for figure in drawn]


def _substructures(found: Comparison) -> list[Block]:
    """Few networks: a table a measure. More: measures beside each other, the substructures of one in one table."""
    blocks: list[Block] = []
    pieces: list[list[Compared]] = []
    for measure in dict.fromkeys(row.measure for row in found.rows if row.group):
        rows = [row for row in found.rows if row.measure == measure and row.group]
        title = about(measure).title
        if len(rows) > GROUPS:
            told = f"{len(rows)} substructures are too many to compare here; landscape compare --csv has them."
            blocks.append(Prose(told, "small", lead=title))
        elif len(found.names) <= SIDE_BY_SIDE:
            columns = [Column("", "text", 1.3), Column(found.names[0], "right", 1.0)]
            for name in found.names[1:]:
                columns += [Column(name, "right", 1.0), Column("z", "right")]
            lines: list[Row] = [[row.group, *_cells(row)] for row in rows]
            blocks += [Heading(3, title), Table(columns, lines, small=True)]
        elif pieces and len(pieces[-1]) + len(rows) <= COLUMNS:
            pieces[-1] += rows
        else:
            pieces += [rows[start : start + COLUMNS] for start in range(0, len(rows), COLUMNS)]
    for piece in pieces:
        heads = [f"{about(row.measure).title}, {row.group}" for row in piece]
        blocks.append(_columns(found.names, heads, piece))
    return blocks


def _outcome(name: str, value: float) -> str:
    if math.isnan(value):
        return "–"
    return format_share(value) if name in ("accuracy", "test_accuracy") else format_value(value)
