"""Ratios of measures to their original values under transformations: a row a measure, a panel a transformation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from landscape.numbers import format_plain
from landscape.plots.style import (
    GREY,
    INK,
    LINES,
    PALE,
    RED,
    SIZE,
    SMALL,
    WIDTH,
    empty_figure,
    inch_axes,
    power_of_ten,
    shortened,
    style,
    wrap_name,
)

LEFT = 1.78
GAP = 0.2
RIGHT = 0.18
LINE = 0.15
STEP = 0.085  # inches between the marks of one row
PAD = 0.09
TITLE = 0.2
BOTTOM = 0.42
MARKS = ("o", "s", "^", "D", "v", "P", "X")
_LEAST_SPAN = 3.0  # of ratios: that of the axis, so that rounding does not fill it


@dataclass(frozen=True)
class RatioPanel:
    """One transformation.

    Attributes:
        title: of the panel.
        words: what is said of it, in a line or two.
        marks: the names of the marks of a row, such as factors.
        ratios: for each row its ratios, one a mark; a row that is empty has none.
        errors: their standard errors.
        verdicts: a word for each row, or none.
        warned: the rows whose word is a warning.
    """

    title: str
    words: Sequence[str]
    marks: Sequence[str]
    ratios: Sequence[Sequence[float]]
    errors: Sequence[Sequence[float]]
    verdicts: Sequence[str]
    warned: frozenset[int] = frozenset()


def invariance_figure(
    rows: Sequence[str], headings: Sequence[str], panels: Sequence[RatioPanel], *, label: str, note: str = ""
) -> Figure:
    """Draw the panels side by side on one logarithmic axis.

    Args:
        rows: the measures.
        headings: what stands above a row; empty for nothing.
        panels: with a ratio for each row and mark. A ratio that is not above 0 has no mark.
        label: of the axis.
        note: a line below.
    """
    if not rows or not panels:
        return empty_figure("Nothing was measured: there is no ratio to show.")
    with style():
        names = [[line.strip() for line in wrap_name(row, LEFT - 0.1)] for row in rows]
        marks = max((panel.marks for panel in panels), key=len)
        words = max(len(panel.words) for panel in panels)
        heights = [max(LINE * len(lines), STEP * len(marks)) + PAD for lines in names]
        above = [LINE + 0.08 if heading else 0.0 for heading in headings]
        body = sum(heights) + sum(above)
        head = max(TITLE + LINE * words, LINE * (len(marks) if len(marks) <= 3 else (len(marks) + 1) // 2)) + 0.12
        below = BOTTOM + (0.2 if note else 0.0)
        tall = head + body + below
        figure = Figure(figsize=(WIDTH, tall))
        if len(marks) > 1:
            _legend(figure, marks, tall)
        middles, y = [], body
        for heading, extra, height, lines in zip(headings, above, heights, names, strict=True):
            y -= extra
            if heading:
                figure.text(0, (below + y + 0.04) / tall, heading, size=SMALL, color=GREY, va="bottom")
            middles.append(y - height / 2)
            figure.text(
                (LEFT - 0.1) / WIDTH, (below + y - height / 2) / tall, "\n".join(lines), ha="right", va="center",
                linespacing=1.05, multialignment="right",
            )  # fmt: skip
            y -= height
        across = (WIDTH - LEFT - GAP * (len(panels) - 1) - RIGHT) / len(panels)
        limits = _limits(panels)
        for number, panel in enumerate(panels):
            left = LEFT + number * (across + GAP)
            _head(figure, panel, left, across, tall)
            axes = inch_axes(figure, left, below, across, body)
            _draw(axes, panel, middles, body, across, limits)
            if number == len(panels) // 2 and len(panels) % 2 == 1:
                axes.set_xlabel(label, labelpad=2)
        if len(panels) % 2 == 0:
            middle = (LEFT + (WIDTH - LEFT) / 2) / WIDTH
            figure.text(middle, (below - 0.26) / tall, label, ha="center", va="top", size=SIZE)
        if note:
            figure.text(0, 0.05 / tall, note, size=SMALL, color=GREY, va="bottom")
    return figure


def _head(figure: Figure, panel: RatioPanel, left: float, across: float, tall: float) -> None:
    top = tall - 0.04
    title = shortened(panel.title, across / 1.14, SIZE)
    figure.text(left / WIDTH, top / tall, title, size=SIZE, weight="bold", va="top")
    for number, line in enumerate(panel.words):
        y = top - TITLE - LINE * number
        figure.text(left / WIDTH, y / tall, shortened(line, across, SMALL), size=SMALL, va="top", color=GREY)


def _legend(figure: Figure, marks: Sequence[str], tall: float) -> None:
    """The marks of the rows, above the names, in two columns."""
    for number, mark in enumerate(marks):
        column, row = divmod(number, (len(marks) + 1) // 2) if len(marks) > 3 else (0, number)
        left, y = 0.06 + column * LEFT / 2, tall - 0.11 - LINE * row
        figure.add_artist(
            Line2D(
                [left / WIDTH], [y / tall], transform=figure.transFigure, color=_colour(len(marks), number),
                marker=MARKS[number % len(MARKS)], markersize=4.5, linestyle="",
            )
        )  # fmt: skip
        text = shortened(mark, LEFT / 2 - 0.2, SMALL)
        figure.text((left + 0.09) / WIDTH, y / tall, text, size=SMALL, va="center_baseline", color=INK)


def _colour(marks: int, number: int) -> str:
    return LINES[number % len(LINES)] if marks > 1 else INK


def _draw(
    axes: Axes,
    panel: RatioPanel,
    middles: Sequence[float],
    body: float,
    across: float,
    limits: tuple[float, float],
) -> None:
    low, high = limits
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    axes.set_ylim(0, body)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    decades = math.log10(high / low)
    if decades < 1.6:
        fitting = [t for t in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50) if low <= t <= high]
        axes.set_xticks(fitting)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: format_plain(value)))
    else:
        axes.xaxis.set_major_locator(LogLocator(numticks=5))
        axes.xaxis.set_major_formatter(
            FuncFormatter(lambda value, _: format_plain(value) if 0.001 <= value <= 1000 else power_of_ten(value))
        )
    axes.xaxis.set_minor_locator(NullLocator())
    for middle in middles:
        axes.axhline(middle, color=PALE, linewidth=0.5, zorder=0)
    axes.axvline(1.0, color=GREY, linewidth=0.8, zorder=1)
    for row, middle in enumerate(middles):
        ratios, errors = panel.ratios[row], panel.errors[row]
        for number, (ratio, error) in enumerate(zip(ratios, errors, strict=True)):
            y = middle + STEP * ((len(ratios) - 1) / 2 - number)
            if not ratio > 0:
                continue
            colour = _colour(len(panel.marks), number)
            if math.isfinite(error) and error > 0:
                start = max(ratio - error, low)
                axes.plot([start, ratio + error], [y, y], color=colour, linewidth=0.9, zorder=2, clip_on=True)
            axes.plot([ratio], [y], MARKS[number % len(MARKS)], color=colour, markersize=4, zorder=3)
        if panel.verdicts[row]:
            _write(axes, panel, row, middle, across, limits)


def _write(axes: Axes, panel: RatioPanel, row: int, middle: float, across: float, limits: tuple[float, float]) -> None:
    """The verdict, in the widest stretch of the row without a mark, at its mark where it lies at a side."""
    low, high = limits
    marks = sorted(math.log(r / low) / math.log(high / low) * across for r in panel.ratios[row] if r > 0)
    edges = [0.0, *marks, across]
    number = max(range(len(edges) - 1), key=lambda i: edges[i + 1] - edges[i])
    start, end = (
        edges[number] + (0.09 if number > 0 else 0.0),
        edges[number + 1] - (0.09 if number < len(marks) else 0.0),
    )
    side = "right" if number == 0 and marks else "left" if number == len(marks) else "center"
    place = {"right": end, "left": start, "center": (start + end) / 2}[side]
    axes.text(
        place / across, middle, shortened(panel.verdicts[row], end - start, SMALL), size=SMALL,
        transform=axes.get_yaxis_transform(), color=RED if row in panel.warned else GREY, ha=side,
        va="center_baseline", bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8},
    )  # fmt: skip


def _limits(panels: Sequence[RatioPanel]) -> tuple[float, float]:
    ends = [1.0]
    for panel in panels:
        for ratios, errors in zip(panel.ratios, panel.errors, strict=True):
            for ratio, error in zip(ratios, errors, strict=True):
                if ratio > 0 and math.isfinite(ratio):
                    wide = error if math.isfinite(error) else 0.0
                    ends += [ratio + wide, max(ratio - wide, 0.5 * ratio)]
    low, high = min(ends), max(ends)
    if high / low < _LEAST_SPAN:
        middle = math.sqrt(low * high)
        low, high = middle / math.sqrt(_LEAST_SPAN), middle * math.sqrt(_LEAST_SPAN)
    room = (high / low) ** 0.07
    return low / room, high * room
