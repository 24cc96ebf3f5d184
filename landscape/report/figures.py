"""The figures of each measure's section, drawn from its record."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure

from landscape.numbers import format_count, format_share, format_value
from landscape.plots.density import density_figure
from landscape.plots.distribution import distribution_figure
from landscape.plots.eigenvalues import eigenvalues_figure
from landscape.plots.groups import groups_figure
from landscape.plots.margins import margins_figure
from landscape.plots.style import WIDTH, svg
from landscape.records import Analysis, Record
from landscape.report.blocks import Shown
from landscape.report.entries import about
from landscape.report.structure import panels, tables


@dataclass(frozen=True)
class Drawn:
    """A figure, its caption, a sentence for who cannot see it, and whether it takes half the width of the page."""

    figure: Figure
    caption: str
    alt: str
    half: bool = False

    def shown(self) -> Shown:
        """The figure as the block that a document holds."""
        return Shown(svg(self.figure).decode(), self.caption, self.alt, self.half)


def figures(name: str, record: Record, analysis: Analysis) -> list[Drawn]:
    """The figures of the measure `name`, in the order of the page; those whose values the record lacks are left out.

    A measure without figures of its own has bars by substructure where it has groups, and the distribution over the
    samples where it has a histogram.
    """
    return [drawn for draw in _FIGURES.get(name, _ANY) for drawn in draw(name, record, analysis)]


def number(values: Mapping[str, Any], key: str) -> float:
    """The number under `key`; NaN where it is missing or null."""
    value = values.get(key)
    return math.nan if value is None else float(value)


def numbers(values: Mapping[str, Any], key: str) -> list[float]:
    """The list of numbers under `key`, null as NaN; empty where it is missing."""
    return [math.nan if value is None else float(value) for value in values.get(key) or ()]


def _substructures(name: str, record: Record, analysis: Analysis) -> list[Drawn]:
    return _bars(name, record, analysis, WIDTH)


def _bars(name: str, record: Record, analysis: Analysis, width: float) -> list[Drawn]:
    said = about(name)
    groupings = tables(analysis, record, additive=said.additive)
    if not groupings:
        return []
    errors = record.details.get("groups_stderr")
    if name == "connectivity_batch":
        # Its layers tell what those of C do; the tables at the end have them.
        groupings = groupings[:1]
    drawn = panels(groupings, errors=errors, total=record.value, additive=said.additive)
    caption = f"{said.title} by substructure."
    if errors:
        caption += " Error bars: one standard error."
    if not said.additive:
        caption += " Groups do not sum to the whole."
    alt = f"Bars of the {said.title} by substructure."
    figure = groups_figure(drawn, label=LABELS.get(name) or said.unit or "value", width=width)
    return [Drawn(figure, caption, alt, half=width < WIDTH)]


def _eigenvalues(name: str, record: Record, analysis: Analysis) -> list[Drawn]:
    """The eigenvalues and their share by substructure, beside each other where the names are short enough."""
    details = record.details
    values, bounds = numbers(details, "eigenvalues"), numbers(details, "residuals")
    if not values or len(values) != len(bounds):
        return _bars(name, record, analysis, WIDTH)
    low, low_bound = number(details, "most_negative"), number(details, "most_negative_residual")
    lowest = "most_negative" in details
    found, errors = ([*values, low], [*bounds, low_bound]) if lowest else (values, bounds)
    labels = [format_value(v, b) for v, b in zip(found, errors, strict=True)]
    narrow = 0 < len(record.groups) <= SHORT and max(len(group) for group in record.groups) <= SHORT
    width = HALF if narrow else WIDTH
    figure = eigenvalues_figure(
        values,
        bounds,
        lowest=(low, low_bound) if lowest else None,
        labels=labels,
        width=width,
    )
    caption = "The outermost eigenvalues; error bars: residual norms."
    shown = Drawn(figure, caption, f"Bars of eigenvalues; the largest is {labels[0]}.", half=narrow)
    return [shown, *_bars(name, record, analysis, width)]


def _density(name: str, record: Record, analysis: Analysis) -> list[Drawn]:
    curve = record.details.get("curve") or {}
    x, density = numbers(curve, "x"), numbers(curve, "density")
    if not x or len(x) != len(density):
        return []
    top = analysis.measures.get("top_eigenvalues")
    known = top.details if top is not None and top.skipped is None else {}
    sigma = number(record.details, "sigma")
    figure = density_figure(
        x,
        density,
        eigenvalues=numbers(known, "eigenvalues"),
        most_negative=number(known, "most_negative"),
        parameters=analysis.problem.get("parameters"),
        sigma=sigma,
    )
    caption = "Density of eigenvalues, the part below zero in red."
    if known:
        caption += " Dashed: eigenvalues found by Lanczos."
    return [Drawn(figure, caption, "The spectral density on a logarithmic axis.")]


def _connectivity(name: str, record: Record, analysis: Analysis) -> list[Drawn]:
    return _distribution(name, record, "‖∂l/∂θ ∘ θ‖₁ of one sample")


def _jacobian(name: str, record: Record, analysis: Analysis) -> list[Drawn]:
    return _distribution(name, record, "‖J‖² (Frobenius) of one sample")


def _any_distribution(name: str, record: Record, analysis: Analysis) -> list[Drawn]:
    unit = about(name).unit or "value"
    histogram = record.details.get("histogram") or {}
    total = sum(numbers(histogram, "counts")) + (number(histogram, "zeros") if "zeros" in histogram else 0.0)
    of_samples = total <= number(analysis.problem, "samples")
    if of_samples:
        return _distribution(name, record, f"{unit}, of one sample")
    return _distribution(name, record, unit, over=f"{format_count(total)} values", counted="values")


def _distribution(
    name: str, record: Record, label: str, *, over: str = "the chosen samples", counted: str = "samples"
) -> list[Drawn]:
    histogram = record.details.get("histogram") or {}
    edges, counts = numbers(histogram, "edges"), numbers(histogram, "counts")
    if len(edges) < 2:
        return []
    quantiles = record.details.get("quantiles") or {}
    marks = {title: number(quantiles, key) for title, key in QUARTILES if key in quantiles}
    quartiles = " with the quartiles" if marks else ""
    kind = "mean" if name in _MEANS else "value"
    # A value that is a quantile itself has its mark already; one outside is no place of the distribution.
    inside = edges[0] <= record.value <= edges[-1] and not any(place == record.value for place in marks.values())
    if kind == "mean" or inside:
        marks[kind] = record.value
    caption = f"Distribution over {over},"
    if kind in marks:
        caption += f"{quartiles}{' and' if quartiles else ' with'} the {kind}."
    else:
        caption = f"{caption}{quartiles}." if quartiles else f"{caption.rstrip(',')}."
    zeros = int(number(histogram, "zeros")) if "zeros" in histogram else 0
    if zeros:
        caption += f" Left out: {zeros} {counted} whose value is 0, which a logarithmic axis cannot show."
    alt = f"Histogram of {about(name).title.lower()} by sample; the {kind} is {format_value(record.value)}."
    return [Drawn(distribution_figure(edges, counts, label=label, marks=marks, counted=counted), caption, alt)]


def _margins(name: str, record: Record, analysis: Analysis) -> list[Drawn]:
    details = record.details
    histogram = details.get("histogram") or {}
    edges, counts = numbers(histogram, "edges"), numbers(histogram, "counts")
    if len(edges) < 2:
        return []
    wrong = number(details, "misclassified")
    figure = margins_figure(
        edges,
        counts,
        quartiles={title: number(details, key) for title, key in QUARTILES},
        fences=(number(details, "lower_fence"), number(details, "upper_fence")),
        misclassified=wrong,
    )
    caption = (
        "Margins of the chosen samples. Box: quartiles. Whiskers: the fences, the most extreme data within 1.5 "
        "interquartile ranges of it."
    )
    return [Drawn(figure, caption, f"Histogram of margins; misclassified: {format_share(wrong)}.")]


HALF = 3.1
"""Inches: the width of a figure that shares its line with another."""

SHORT = 20
"""Characters of a name, and bars, that a figure of half the width has room for."""

LABELS = {
    "hessian_trace": "part of tr H",
    "top_eigenvalues": "part of λ₁",
    "fisher_rao": "norm of the group alone",
    "connectivity": "part of C",
    "connectivity_batch": "part of Cₘ",
}

QUARTILES = (("Q1", "q1"), ("median", "median"), ("Q3", "q3"))

_MEANS = ("connectivity", "jacobian_norm")

_ANY = (_substructures, _any_distribution)

_FIGURES: dict[str, tuple[Callable[[str, Record, Analysis], list[Drawn]], ...]] = {
    "fisher_rao": (_substructures,),
    "top_eigenvalues": (_eigenvalues,),
    "spectral_density": (_density,),
    "connectivity": (_substructures, _connectivity),
    "margin": (_margins,),
    "jacobian_norm": (_jacobian,),
}
