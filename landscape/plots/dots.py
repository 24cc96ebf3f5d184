"""Several networks side by side: a panel a measure, a row a network, its value as a dot with its error bar.

The names stand once beside each row of panels. A line through the first network, which the others are held against,
lets the eye see on which side of it each lies.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from landscape.plots.style import (
    BLUE,
    GREY,
    INK,
    PALE,
    RED,
    SIZE,
    SMALL,
    WIDTH,
    empty_figure,
    inch_axes,
    shortened,
    style,
    text_width,
    tick,
    wrap_name,
)

ACROSS = 3
GAP = 0.26
ROW = 0.17
LINE = 0.145
SCALE = 0.27
AIR = 0.08
NAMES = 1.7  # inches of names at most
EDGE = 0.12
_BOLD = 1.14  # the width of bold letters beside plain ones
_LOG_FROM = 30.0  # largest over smallest value


@dataclass(frozen=True)
class DotPanel:
    """A value of each network (NaN: not known) and the half-width of its error bar (0 or NaN: none)."""

    title: str
    values: Sequence[float]
    errors: Sequence[float]


def dots_figures(names: Sequence[str], panels: Sequence[DotPanel], *, tallest: float = math.inf) -> list[Figure]:
    """Draw the panels three across, in as many figures as it takes for none to be taller than `tallest` inches.

    The axis is logarithmic where all values are positive and the largest is more than 30 times the smallest.
    """
    if not panels or not names:
        return [empty_figure("There is nothing to compare.")]
    with style():
        column = min(NAMES, max(text_width(name, SMALL) for name in names)) + AIR
        width = (WIDTH - column - GAP * (ACROSS - 1) - EDGE) / ACROSS
        rows = [panels[start : start + ACROSS] for start in range(0, len(panels), ACROSS)]
        figures: list[list[Sequence[DotPanel]]] = []
        used = 0.0
        for row in rows:
            height = _height(row, len(names), width)
            if not figures or used + height > tallest:
                figures.append([])
                used = 0.0
            figures[-1].append(row)
            used += height
        return [_figure(names, chosen, column, width) for chosen in figures]


def _figure(names: Sequence[str], rows: Sequence[Sequence[DotPanel]], column: float, width: float) -> Figure:
    tall = sum(_height(row, len(names), width) for row in rows)
    figure = Figure(figsize=(WIDTH, tall))
    top = tall
    for row in rows:
        bottom = top - _height(row, len(names), width) + SCALE
        below_title = bottom + ROW * len(names)
        for place, panel in enumerate(row):
            left = column + place * (width + GAP)
            lines = _title(panel, width)
            for number, line in enumerate(reversed(lines)):
                y = below_title + AIR / 2 + LINE * number
                figure.text(left / WIDTH, y / tall, line, size=SIZE, weight="bold", va="bottom")
            axes = inch_axes(figure, left, bottom, width, ROW * len(names))
            _draw(axes, panel, len(names))
        for number, name in enumerate(names):
            y = below_title - ROW * (number + 0.5)
            text = shortened(name, column - AIR + 1e-6, SMALL)
            figure.text((column - AIR) / WIDTH, y / tall, text, size=SMALL, ha="right", va="center_baseline", color=INK)
        top = bottom - SCALE
    return figure


def _height(row: Sequence[DotPanel], count: int, width: float) -> float:
    lines = max(len(_title(panel, width)) for panel in row)
    return AIR + LINE * lines + AIR / 2 + ROW * count + SCALE


def _title(panel: DotPanel, width: float) -> list[str]:
    lines = [line.strip() for line in wrap_name(panel.title, width / _BOLD, SIZE)]
    return lines if len(lines) <= 2 else [lines[0], shortened(" ".join(lines[1:]), width / _BOLD, SIZE)]


def _draw(axes: Axes, panel: DotPanel, count: int) -> None:
    axes.set_ylim(count, 0)
    axes.set_yticks([])
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)
    axes.tick_params(axis="x", length=0, pad=2)
    axes.set_axisbelow(True)
    _scale(axes, panel)
    for row in range(count):
        axes.axhline(row + 0.5, color=PALE, linewidth=0.4, zorder=0)
    if math.isfinite(panel.values[0]):
        axes.axvline(panel.values[0], color=GREY, linewidth=0.6, linestyle=":", zorder=1)
    for row, (value, error) in enumerate(zip(panel.values, panel.errors, strict=True)):
        if not math.isfinite(value):
            axes.text(
                0.5,
                row + 0.5,
                "–",
                transform=axes.get_yaxis_transform(),
                ha="center",
                va="center",
                color=RED,
                size=SMALL,
            )
            continue
        if math.isfinite(error) and error > 0:
            low, high = axes.get_xlim()
            ends = [min(max(value + side * error, low), high) for side in (-1, 1)]
            axes.plot(ends, [row + 0.5] * 2, color=INK, linewidth=0.8, solid_capstyle="butt", zorder=2)
        axes.plot([value], [row + 0.5], "o", color=BLUE, markersize=3.4, zorder=3)


def _scale(axes: Axes, panel: DotPanel) -> None:
    known = [value for value in panel.values if math.isfinite(value)]
    if not known:
        axes.set_xticks([])
        return
    low, high = min(known), max(known)
    axes.grid(axis="x", color=PALE, linewidth=0.4)
    if low > 0 and high > _LOG_FROM * low:
        axes.set_xscale("log")
        space = (high / low) ** 0.08
        axes.set_xlim(low / space, high * space)
        first, last = math.ceil(math.log10(low / space)), math.floor(math.log10(high * space))
        step = max(1, math.ceil((last - first + 1) / 3))
        axes.xaxis.set_major_locator(FixedLocator([10.0**power for power in range(first, last + 1, step)]))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(tick))
        return
    errors = [e if math.isfinite(e) else 0.0 for e in panel.errors]
    ends = [v + side * e for v, e in zip(panel.values, errors, strict=True) if math.isfinite(v) for side in (-1, 1)]
    low, high = min(ends), max(ends)
    space = 0.08 * (high - low) or abs(low) * 0.1 or 1.0
    axes.set_xlim(low - space, high + space)
    axes.xaxis.set_major_locator(MaxNLocator(2, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(tick))
