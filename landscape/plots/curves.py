"""Curves over the epochs of training, in panels of one size, two side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from landscape.numbers import format_plain, superscript
from landscape.plots.style import (
    BLUE,
    GREY,
    INK,
    PALE,
    SIZE,
    SMALL,
    WIDTH,
    empty_figure,
    inch_axes,
    power_of_ten,
    shortened,
    style,
    text_width,
)

GAP = 0.3
COLUMN = (WIDTH - GAP) / 2
LEFT = 0.6
RIGHT = 0.06
BOTTOM = 0.4
AXES = 1.5
TITLE = 0.24
ROW = 0.165
TOP = 0.06
AIR = 0.07
SWATCH = 0.2
NOTE = 0.22
SHADES = ("#EBEBEB", "#D9E9F4", "#FBE4D2")
NAMES = 1.15  # inches for the names of strips
Dash = Literal["-", "--", ":"]
_BOLD = 1.14  # the width of bold letters beside plain ones
_LOG_FROM = 30.0  # largest over smallest value


@dataclass(frozen=True)
class Curve:
    """One curve: places and values (NaN: a gap), the half-width of its band or the band itself."""

    label: str
    x: Sequence[float]
    y: Sequence[float]
    colour: str = BLUE
    dash: Dash = "-"
    error: Sequence[float] | None = None
    band: tuple[Sequence[float], Sequence[float]] | None = None
    bold: bool = False


@dataclass(frozen=True)
class Span:
    """A stretch of the training with a name; spans of one name have one shade."""

    label: str
    start: float
    end: float


@dataclass(frozen=True)
class CurvePanel:
    """Curves under one title, with stretches and places marked.

    Attributes:
        title: of the panel.
        curves: drawn in their order.
        spans: shaded.
        cuts: places with a dotted line, named `cut_label`.
        legend: the entries as (label, colour, dash); None: one a curve.
        linear: keep the axis of values linear, whatever the values.
    """

    title: str
    curves: Sequence[Curve]
    spans: Sequence[Span] = ()
    cuts: Sequence[float] = ()
    cut_label: str = "rate cut"
    legend: Sequence[tuple[str, str, Dash]] | None = None
    linear: bool = False


@dataclass(frozen=True)
class ShareStrips:
    """A strip a name, coloured by a share 0..1 in stretches: which layers something happened to, and when.

    Attributes:
        title: of the panel.
        names: of the strips, from the top.
        edges: of the stretches, one more than there are.
        shares: (names, stretches).
    """

    title: str
    names: Sequence[str]
    edges: Sequence[float]
    shares: Sequence[Sequence[float]]


@dataclass(frozen=True)
class _Entry:
    label: str
    colour: str
    dash: Dash
    shade: str = ""
    row: int = 0
    left: float = 0.0


@dataclass(frozen=True)
class _Laid:
    panel: CurvePanel | ShareStrips
    entries: list[_Entry] = field(default_factory=list)

    @property
    def rows(self) -> int:
        return max((entry.row + 1 for entry in self.entries), default=0)


def curves_figure(panels: Sequence[CurvePanel | ShareStrips], *, label: str = "epoch", note: str = "") -> Figure:
    """Draw panels two side by side, each with its title and legend above it; `note` stands below all of them.

    The axis of values is logarithmic where none is negative and the largest is more than 30 times the smallest that is
    not 0; a value of 0 is then a gap.
    """
    if not panels:
        return empty_figure("Nothing was recorded: there is no curve to show.")
    with style():
        laid = [_Laid(panel, _legend(panel)) for panel in panels]
        rows = [laid[i : i + 2] for i in range(0, len(laid), 2)]
        heights = [TOP + TITLE + ROW * max(one.rows for one in row) + AIR + AXES + BOTTOM for row in rows]
        below = NOTE if note else 0.0
        figure = Figure(figsize=(WIDTH, sum(heights) + below))
        top = sum(heights) + below
        for row, height in zip(rows, heights, strict=True):
            for column, one in enumerate(row):
                _draw(figure, one, column * (COLUMN + GAP), top, top - height + BOTTOM, label)
            top -= height
        if note:
            figure.text(LEFT / WIDTH, 0.07 / (sum(heights) + below), note, size=SMALL, color=GREY, va="bottom")
    return figure


def _draw(figure: Figure, one: _Laid, left: float, top: float, bottom: float, label: str) -> None:
    tall = figure.get_size_inches()[1]
    # An inset as wide as the tick labels usually are: titles and legends start at the panel's own edge.
    inset = NAMES if isinstance(one.panel, ShareStrips) else LEFT
    axes = inch_axes(figure, left + inset, bottom, COLUMN - inset - RIGHT, AXES)
    title = shortened(one.panel.title, (COLUMN - RIGHT) / _BOLD, SIZE)
    figure.text(left / WIDTH, (top - TOP) / tall, title, size=SIZE, weight="bold", va="top")
    for entry in one.entries:
        _draw_entry(figure, entry, left, top - TOP - TITLE - ROW * (entry.row + 0.5))
    if isinstance(one.panel, ShareStrips):
        _strips(axes, one.panel)
    else:
        _curves(axes, one.panel)
    axes.set_xlabel(label, labelpad=1)


def _draw_entry(figure: Figure, entry: _Entry, left: float, middle: float) -> None:
    tall = figure.get_size_inches()[1]
    start, end, y = (left + entry.left) / WIDTH, (left + entry.left + SWATCH) / WIDTH, middle / tall
    if entry.shade:
        corner = (start, (middle - 0.045) / tall)
        figure.add_artist(
            Rectangle(corner, end - start, 0.09 / tall, transform=figure.transFigure, color=entry.shade, linewidth=0)
        )
    else:
        figure.add_artist(
            Line2D([start, end], [y, y], transform=figure.transFigure, color=entry.colour, linestyle=entry.dash, lw=1.4)
        )
    figure.text(end + 0.05 / WIDTH, y, entry.label, size=SMALL, va="center_baseline", color=INK)


def _legend(panel: CurvePanel | ShareStrips) -> list[_Entry]:
    """The entries with their places, in as many rows as they take."""
    if isinstance(panel, ShareStrips):
        wanted = [_Entry("none", GREY, "-", shade=_shade(0.0)), _Entry("all steps", GREY, "-", shade=_shade(1.0))]
    else:
        given = panel.legend
        if given is None:
            several = len(panel.curves) > 1
            given = [(c.label, c.colour, c.dash) for c in panel.curves if several or c.label]
        wanted = [_Entry(label, colour, dash) for label, colour, dash in dict.fromkeys(given)]
        shades = _shades(panel.spans)
        wanted += [_Entry(label, GREY, "-", shade=shade) for label, shade in shades.items()]
        if panel.cuts:
            wanted.append(_Entry(panel.cut_label, GREY, ":"))
    entries, row, left = [], 0, 0.0
    for entry in wanted:
        text = shortened(entry.label, COLUMN - RIGHT - SWATCH - 0.05, SMALL)
        width = SWATCH + 0.05 + text_width(text, SMALL)
        if left > 0 and left + width > COLUMN - RIGHT:
            row, left = row + 1, 0.0
        entries.append(_Entry(text, entry.colour, entry.dash, entry.shade, row, left))
        left += width + 0.14
    return entries


def _curves(axes: Axes, panel: CurvePanel) -> None:
    shades = _shades(panel.spans)
    for span in panel.spans:
        axes.axvspan(span.start, span.end, color=shades[span.label], linewidth=0, zorder=0)
    for place in panel.cuts:
        axes.axvline(place, color=GREY, linewidth=0.8, linestyle=":", zorder=1)
    logarithmic = _scale(axes, panel)
    for curve in panel.curves:
        x, y = np.asarray(curve.x, dtype=float), np.asarray(curve.y, dtype=float)
        drawn = np.isfinite(x) & np.isfinite(y) & ((y > 0) | (not logarithmic))
        x, y = x[drawn], y[drawn]
        low, high = _band(curve, drawn)
        if low is not None and high is not None:
            axes.fill_between(x, low, high, color=curve.colour, alpha=0.2, linewidth=0)
        # A curve of few points shows them: a single one would have no line at all.
        marker = "o" if len(x) <= 12 else None
        axes.plot(
            x, y, color=curve.colour, linestyle=curve.dash, linewidth=1.6 if curve.bold else 1.1, marker=marker,
            markersize=2.2,
        )  # fmt: skip


def _band(curve: Curve, drawn: np.ndarray) -> tuple[np.ndarray | None, np.ndarray | None]:
    if curve.band is not None:
        low, high = (np.asarray(side, dtype=float)[drawn] for side in curve.band)
        return low, high
    if curve.error is None:
        return None, None
    y, error = np.asarray(curve.y, dtype=float)[drawn], np.nan_to_num(np.asarray(curve.error, dtype=float)[drawn])
    return (y - error, y + error) if error.any() else (None, None)


def _scale(axes: Axes, panel: CurvePanel) -> bool:
    """Set both axes, their limits and their ticks; returns whether that of the values is logarithmic."""
    places = np.concatenate([np.asarray(c.x, dtype=float) for c in panel.curves] or [np.empty(0)])
    sides = [side for c in panel.curves for side in (c.y, *(c.band or ()))]
    values = np.concatenate([np.asarray(side, dtype=float) for side in sides] or [np.empty(0)])
    values, places = values[np.isfinite(values)], places[np.isfinite(places)]
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    if len(places) and places.max() > places.min():
        axes.set_xlim(places.min(), places.max() + 0.01 * (places.max() - places.min()))
    if not len(values):
        axes.set_yticks([])
        axes.text(0.5, 0.5, "no finite value", transform=axes.transAxes, ha="center", va="center", color=GREY)
        return False
    low, high = float(values.min()), float(values.max())
    positive = values[values > 0]
    least = float(positive.min()) if len(positive) else high
    if not panel.linear and low >= 0 and high > _LOG_FROM * least:
        low = least
        axes.set_yscale("log")
        axes.set_ylim(low / (high / low) ** 0.06, high * (high / low) ** 0.06)
        decades = math.log10(high / low)
        few = decades < 2.5
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 3.0) if few else (1.0,), numticks=7))
        axes.yaxis.set_major_formatter(FuncFormatter(_tick if few else power_of_ten))
        axes.yaxis.set_minor_locator(NullLocator())
        return True
    # A band that is cut off would pass for a shaded panel.
    wide = [(np.asarray(c.y, dtype=float), np.asarray(c.error, dtype=float)) for c in panel.curves if c.error]
    reached = np.concatenate([values, *(y + sign * error for y, error in wide for sign in (-1, 1))])
    reached = reached[np.isfinite(reached)]
    low, high = float(reached.min()), float(reached.max())
    space = 0.06 * (high - low) or abs(low) * 0.1 or 1.0
    axes.set_ylim(low - space, high + space)
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_formatter(FuncFormatter(_tick))
    return False


def _tick(value: float, position: object = None) -> str:
    """A number of few digits; very small and very large ones by their power of ten. `position` is matplotlib's."""
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        return format_plain(value)
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{format_plain(float(mantissa))}×10{superscript(int(exponent))}"


def _strips(axes: Axes, panel: ShareStrips) -> None:
    for row, shares in enumerate(panel.shares):
        for (start, end), share in zip(pairwise(panel.edges), shares, strict=True):
            axes.add_patch(Rectangle((start, row + 0.08), end - start, 0.84, color=_shade(share), linewidth=0))
    axes.set_xlim(panel.edges[0], panel.edges[-1])
    axes.set_ylim(len(panel.names), 0)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    # As many names as fit, the first and the last among them.
    fitting = max(2, int(AXES / 0.14))
    step = max(1, math.ceil(len(panel.names) / fitting))
    shown = range(0, len(panel.names), step)
    axes.set_yticks([row + 0.5 for row in shown], [shortened(panel.names[row], NAMES - 0.06, SMALL) for row in shown])
    axes.tick_params(axis="y", length=0, pad=2)


def _shade(share: float) -> str:
    """From pale grey (0) to blue (1)."""
    if not math.isfinite(share):
        return "#FFFFFF"
    one, two = ([int(colour[i : i + 2], 16) for i in (1, 3, 5)] for colour in (PALE, BLUE))
    mixed = (round(a + (b - a) * min(max(share, 0.0), 1.0)) for a, b in zip(one, two, strict=True))
    return "#" + "".join(f"{part:02X}" for part in mixed)


def _shades(spans: Sequence[Span]) -> dict[str, str]:
    labels = list(dict.fromkeys(span.label for span in spans))
    return {label: SHADES[i % len(SHADES)] for i, label in enumerate(labels)}
