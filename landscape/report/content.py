"""What the report says, as plain values for the template: every number already text, every figure already SVG."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from landscape.catalog import CATALOG
from landscape.plots.style import svg
from landscape.records import Analysis, Record
from landscape.report.details import details
from landscape.report.figures import figures, number
from landscape.report.numbers import (
    format_column,
    format_count,
    format_error,
    format_rounded,
    format_share,
    format_short,
    format_value,
    true_minus,
)
from landscape.report.structure import by_title, sums_by, tables

COLUMNS = 3
"""Checkpoints beside each other in one comparison table."""


FIRST_PAGE = 12
"""Rows that a table by substructure may have to stand on the first page."""


def content(analyses: Sequence[Analysis], title: str | None) -> dict[str, Any]:
    """The whole report as JSON values, in the form that `template.typ` reads."""
    names = short_names([str(a.checkpoint.get("path") or a.problem.get("model") or "problem") for a in analyses])
    several = len(analyses) > 1
    default = f"{len(analyses)} checkpoints compared" if several else names[0]
    return {
        "title": title or default,
        "version": str(analyses[0].provenance.get("landscape", "")),
        "created": _created(analyses[0]),
        "comparisons": _comparisons(analyses, names) if several else [],
        "analyses": [_analysis(a, name) for a, name in zip(analyses, names, strict=True)],
    }


def short_names(paths: Sequence[str]) -> list[str]:
    """The file names of `paths`, with as many of their folders as it takes to tell them apart.

    The same path given twice cannot be told apart so; these are numbered.
    """
    parts = [PurePath(path).parts or (path,) for path in paths]
    names = []
    for i, own in enumerate(parts):
        others = [other for j, other in enumerate(parts) if j != i and other != own]
        depth = 1
        while depth < len(own) and any(other[-depth:] == own[-depth:] for other in others):
            depth += 1
        names.append("/".join(own[-depth:]).replace("//", "/"))
    return [f"{name} ({names[: i + 1].count(name)})" if names.count(name) > 1 else name for i, name in enumerate(names)]


def _analysis(analysis: Analysis, name: str) -> dict[str, Any]:
    known = _ordered(analysis)
    found = _tables(analysis)
    asked = by_title(str(analysis.settings.get("by", "role")))
    first = next((table for table in found if table["title"] == asked and len(table["rows"]) <= FIRST_PAGE), None)
    return {
        "name": name,
        "facts": _facts(analysis),
        "summary": [_summary(key, record) for key, record in known],
        "total": {
            "cost": format_short(number(analysis.total, "cost")),
            "seconds": format_short(number(analysis.total, "seconds")),
        },
        "first": first,
        "measures": [_measure(key, record, analysis) for key, record in known if record.skipped is None],
        "tables": [table for table in found if table is not first],
    }


def _ordered(analysis: Analysis) -> list[tuple[str, Record]]:
    return [(name, analysis.measures[name]) for name in CATALOG if name in analysis.measures]


def _facts(analysis: Analysis) -> list[dict[str, Any]]:
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
    rows = [
        ("Checkpoint", _text(checkpoint.get("path")), True),
        ("SHA-256", _text(checkpoint.get("sha256")), True),
        ("Recorded in it", ", ".join(recorded), False),
        ("Network", _text(problem.get("model")), True),
        ("Parameters", format_count(number(problem, "parameters")), False),
        ("Data", data, False),
        ("Samples", samples, False),
        ("Loss on them", format_value(number(problem, "loss")), False),
        (
            "Accuracy on them",
            format_share(number(problem, "accuracy")) if problem.get("accuracy") is not None else "",
            False,
        ),
        ("Computed", ", ".join(mode), False),
        ("Asked for", ", ".join(asked), False),
        ("Versions", ", ".join(versions), False),
        ("Made", _created(analysis), False),
        ("Command", _text(analysis.provenance.get("command")), True),
    ]
    return [
        {"name": name, "text": _breakable(text) if mono else text, "mono": mono} for name, text, mono in rows if text
    ]


def _metric(key: str, value: Any) -> str:
    if not isinstance(value, (int, float)):
        return str(value)
    if "accuracy" in key:
        return format_share(value)
    return str(value) if isinstance(value, int) else format_value(value)


def _summary(name: str, record: Record) -> dict[str, Any]:
    title = CATALOG[name].title
    if record.skipped is not None:
        return {"title": title, "name": name, "skipped": record.skipped}
    return {
        "title": title,
        "name": name,
        "skipped": None,
        "value": true_minus(format_rounded(record.value, record.stderr)),
        "stderr": _error(record.stderr),
        "sampling": _error(record.sampling_stderr),
        "converged": record.converged,
        "cost": format_short(record.cost),
        "seconds": format_short(record.seconds),
    }


def _error(error: float) -> str:
    if math.isnan(error):
        return "–"
    return "0" if error == 0 else format_error(error)


def _estimation(record: Record) -> str:
    if math.isnan(record.stderr):
        return "standard error unknown"
    return "exact on these samples" if record.stderr == 0 else f"standard error {format_error(record.stderr)}"


def _sampling(record: Record) -> str:
    if math.isnan(record.sampling_stderr):
        return "sampling error unknown"
    return "all samples" if record.sampling_stderr == 0 else f"sampling error {format_error(record.sampling_stderr)}"


def _measure(name: str, record: Record, analysis: Analysis) -> dict[str, Any]:
    about = CATALOG[name]
    head = _summary(name, record)
    notes = []
    if math.isnan(record.value):
        notes.append("The value is not a number (NaN): it is undefined on these samples or left the finite range.")
    elif not record.converged:
        notes.append(
            f"Not converged: the asked relative error of {_text(analysis.settings.get('rtol'))} was not reached "
            f"within {_text(analysis.settings.get('budget'))} gradient-equivalents."
        )
    return {
        "title": about.title,
        "name": name,
        "value": head["value"],
        "stderr": _estimation(record),
        "sampling": _sampling(record),
        "formula": about.formula,
        "reading": about.reading,
        "estimate": about.estimate,
        "invariances": about.invariances,
        "cost": about.cost,
        "unit": about.unit,
        "reference": about.reference,
        "notes": notes,
        "details": [[label, true_minus(text)] for label, text in details(name, record, analysis)],
        "figures": [
            {"svg": svg(shown.figure).decode(), "caption": shown.caption, "alt": shown.alt, "half": shown.half}
            for shown in figures(name, record, analysis)
        ],
    }


def _tables(analysis: Analysis) -> list[dict[str, Any]]:
    """Values by substructure: one table a grouping, one column a measure that has it."""
    columns: dict[str, dict[str, tuple[dict[str, float], Mapping[str, Any]]]] = {}
    for name, record in _ordered(analysis):
        if record.skipped is None:
            errors = record.details.get("groups_stderr") or {}
            for title, values in tables(analysis, record, additive=CATALOG[name].additive):
                columns.setdefault(title, {})[name] = (values, errors)
    found = []
    for title, by_measure in columns.items():
        groups = list(dict.fromkeys(group for values, _ in by_measure.values() for group in values))
        cells = [_column(groups, values, errors) for values, errors in by_measure.values()]
        rows = [[_breakable(group), *row] for group, row in zip(groups, zip(*cells, strict=True), strict=True)]
        head = [CATALOG[name].title for name in by_measure]
        sizes = _sizes(analysis, title)
        if sizes:
            head.insert(0, "Parameters")
            rows = [[row[0], sizes.get(group, ""), *row[1:]] for group, row in zip(groups, rows, strict=True)]
        found.append({"title": title, "head": head, "rows": rows})
    return found


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
    texts = [true_minus(text) for text in texts]
    return [dict(zip(known, texts, strict=True)).get(group, "") for group in groups]


def _comparisons(analyses: Sequence[Analysis], names: Sequence[str]) -> list[dict[str, Any]]:
    """Tables with a row a measure and a column a checkpoint, at most `COLUMNS` checkpoints each."""
    keys = [name for name in CATALOG if any(name in a.measures for a in analyses)]
    found = []
    for start in range(0, len(analyses), COLUMNS):
        chosen = analyses[start : start + COLUMNS]
        rows = [
            ["Accuracy", *(format_share(number(a.problem, "accuracy")) for a in chosen)],
            ["Loss", *(format_value(number(a.problem, "loss")) for a in chosen)],
            *([CATALOG[key].title, *(_compared(a.measures.get(key)) for a in chosen)] for key in keys),
        ]
        heads = [_breakable(name) for name in names[start : start + COLUMNS]]
        blank = [""] * (COLUMNS - len(chosen) if start else 0)
        kept = [[*row, *blank] for row in rows if any(row[1:])]
        found.append({"head": [*heads, *blank], "rows": kept})
    return found


def _compared(record: Record | None) -> str:
    if record is None:
        return ""
    if record.skipped is not None:
        return "skipped"
    return true_minus(format_value(record.value, record.stderr)) + ("" if record.converged else " *")


def _created(analysis: Analysis) -> str:
    created = str(analysis.provenance.get("created") or "").replace("T", " ")
    return created.removesuffix("+00:00") + " UTC" if created.endswith("+00:00") else created


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_text(item)}" for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(_text(item) for item in value)
    return str(value)


def _breakable(text: str) -> str:
    """Let a long name break after dots, slashes and underscores, by spaces of no width."""
    for mark in "./_:,=":
        text = text.replace(mark, mark + "\u200b")
    return text
