"""Values against batch size on logarithmic axes, in panels two side by side, with the laws they are held against."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from landscape.numbers import superscript
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
    shortened,
    style,
    text_width,
)

GAP = 0.3
COLUMN = (WIDTH - GAP) / 2
LEFT, RIGHT, BOTTOM, AXES, TOP, TITLE, ROW = 0.8, 0.08, 0.44, 1.75, 0.06, 0.2, 0.155
_SWATCH = 0.2


@dataclass(frozen=True)
class Law:
    """A line that goes with the points: what it says, and its values at the sizes."""

    label: str
    values: Sequence[float]
    colour: str = GREY
    dashed: bool = True


@dataclass(frozen=True)
class ScalingPanel:
    """One quantity against batch size.

    Attributes:
        title: of the panel.
        words: lines below the title.
        label: of the axis of values.
        sizes: the batch sizes.
        values, errors: with their standard errors; a value that is not above 0 is left out.
        laws: lines, drawn through all sizes.
        mark: a batch size with a vertical line, and its half-width; None: none.
        mark_label: what stands beside it.
    """

    title: str
    words: Sequence[str]
    label: str
    sizes: Sequence[int]
    values: Sequence[float]
    errors: Sequence[float]
    laws: Sequence[Law] = ()
    mark: tuple[float, float] | None = None
    mark_label: str = ""


def batch_scaling_figure(panels: Sequence[ScalingPanel], *, note: str = "") -> Figure:
    """Draw the panels; `note` stands below them."""
    if not panels:
        return empty_figure("There is no value to show.")
    with style():
        lines = max(len(panel.words) + len(panel.laws) for panel in panels)
        height = TOP + TITLE + ROW * lines + 0.08 + AXES + BOTTOM
        rows, below = math.ceil(len(panels) / 2), 0.2 if note else 0.0
        tall = rows * height + below
        figure = Figure(figsize=(WIDTH, tall))
        wide = COLUMN if len(panels) > 1 else WIDTH
        for number, panel in enumerate(panels):
            row, column = divmod(number, 2)
            _draw(figure, panel, column * (wide + GAP), tall - row * height, tall - (row + 1) * height + BOTTOM, wide)
        if note:
            figure.text(0, 0.05 / tall, shortened(note, WIDTH, SMALL), size=SMALL, color=GREY, va="bottom")
    return figure


def _draw(figure: Figure, panel: ScalingPanel, left: float, top: float, bottom: float, wide: float) -> None:
    tall = figure.get_size_inches()[1]
    title = shortened(panel.title, wide / 1.14, SIZE)
    figure.text(left / WIDTH, (top - TOP) / tall, title, size=SIZE, weight="bold", va="top")
    y = top - TOP - TITLE
    for line in panel.words:
        figure.text(left / WIDTH, y / tall, shortened(line, wide, SMALL), size=SMALL, va="top", color=INK)
        y -= ROW
    for law in panel.laws:
        ends = [left / WIDTH, (left + _SWATCH) / WIDTH]
        middle = (y - ROW / 2) / tall
        figure.add_artist(
            Line2D(ends, [middle, middle], transform=figure.transFigure, color=law.colour, linestyle=_dash(law), lw=1.2)
        )
        label = shortened(law.label, wide - _SWATCH - 0.05, SMALL)
        figure.text(ends[1] + 0.05 / WIDTH, middle, label, size=SMALL, va="center_baseline", color=INK)
        y -= ROW
    _fill(inch_axes(figure, left + LEFT, bottom, wide - LEFT - RIGHT, AXES), panel, wide - LEFT - RIGHT)


def _dash(law: Law) -> Any:
    return (0, (4, 2)) if law.dashed else "-"


def _fill(axes: Axes, panel: ScalingPanel, across: float) -> None:
    sizes = np.asarray(panel.sizes, dtype=float)
    values, errors = (np.asarray(part, dtype=float) for part in (panel.values, panel.errors))
    drawn = np.isfinite(values) & (values > 0)
    room = (sizes[-1] / sizes[0]) ** 0.05
    low, high = sizes[0] / room, sizes[-1] * room
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xlim(low, high)
    axes.set_xlabel("batch size in samples", labelpad=1)
    axes.set_ylabel(shortened(panel.label, AXES, SIZE))
    axes.yaxis.set_label_coords(-(LEFT - 0.2) / across, 0.5)
    if not drawn.any():
        axes.set_xticks([])
        axes.set_yticks([])
        axes.text(0.5, 0.5, "no value above 0", transform=axes.transAxes, ha="center", va="center", color=GREY)
        return
    axes.set_ylim(*_limits(panel, values[drawn], np.nan_to_num(errors[drawn])))
    _ticks(axes, panel.sizes, across)
    if panel.mark is not None and low < panel.mark[0] < high:
        place, half = panel.mark
        if math.isfinite(half) and half > 0:
            axes.axvspan(max(place - half, low), min(place + half, high), color=PALE, linewidth=0, zorder=0)
        axes.axvline(place, color=GREY, linewidth=0.8, zorder=1)
        _name_mark(axes, panel.mark_label, math.log(place / low) / math.log(high / low), across)
    for law in panel.laws:
        axes.plot(sizes, law.values, color=law.colour, linestyle=_dash(law), linewidth=1.2, zorder=2)
    error = np.nan_to_num(errors[drawn])
    axes.errorbar(
        sizes[drawn], values[drawn], yerr=[np.minimum(error, 0.95 * values[drawn]), error], color=BLUE, fmt="o",
        markersize=3.5, elinewidth=0.9, capsize=1.8, zorder=3,
    )  # fmt: skip


def _name_mark(axes: Axes, label: str, share: float, across: float) -> None:
    """Beside the line on the side that has room, above the points, which fall."""
    left = share > 0.5
    inches = share * across
    room = (inches if left else across - inches) - 0.08
    axes.text(
        share + (-0.02 if left else 0.02), 0.03 if left else 0.97, shortened(label, room, SMALL),
        transform=axes.transAxes, size=SMALL, color=GREY, ha="right" if left else "left",
        va="bottom" if left else "top", zorder=4,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6, "alpha": 0.8},
    )  # fmt: skip


def _limits(panel: ScalingPanel, values: np.ndarray, errors: np.ndarray) -> tuple[float, float]:
    """Around the points; of the laws as far as they stay within a factor of 10."""
    low, high = float(np.maximum(values - errors, 0.5 * values).min()), float((values + errors).max())
    of_laws = [float(v) for law in panel.laws for v in law.values if math.isfinite(v) and v > 0]
    low = min([low, *(v for v in of_laws if v > 0.1 * low)])
    high = max([high, *(v for v in of_laws if v < 10 * high)])
    room = max(high / low, 1.5) ** 0.08
    return low / room, high * room


def _ticks(axes: Axes, sizes: Sequence[int], across: float) -> None:
    """The batch sizes themselves, as many as there is room for, the first and the last among them."""
    axes.xaxis.set_minor_locator(NullLocator())
    span = math.log(sizes[-1] / sizes[0])
    places = [math.log(size / sizes[0]) / span * across for size in sizes]
    half = [text_width(f"{size:,}", SMALL) / 2 + 0.04 for size in sizes]
    shown = [0]
    for i in range(1, len(sizes) - 1):
        clear_before = places[i] - half[i] >= places[shown[-1]] + half[shown[-1]]
        if clear_before and places[i] + half[i] <= places[-1] - half[-1]:
            shown.append(i)
    shown.append(len(sizes) - 1)
    axes.set_xticks([sizes[i] for i in shown], [f"{sizes[i]:,}" for i in shown])
    low, high = axes.get_ylim()
    decades = math.log10(high / low)
    subs = (1.0,) if decades > 2.2 else (1.0, 3.0) if decades > 1.0 else (1.0, 2.0, 3.0, 5.0, 7.0)
    axes.yaxis.set_major_locator(LogLocator(subs=subs, numticks=8))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(_tick))


def _tick(value: float, position: object = None) -> str:
    """A number, or a digit and its power of ten; `position` is matplotlib's, unused."""
    if 1e-3 <= value < 1e4:
        return f"{value:.3g}"
    digit, exponent = f"{value:.0e}".split("e")
    power = f"10{superscript(int(exponent))}"
    return power if digit == "1" else f"{digit}×{power}"
