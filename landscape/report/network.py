"""What is said of one network: where its numbers come from, all measures in one table, a section on each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from landscape.numbers import (
    format_count,
    format_error,
    format_exactness,
    format_rounded,
    format_share,
    format_short,
    format_value,
)
from landscape.records import Analysis, Record
from landscape.report.blocks import (
    Block,
    Cell,
    Column,
    Explained,
    Fact,
    Facts,
    Figures,
    Formula,
    Heading,
    Headline,
    Part,
    Prose,
    Row,
    Table,
    Together,
    Values,
)
from landscape.report.details import details
from landscape.report.entries import about, ordered
from landscape.report.figures import Drawn, figures, number
from landscape.report.structure import by_title
from landscape.report.substructures import substructures

FIRST_PAGE = 12
"""Rows that a table by substructure may have to stand on the first page."""

ROOM = 6.0
"""Inches that the figures of a measure may take beside its text on one page."""

_ERRORS = (
    "Std. error: of the estimate on the chosen samples. Sampling error: of the chosen samples as a draw from the "
    "split, exact where all are used. – is not known. Cost: in gradient-equivalents, forward and backward passes over "
    "all chosen samples."
)


def network_part(analysis: Analysis, *, title: str, key: str = "network", origin: Sequence[Fact] = ()) -> Part:
    """The part on one network.

    Args:
        analysis: what was measured.
        title: its name for people.
        key: of the part; the section of a measure has the key KEY-MEASURE.
        origin: where the analysis was read from.
    """
    known = ordered(analysis)
    found = substructures(analysis)
    asked = by_title(str(analysis.settings.get("by", "role")))
    first = next((one for one in found if one.title == asked and len(one.table.rows) <= FIRST_PAGE), None)
    blocks: list[Block] = [
        Facts([*facts(analysis), *origin]),
        Heading(2, "Summary", f"{key}-summary"),
        _summary(known, analysis, key),
        *(
            Prose(f"skipped: {record.skipped}", "small", lead=about(name).title)
            for name, record in known
            if record.skipped is not None
        ),
        Prose(_ERRORS, "small"),
    ]
    if first is not None:
        blocks += [Heading(3, first.title), first.table]
    for name, record in known:
        if record.skipped is None:
            blocks += _measure(name, record, analysis, key)
    others = [one for one in found if one is not first]
    if others:
        blocks.append(Heading(2, "Values by substructure", f"{key}-substructures"))
    for one in others:
        blocks += [Heading(3, one.title), one.table]
    return Part(title, key, blocks, summary=_line(analysis, known))


def facts(analysis: Analysis) -> list[Fact]:
    """Where the numbers of an analysis come from; what the document does not know is left out."""
    checkpoint, problem, settings = analysis.checkpoint, analysis.problem, analysis.settings
    metrics = checkpoint.get("metrics") or {}
    chosen, available = number(problem, "samples"), number(problem, "available")
    data = f"{_text(problem.get('data'))}, {_text(problem.get('split'))} split"
    samples = f"{format_count(chosen)} of {format_count(available)}"
    if settings.get("samples") is not None:
        samples += f" (chosen: {settings['samples']}, seed {_text(settings.get('seed'))})"
    recorded = [f"{key.replace('_', ' ')} {_metric(key, value)}" for key, value in metrics.items() if value is not None]
    mode = [f"batch normalisation in {_text(problem.get('bn_mode'))} mode"]
    mode += [_text(problem[key]) for key in ("dtype", "device") if problem.get(key)]
    asked = [
        f"relative error {_text(settings.get('rtol'))}",
        f"budget {_text(settings.get('budget'))} gradients a measure",
    ]
    asked += [f"by {settings['by']}"] if settings.get("by") else []
    asked += [f"engine {settings['engine']}"] if settings.get("engine") else []
    versions = [
        f"{key} {analysis.provenance[key]}" for key in ("landscape", "torch", "python") if key in analysis.provenance
    ]
    accuracy = format_share(number(problem, "accuracy")) if problem.get("accuracy") is not None else ""
    rows = [
        Fact("Checkpoint", _text(checkpoint.get("path")), mono=True),
        Fact("SHA-256", _text(checkpoint.get("sha256")), mono=True),
        Fact("Recorded in it", ", ".join(recorded)),
        Fact("Network", _text(problem.get("model")), mono=True),
        Fact("Parameters", format_count(number(problem, "parameters"))),
        Fact("Data", data),
        Fact("Samples", samples),
        Fact("Loss on them", format_value(number(problem, "loss"))),
        Fact("Accuracy on them", accuracy),
        Fact("Computed", ", ".join(mode)),
        Fact("Asked for", ", ".join(asked)),
        Fact("Versions", ", ".join(versions)),
        Fact("Made", created(analysis)),
        Fact("Command", _text(analysis.provenance.get("command")), mono=True),
    ]
    return [row for row in rows if row.text]


def created(analysis: Analysis) -> str:
    """When an analysis was made, as it says itself."""
    text = str(analysis.provenance.get("created") or "").replace("T", " ")
    return text.removesuffix("+00:00") + " UTC" if text.endswith("+00:00") else text


def _line(analysis: Analysis, known: Sequence[tuple[str, Record]]) -> str:
    """The line for the contents."""
    count = sum(record.skipped is None for _, record in known)
    test = (analysis.checkpoint.get("metrics") or {}).get("test_accuracy")
    words = [f"test accuracy {format_share(test)}"] if isinstance(test, (int, float)) else []
    words.append(f"{format_count(number(analysis.problem, 'parameters'))} parameters")
    return ", ".join([*words, f"{count} measure{'' if count == 1 else 's'}"])


def _metric(key: str, value: Any) -> str:
    if not isinstance(value, (int, float)):
        return str(value)
    if "accuracy" in key:
        return format_share(value)
    return str(value) if isinstance(value, int) else format_value(value)


def _summary(known: Sequence[tuple[str, Record]], analysis: Analysis, key: str) -> Table:
    columns = [
        Column("Measure", "text", 1.0),
        Column("Value", "decimal"),
        Column("Std. error", "decimal"),
        Column("Sampling error", "decimal"),
        Column("Converged", "centre"),
        Column("Cost", "decimal"),
        Column("Seconds", "decimal"),
    ]
    total = [format_short(number(analysis.total, name)) for name in ("cost", "seconds")]
    foot: list[Row] = [[Cell("Total", "quiet"), "", "", "", "", *total]]
    return Table(columns, [_summary_row(name, record, key) for name, record in known], foot)


def _summary_row(name: str, record: Record, key: str) -> Row:
    title = about(name).title
    if record.skipped is not None:
        return [title, Cell("skipped", "quiet"), "", "", "", "", ""]
    return [
        Cell(title, link=f"{key}-{name}"),
        format_rounded(record.value, record.stderr),
        format_exactness(record.stderr),
        format_exactness(record.sampling_stderr),
        "yes" if record.converged else Cell("no", "bad"),
        format_short(record.cost),
        format_short(record.seconds),
    ]


def _estimation(record: Record) -> str:
    if math.isnan(record.stderr):
        return "standard error unknown"
    return "exact on these samples" if record.stderr == 0 else f"standard error {format_error(record.stderr)}"


def _sampling(record: Record) -> str:
    if math.isnan(record.sampling_stderr):
        return "sampling error unknown"
    return "all samples" if record.sampling_stderr == 0 else f"sampling error {format_error(record.sampling_stderr)}"


def _measure(name: str, record: Record, analysis: Analysis, key: str) -> list[Block]:
    """The section of a measure: on one page where it fits, else its figures may go on to the next."""
    said = about(name)
    words = [_estimation(record), _sampling(record), *([said.unit] if said.unit else [])]
    text: list[Block] = [
        Heading(2, said.title, f"{key}-{name}"),
        Headline(format_rounded(record.value, record.stderr), " · ".join(words)),
    ]
    if math.isnan(record.value):
        text.append(
            Prose(
                "The value is not a number (NaN): it is undefined on these samples or left the finite range.", "warning"
            )
        )
    elif not record.converged:
        rtol, budget = (_text(analysis.settings.get(option)) for option in ("rtol", "budget"))
        text.append(
            Prose(
                f"Not converged: the asked relative error of {rtol} was not reached within {budget} "
                "gradient-equivalents.",
                "warning",
            )
        )
    if said.formula:
        text.append(Formula(said.formula, said.formula_text))
    columns = [
        ("How to read it", said.reading),
        ("How it is estimated", f"{said.estimate} Cost: {said.cost}." if said.estimate else ""),
        ("What leaves it unchanged", said.invariances),
    ]
    if any(body for _, body in columns):
        text.append(Explained([c for c in columns if c[1]], f"Source: {said.reference}." if said.reference else ""))
    rows = list(details(name, record, analysis))
    if rows:
        text.append(Values(rows))
    drawn = figures(name, record, analysis)
    if not drawn:
        return [Together(text)]
    if _height(drawn) <= ROOM:
        return [Together([*text, Figures([one.shown() for one in drawn])])]
    return [Together([*text, Figures([drawn[0].shown()])]), Figures([one.shown() for one in drawn[1:]])]


def _height(drawn: Sequence[Drawn]) -> float:
    """Inches that figures take, those of half the width beside each other."""
    halves = [one.figure.get_figheight() for one in drawn if one.half]
    return max(halves, default=0.0) + sum(one.figure.get_figheight() for one in drawn if not one.half)


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_text(item)}" for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(_text(item) for item in value)
    return str(value)
