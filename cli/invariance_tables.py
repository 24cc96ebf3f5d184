"""An invariance study as tables for the terminal: one a transformation."""

from __future__ import annotations

import math

from rich.console import Group
from rich.table import Table
from rich.text import Text

from landscape.config.invariance import TRANSFORMS
from landscape.numbers import format_count, format_error, format_measured, format_short, format_value
from landscape.workflows.invariance_document import Change, Finding, Invariance, Variant

_WORDS = {"unchanged": "unchanged", "moved": "moved", "unresolved": "not resolved", "moves": "moves", "unstated": "–"}
_UNITS = {"rho": "units", "scale": "filters", "fold": "normalisations"}


def invariance_tables(study: Invariance) -> Group:
    """What was done, what the outputs say of it, and each measure with its verdict."""
    problem = study.problem
    words = [
        " ".join(str(problem[key]) for key in ("model", "data", "split") if problem.get(key) is not None),
        f"{format_count(problem['samples'])} samples",
        f"{format_count(problem['parameters'])} parameters",
        str(problem["dtype"]),
    ]
    parts: list[Table | Text] = [Text(", ".join(word for word in words if word))]
    for transform in study.transforms:
        variants = [variant for variant in study.variants if variant.transform == transform]
        findings = [finding for finding in study.findings() if finding.transform == transform]
        parts += [Text(""), Text(f"{transform}: {TRANSFORMS[transform]}", style="bold"), Text(_outputs(variants))]
        if findings:
            parts.append(_table(study, variants, findings))
            parts += [Text(line, style="dim") for line in _groups(study, findings)]
    remarks = [f"{name} was not done: {reason}" for name, reason in study.structure["not_done"].items()]
    remarks += [f"{n} was skipped: {r.skipped}" for n, r in study.original.items() if r.skipped is not None]
    if study.saved:
        told = format_short(study.saved["change"])
        remarks.append(f"of the network in {study.saved['path']} no output differs by more than {told}")
    return Group(*parts, *([Text("")] if remarks else []), *(Text(remark, style="dim") for remark in remarks))


def _outputs(variants: list[Variant]) -> str:
    """How many units, and how far any output moved."""
    first = variants[0]
    count = f"{first.units:,} of {first.of:,} {_UNITS[first.transform]}"
    changes = ", ".join(
        (f"c = {variant.c:g}: " if variant.c is not None else "")
        + (format_error(variant.change) if variant.change else "0")
        for variant in variants
    )
    return f"{count}; the largest change of an output (the largest is {format_short(first.size)}): {changes}"


def _table(study: Invariance, variants: list[Variant], findings: list[Finding]) -> Table:
    table = Table(show_edge=False, pad_edge=False, header_style="bold")
    table.add_column("measure", no_wrap=True)
    table.add_column("original", justify="right", no_wrap=True)
    for variant in variants:
        table.add_column("ratio" if variant.c is None else f"ratio, c = {variant.c:g}", justify="right", no_wrap=True)
    table.add_column("found", no_wrap=True)
    table.add_column("theory", no_wrap=True)
    for finding in findings:
        style = "bold red" if finding.contradicts else "yellow" if finding.found == "unresolved" else ""
        record = study.original[finding.measure]
        table.add_row(
            finding.measure,
            format_measured(record.value, record.stderr),
            *(_ratio(study, finding.measure, change) for change in finding.changes),
            Text(_WORDS[finding.found], style=style),
            _WORDS[finding.theory],
        )
    return table


def _groups(study: Invariance, findings: list[Finding]) -> list[str]:
    """What stays of a measure that moved, where its parts are known exactly."""
    lines = []
    for finding in findings:
        groups = study.unchanged_groups(finding.measure, finding.transform) if finding.found == "moved" else []
        if groups:
            lines.append(f"{finding.measure} of {', '.join(groups)}: unchanged")
    return lines


def _ratio(study: Invariance, measure: str, change: Change) -> str:
    """The ratio, with its error where that reaches the digits that are shown; without a ratio the value."""
    if not math.isfinite(change.ratio):
        return format_value(study.original[measure].value + change.difference)
    seen = change.ratio_stderr >= 5e-4 * abs(change.ratio)
    return format_value(change.ratio, change.ratio_stderr if seen else math.nan)
