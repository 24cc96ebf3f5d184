"""The figure of a correlation study: a panel a measure. Loads no torch."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.figure import Figure

from landscape.catalog import CATALOG
from landscape.numbers import minus
from landscape.plots.scatter import ScatterPanel, scatter_figure, scatter_figures
from landscape.study.correlation import Correlation
from landscape.workflows.correlate import Correlations

_PLACES = 60
BAND = "Bands: where the line lies, 95 %; brackets: bootstrap over the networks, 95 %."


def correlation_figure(study: Correlations, *, groups: bool = False) -> Figure:
    """Each measure against the outcome, with the line, its band and the points named; with `groups` also its parts."""
    shown = _panels(study, groups)
    return scatter_figure(shown, label=study.target, note=BAND if shown else "")


def correlation_figures(study: Correlations, *, groups: bool = False, tallest: float) -> list[Figure]:
    """The same in figures of six panels at most, none taller than `tallest` inches."""
    shown = _panels(study, groups)
    return scatter_figures(shown, label=study.target, note=BAND if shown else "", tallest=tallest)


def _panels(study: Correlations, groups: bool) -> list[ScatterPanel]:
    return [_panel(one) for one in study.found if one.line is not None and (groups or not one.group)]


def _panel(one: Correlation) -> ScatterPanel:
    assert one.line is not None
    low, high = float(one.x.min()), float(one.x.max())
    room = 0.1 * (high - low)
    x = np.linspace(low - room, high + room, _PLACES)
    sides = one.line.band(x)
    places = np.exp(x) if one.log else x
    about = CATALOG.get(one.measure)
    title = about.title if about is not None else one.measure
    return ScatterPanel(
        title=f"{title}: {one.group}" if one.group else title,
        words=_words(one),
        x=(np.exp(one.x) if one.log else one.x).tolist(),
        y=one.y.tolist(),
        names=one.names,
        line=(places.tolist(), one.line.at(x).tolist(), sides[0].tolist(), sides[1].tolist()),
        log=one.log,
        label=about.unit if about is not None else one.measure,
        short_label=one.measure,
    )


def _words(one: Correlation) -> str:
    assert one.line is not None
    interval = one.intervals.r2
    bracket = "" if math.isnan(interval.low) else f" [{interval.low:.2f}, {interval.high:.2f}]"
    left = f", {len(one.dropped)} dropped" if one.dropped else ""
    return minus(f"R² = {one.line.r2:.2f}{bracket}, τ = {one.coefficients.kendall:.2f}, n = {one.n}{left}")
