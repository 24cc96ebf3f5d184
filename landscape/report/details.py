"""The numbers beside a measure's value that its section of the report tells, as (name, text)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from landscape.numbers import format_count, format_share, format_value
from landscape.records import Analysis, Record
from landscape.report.figures import QUARTILES, number, numbers

Rows = list[tuple[str, str]]


def details(name: str, record: Record, analysis: Analysis) -> Rows:
    """The further numbers of the measure `name`: those chosen for it, else all that its record tells in a few words."""
    return _DETAILS.get(name, _any)(record, analysis)


def _any(record: Record, analysis: Analysis) -> Rows:
    """The numbers, words and short lists in the details; what is long or shown elsewhere is left out."""
    found = _quartiles(record)
    for key, value in record.details.items():
        if key in _SHOWN_ELSEWHERE:
            continue
        label = key.replace("_", " ")
        if isinstance(value, Mapping) and not value.keys() <= {"value", "stderr"}:
            parts = [(f"{label}, {str(part).replace('_', ' ')}", _short(item)) for part, item in value.items()]
            found += [(name, text) for name, text in parts if text] if len(parts) <= _FEW else []
        elif text := _short(value):
            found.append((label, text))
    return found[:_MOST]


def _short(value: Any) -> str:
    """A value in a few words; empty where it takes more, or is undefined (NaN)."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return format_count(value)
    if isinstance(value, float):
        return "" if math.isnan(value) else format_value(value)
    if isinstance(value, str):
        return value if len(value) <= _WORDS else ""
    if isinstance(value, Mapping) and "value" in value:
        return format_value(number(value, "value"), number(value, "stderr"))
    if isinstance(value, (list, tuple)) and 0 < len(value) <= _FEW:
        texts = [_short(item) for item in value]
        return ", ".join(texts) if all(texts) else ""
    return ""


def _trace(record: Record, analysis: Analysis) -> Rows:
    found = _numbers(record, ("probes", "probes a block"), ("blocks", "blocks of samples"))
    titles = {"gauss_newton": "Gauss–Newton part", "residual": "residual"}
    for part, value in (record.details.get("parts") or {}).items():
        found.append((titles.get(part, part), format_value(number(value, "value"), number(value, "stderr"))))
    size = analysis.problem.get("parameters")
    if size:
        found.insert(0, ("tr H / p", format_value(record.value / size, record.stderr / size)))
    return found


def _eigenvalues(record: Record, analysis: Analysis) -> Rows:
    values = numbers(record.details, "eigenvalues")
    found: Rows = []
    if "most_negative" in record.details:
        low, residual = number(record.details, "most_negative"), number(record.details, "most_negative_residual")
        found.append(("most negative Ritz value", format_value(low, residual)))
    if len(values) > 1 and values[1]:
        found.append(("λ₁ / λ₂", format_value(values[0] / values[1])))
    if record.value > 0:
        found.append(("largest stable rate, 2/λ₁", format_value(2 / record.value)))
    return found + _numbers(record, ("products", "Hessian products"))


def _density(record: Record, analysis: Analysis) -> Rows:
    found: Rows = []
    size = analysis.problem.get("parameters")
    if size:
        found.append(("mean × p", format_value(record.value * size, record.stderr * size)))
        trace = analysis.measures.get("hessian_trace")
        if trace is not None and trace.skipped is None:
            found.append(("tr H", format_value(trace.value, trace.stderr)))
    found.append(("smoothing width σ", format_value(number(record.details, "sigma"))))
    return found + _numbers(
        record,
        ("deflated", "dimensions taken out"),
        ("runs", "Lanczos runs in the rest"),
        ("steps", "steps a run"),
        ("probes", "further probes of the mean"),
    )


def _fisher_rao(record: Record, analysis: Analysis) -> Rows:
    names = {
        "model_squared": "model labels, squared",
        "model_root": "model labels, root",
        "empirical_squared": "given labels, squared",
        "empirical_root": "given labels, root",
    }
    variants = record.details.get("variants") or {}
    return [(title, format_value(number(variants, key))) for key, title in names.items() if key in variants]


def _connectivity(record: Record, analysis: Analysis) -> Rows:
    return _quartiles(record)


def _connectivity_batch(record: Record, analysis: Analysis) -> Rows:
    found = _numbers(record, ("m", "samples a group, m"), ("batches", "groups"))
    single = analysis.measures.get("connectivity")
    if single is not None and single.skipped is None and single.value > 0:
        found.append(("C", format_value(single.value, single.stderr)))
        found.append(("C_m / C", format_value(record.value / single.value)))
    return found


def _margin(record: Record, analysis: Analysis) -> Rows:
    details = record.details
    keys = [*QUARTILES, ("lower fence", "lower_fence"), ("upper fence", "upper_fence")]
    found = [(title, format_value(number(details, key))) for title, key in keys]
    found.append(("mean within Q1..Q3", format_value(number(details, "middle_mean"))))
    found.append(("misclassified", format_share(number(details, "misclassified"))))
    found.append(("total variation", format_value(number(details, "total_variation"))))
    return found + _numbers(record, ("undefined", "undefined"))


def _jacobian(record: Record, analysis: Analysis) -> Rows:
    root = math.sqrt(record.value) if record.value >= 0 else math.nan
    found = [
        ("root mean square norm", format_value(root)),
        ("mean spectral norm", format_value(number(record.details, "spectral_norm"))),
    ]
    found += _quartiles(record) + _numbers(record, ("classes", "classes"), ("probes", "projections a sample"))
    if "exact" in record.details:
        found.append(("computed", "exactly" if record.details["exact"] else "by projections"))
    return found


def _quartiles(record: Record) -> Rows:
    quantiles = record.details.get("quantiles") or {}
    return [(title, format_value(number(quantiles, key))) for title, key in QUARTILES if key in quantiles]


def _numbers(record: Record, *keys: tuple[str, str]) -> Rows:
    return [(title, format_count(number(record.details, key))) for key, title in keys if key in record.details]


_SHOWN_ELSEWHERE = ("groups_stderr", "tensors", "tensors_stderr", "quantiles", "histogram", "curve")
_FEW = 6  # entries of a list or of a table within the details
_MOST = 15  # numbers beside a value
_WORDS = 40

_DETAILS: dict[str, Callable[[Record, Analysis], Rows]] = {
    "hessian_trace": _trace,
    "top_eigenvalues": _eigenvalues,
    "spectral_density": _density,
    "fisher_rao": _fisher_rao,
    "connectivity": _connectivity,
    "connectivity_batch": _connectivity_batch,
    "margin": _margin,
    "jacobian_norm": _jacobian,
}
