"""The spectral density of the Hessian on a logarithmic axis, the outermost eigenvalues marked."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from numpy.typing import NDArray

from landscape.numbers import format_plain
from landscape.plots.style import (
    BLUE,
    GREY,
    RED,
    SIZE,
    WIDTH,
    empty_figure,
    inch_axes,
    power_of_ten,
    spread,
    style,
    text_width,
)

HEIGHT = 2.35
LEFT = 0.62
RIGHT = 0.14
BOTTOM = 0.41
LABELS = 0.45
MOST_LABELS = 5
DECADES = 9


def density_figure(
    x: Sequence[float],
    density: Sequence[float],
    *,
    eigenvalues: Sequence[float] = (),
    most_negative: float = math.nan,
    parameters: int | None = None,
    sigma: float = math.nan,
    height: float = HEIGHT,
) -> Figure:
    """Draw `density` (M) over the eigenvalue `x` (M), the part below 0 in red, with lines at known eigenvalues.

    The axis ends a factor of ten below the peak of one single eigenvalue smoothed to width `sigma`,
    1 / (p sigma sqrt(2 pi)) for p `parameters`, or nine decades below the maximum where these are not known, so
    that single outliers show and the tails of the smoothing do not.
    """
    places, curve = np.asarray(x, dtype=float), np.asarray(density, dtype=float)
    drawn = np.isfinite(places) & np.isfinite(curve) & (curve > 0)
    if not drawn.any():
        return empty_figure("The density has no finite, positive value: there is no curve to show.")
    top = float(curve[drawn].max())
    floor = top * 10.0**-DECADES
    if parameters and sigma > 0:
        floor = min(0.1 / (parameters * sigma * math.sqrt(2 * math.pi)), 0.01 * top)
    places, curve = _with_zero(places, np.where(drawn, curve, np.nan))
    ends = (float(places[~np.isnan(curve)].min()), float(places[~np.isnan(curve)].max()))
    known = sorted({value for value in (*eigenvalues, most_negative) if math.isfinite(value)})
    low, high = min(*known, *ends), max(*known, *ends)
    space = 0.02 * (high - low) or 1.0
    with style():
        figure = Figure(figsize=(WIDTH, height))
        across, tall = WIDTH - LEFT - RIGHT, height - BOTTOM - LABELS
        axes = inch_axes(figure, LEFT, BOTTOM, across, tall)
        axes.set_yscale("log")
        axes.set_xlim(low - space, high + space)
        axes.set_ylim(floor, 3 * top)
        for side, colour in ((places >= 0, BLUE), (places <= 0, RED)):
            axes.fill_between(places, floor, np.where(side, curve, np.nan), color=colour, alpha=0.25, linewidth=0)
            axes.plot(places, np.where(side, curve, np.nan), color=colour, linewidth=1.1)
        axes.axvline(0, color=GREY, linewidth=0.5)
        axes.xaxis.set_major_locator(MaxNLocator(9))
        axes.yaxis.set_major_locator(LogLocator(numticks=7))
        axes.yaxis.set_major_formatter(FuncFormatter(power_of_ten))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.set_xlabel("eigenvalue", labelpad=2)
        axes.set_ylabel("density (log scale)")
        _mark(figure, _chosen(eigenvalues, most_negative), known, (low - space, high + space), height)
        for value in known:
            axes.axvline(value, color=RED if value < 0 else GREY, linewidth=0.7, linestyle=(0, (2, 2)))
    return figure


def _with_zero(places: NDArray[np.float64], curve: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """Add the point 0 (interpolated in the logarithm), where the two colours meet."""
    after = int(np.searchsorted(places, 0.0))
    if not 0 < after < len(places) or places[after] == 0.0:
        return places, curve
    at_zero = np.exp(np.interp(0.0, places, np.log(curve)))
    return np.insert(places, after, 0.0), np.insert(curve, after, at_zero)


def _chosen(eigenvalues: Sequence[float], most_negative: float) -> list[tuple[float, str]]:
    """Which eigenvalues get a label: the first few of the largest, and the most negative; ascending."""
    finite = [
        (value, f"λ{_subscript(i)} {format_plain(value)}")
        for i, value in enumerate(eigenvalues, 1)
        if math.isfinite(value)
    ]
    labels = finite[:MOST_LABELS]
    if math.isfinite(most_negative):
        labels.append((most_negative, f"lowest {format_plain(most_negative)}"))
    return sorted(labels)


def _subscript(index: int) -> str:
    return str(index).translate(str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉"))


def _mark(
    figure: Figure,
    labels: Sequence[tuple[float, str]],
    known: Sequence[float],
    limits: tuple[float, float],
    height: float,
) -> None:
    across = WIDTH - LEFT - RIGHT
    places = [across * (value - limits[0]) / (limits[1] - limits[0]) for value, _ in labels]
    widths = [text_width(text, SIZE) + 0.14 for _, text in labels]
    base, top = height - LABELS, height - 0.2
    for place, centre, (value, text) in zip(places, spread(places, widths, -LEFT, across + RIGHT), labels, strict=True):
        xs = [(LEFT + place) / WIDTH, (LEFT + centre) / WIDTH]
        ys = [base / height, (top - 0.03) / height]
        figure.add_artist(Line2D(xs, ys, transform=figure.transFigure, color=GREY, linewidth=0.5))
        figure.text(xs[1], top / height, text, ha="center", va="bottom", size=SIZE, color=RED if value < 0 else GREY)
