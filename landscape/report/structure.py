"""Sums of per-tensor values by role and by layer, and the bars that show values by substructure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from landscape.numbers import format_column, minus
from landscape.plots.groups import Bar, Panel
from landscape.records import Analysis, Record

ROLES = (
    "conv.weight",
    "conv.bias",
    "norm.gamma",
    "norm.beta",
    "linear.weight",
    "linear.bias",
    "embedding.weight",
    "other",
)
MOST_BARS = 10
_BY = {"role": "By role", "layer": "By layer", "tensor": "By tensor"}


def sums_by(key: str, tensors: Sequence[Mapping[str, Any]], values: Mapping[str, float | None]) -> dict[str, float]:
    """Sum the values of tensors that share the same `key` ("role" or "layer").

    Roles come in their usual order, layers in the order of the network. A null value makes its sum NaN; a
    tensor that has no entry in `values` is left out. The measure must be additive over tensors.
    """
    sums: dict[str, float] = {}
    for tensor in tensors:
        if tensor["name"] in values:
            value = values[tensor["name"]]
            group = str(tensor[key]) or "(root)"
            sums[group] = sums.get(group, 0.0) + (math.nan if value is None else value)
    if key == "role":
        return {role: sums[role] for role in sorted(sums, key=lambda r: ROLES.index(r) if r in ROLES else len(ROLES))}
    return sums


def by_title(by: str) -> str:
    """The heading for values grouped by the setting `by`."""
    return _BY.get(by, "By pattern")


def tables(analysis: Analysis, record: Record, *, additive: bool) -> list[tuple[str, dict[str, float]]]:
    """All groupings of one record, as (heading, group -> value): as asked for, then by role and by layer.

    Roles and layers are summed from the record's tensors where the measure is additive over them.
    """
    found: dict[str, dict[str, float]] = {}
    if record.groups:
        found[by_title(_kind(analysis, record))] = dict(record.groups)
    tensors, values = analysis.problem.get("tensors"), record.details.get("tensors")
    if additive and tensors and values:
        for key in ("role", "layer"):
            found.setdefault(by_title(key), sums_by(key, tensors, values))
    order = [*_BY.values(), "By pattern"]
    return sorted(found.items(), key=lambda item: order.index(item[0]))


def _kind(analysis: Analysis, record: Record) -> str:
    """What the groups of a record are: as asked for, or layers or tensors where the measure knows those alone."""
    asked = str(analysis.settings.get("by", "role"))
    tensors = analysis.problem.get("tensors") or ()
    names = {
        "role": {t["role"] for t in tensors},
        "layer": {str(t["layer"]) or "(root)" for t in tensors},
        "tensor": {t["name"] for t in tensors},
    }
    fitting = [kind for kind, known in names.items() if record.groups.keys() <= known]
    return asked if asked in fitting or not fitting else fitting[0]


def panels(
    groupings: Sequence[tuple[str, Mapping[str, float]]],
    *,
    errors: Mapping[str, float | None] | None = None,
    total: float = math.nan,
    additive: bool,
    most: int = MOST_BARS,
) -> list[Panel]:
    """Bars for each grouping, each with its value, its error where known, and its share of `total` if additive.

    Of more than `most` groups the largest by absolute value are kept, in their own order; if the measure is additive
    the sum of the others follows as one bar.
    """
    return [
        Panel(_heading(title, values, most), _bars(values, errors or {}, total, additive, most))
        for title, values in groupings
        if values
    ]


def _heading(title: str, values: Mapping[str, float], most: int) -> str:
    return title if len(values) <= most else f"{title} (largest {most} of {len(values)})"


def _bars(
    values: Mapping[str, float], errors: Mapping[str, float | None], total: float, additive: bool, most: int
) -> list[Bar]:
    ranked = sorted(values, key=lambda name: -abs(values[name]) if math.isfinite(values[name]) else -math.inf)
    kept = set(ranked[:most])
    others = [value for name, value in values.items() if name not in kept]
    rows = [(name, value, _nan(errors.get(name)), False) for name, value in values.items() if name in kept]
    if others and additive:
        rows.append((f"{len(others)} others", sum(others), math.nan, True))
    texts = format_column([row[1] for row in rows], [row[2] for row in rows])
    share = additive and math.isfinite(total) and total > 0
    return [
        Bar(
            name,
            value,
            error,
            text,
            _per_cent(value / total) if share and math.isfinite(value) else "",
            rest,
        )
        for (name, value, error, rest), text in zip(rows, texts, strict=True)
    ]


def _nan(value: float | None) -> float:
    return math.nan if value is None else value


def _per_cent(share: float) -> str:
    return minus(f"{100 * share:.1f} %".replace("-0.0 ", "0.0 "))
