"""Correlations and comparisons that were written as JSON, read back to be drawn and told again. Loads no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from landscape.study.bootstrap import Interval, Intervals
from landscape.study.coefficients import Coefficients
from landscape.study.correlation import Correlation
from landscape.study.difference import z_score
from landscape.study.granulated import Granulated
from landscape.study.line import fit_line
from landscape.study.margins import MarginRegression, NoRegression
from landscape.study.sign_error import SignError
from landscape.workflows.compare import Compared, Comparison
from landscape.workflows.correlate import Correlations

Plain = Mapping[str, Any]


def correlations_of(document: Plain) -> Correlations:
    """What `Correlations.to_plain` wrote; lines are fitted anew to the points, which have them exactly.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: the document is damaged.
    """
    margins: MarginRegression | NoRegression | None = None
    if document["margins"] is not None:
        told = document["margins"]
        margins = NoRegression(told["refused"]) if "refused" in told else MarginRegression(**_numbers(told))
    return Correlations(
        document["target"],
        list(document["networks"]),
        list(document["hyperparameters"]),
        [_correlation(row) for row in document["correlations"]],
        margins,
        list(document["notes"]),
    )


def comparison_of(document: Plain) -> Comparison:
    """What `Comparison.to_plain` wrote.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: the document is damaged.
    """
    names = [network["name"] for network in document["networks"]]
    metrics = [{key: value for key, value in n.items() if key != "name"} for n in document["networks"]]
    pieces: dict[tuple[str, str], list[Plain]] = {}
    for row in document["rows"]:
        pieces.setdefault((row["measure"], row["group"]), []).append(row)
    rows = []
    for (measure, group), piece in pieces.items():
        if [row["network"] for row in piece] != names:
            raise ValueError(f"{measure} has not one value a network")
        values, errors, changes, combined = (
            [_nan(row[key]) for row in piece] for key in ("value", "stderr", "difference", "difference_stderr")
        )
        # JSON has no infinity: an exact difference has none of its own
        z = [0.0, *(z_score(d, e) for d, e in zip(changes[1:], combined[1:], strict=True))]
        rows.append(Compared(measure, group, values, errors, changes, combined, z))
    return Comparison(
        names, str(document["by"]), bool(document["same_samples"]), rows, metrics, list(document["notes"])
    )


def _correlation(row: Plain) -> Correlation:
    x, y = (np.array([float(point[axis]) for point in row["points"]]) for axis in ("x", "y"))
    refused = row["refused"] or None

    def interval(name: str) -> Interval:
        return Interval(_nan(row[f"{name}_low"]), _nan(row[f"{name}_high"]))

    return Correlation(
        row["measure"],
        row["group"],
        bool(row["log"]),
        [point["name"] for point in row["points"]],
        x,
        y,
        refused,
        fit_line(x, y) if refused is None else None,
        Coefficients(_nan(row["pearson"]), _nan(row["spearman"]), _nan(row["kendall"])),
        Intervals(interval("r2"), interval("pearson"), interval("kendall")),
        Granulated(_nan(row["granulated_kendall"]), _numbers(row["granulated_by"])),
        SignError(
            _nan(row["sign_error"]),
            _nan(row["worst_sign_error"]),
            row["worst_environment"],
            _numbers(row["sign_error_by"]),
        ),
        _numbers(row["explained_by"]),
        dict(row["dropped"]),
    )


def _numbers(values: Plain) -> dict[str, Any]:
    """The values, null as NaN, also in tables within."""
    return {
        key: _numbers(value) if isinstance(value, Mapping) else math.nan if value is None else value
        for key, value in values.items()
    }


def _nan(value: Any) -> float:
    return math.nan if value is None else float(value)
