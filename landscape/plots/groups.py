"""Horizontal bars of a measure by substructure, with error bars and the numbers beside them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from landscape.numbers import format_plain
from landscape.plots.style import (
    BLUE,
    GREY,
    INK,
    PALE,
    POINTS,
    RED,
    SIZE,
    SMALL,
    WIDTH,
    inch_axes,
    style,
    text_width,
    wrap_name,
)

ROW = 0.165
LINE = 0.135
TITLE = 0.25
SCALE = 0.34
PAD = 0.08
GAP = 0.25
NAME_SHARE = 0.42
LEAST_BARS = 0.85


@dataclass(frozen=True)
class Bar:
    """One substructure: its name, its value and that value's standard error (NaN: none).

    `text` is the value in words and `share` its part of the whole, both empty for none; `rest` marks the sum of
    what is not shown one by one, which is drawn paler.
    """

    name: str
    value: float
    error: float = math.nan
    text: str = ""
    share: str = ""
    rest: bool = False


@dataclass(frozen=True)
class Panel:
    """Bars under one title, on the scale that all panels of a figure share."""

    title: str
    bars: Sequence[Bar]


@dataclass(frozen=True)
class _Layout:
    """One panel measured: the lines of each name, the texts, and the inches that each column takes."""

    panel: Panel
    names: list[list[str]]
    texts: list[str]
    left: float
    text_column: float
    share_column: float

    @property
    def right(self) -> float:
        return self.text_column + self.share_column

    @property
    def height(self) -> float:
        return sum(_row(lines) for lines in self.names)


def groups_figure(panels: Sequence[Panel], *, label: str, width: float = WIDTH) -> Figure:
    """Draw panels of horizontal bars on one scale, side by side where two fit, else over each other.

    Values and shares stand in columns at the right, so that they meet no bar. A long name is broken into
    lines, never cut. A value that is not finite has no bar, only its text. `label` names the scale.
    """
    with style():
        laid = [_measure(panel, width * NAME_SHARE) for panel in panels]
        bars = (width - GAP * (len(laid) - 1) - sum(p.left + p.right for p in laid)) / max(len(laid), 1)
        if len(laid) == 2 and bars >= LEAST_BARS:
            height = TITLE + SCALE + max(p.height for p in laid)
            figure = Figure(figsize=(width, height))
            place = 0.0
            for layout in laid:
                figure.text(place / width, 1 - 0.5 * TITLE / height, layout.panel.title, va="center", weight="bold")
                axes = inch_axes(figure, place + layout.left, height - TITLE - layout.height, bars, layout.height)
                _draw(axes, layout, _limits(panels), label)
                place += layout.left + bars + layout.right + GAP
            return figure
        left = max((p.left for p in laid), default=0.0)
        right = max((p.right for p in laid), default=0.0)
        height = sum(p.height + TITLE for p in laid) + SCALE
        figure = Figure(figsize=(width, height))
        top = height
        for layout in laid:
            figure.text(0.0, (top - 0.5 * TITLE) / height, layout.panel.title, va="center", weight="bold")
            top -= TITLE + layout.height
            axes = inch_axes(figure, left, top, width - left - right, layout.height)
            _draw(axes, layout, _limits(panels), label if layout is laid[-1] else None)
    return figure


def _measure(panel: Panel, widest: float) -> _Layout:
    names = [wrap_name(bar.name, widest) for bar in panel.bars]
    texts = [bar.text or format_plain(bar.value) for bar in panel.bars]
    share = max((text_width(bar.share) for bar in panel.bars), default=0.0)
    return _Layout(
        panel,
        names,
        texts,
        left=PAD + max((text_width(line) for lines in names for line in lines), default=0.0),
        text_column=PAD + max((text_width(text) for text in texts), default=0.0),
        share_column=share + PAD if share else 0.0,
    )


def _row(lines: Sequence[str]) -> float:
    return ROW + LINE * (len(lines) - 1)


def _limits(panels: Sequence[Panel]) -> tuple[float, float]:
    ends = [0.0]
    for panel in panels:
        for bar in panel.bars:
            if math.isfinite(bar.value):
                error = bar.error if math.isfinite(bar.error) else 0.0
                ends += [bar.value - error, bar.value + error]
    low, high = min(ends), max(ends)
    if low == high:
        return 0.0, 1.0
    space = 0.02 * (high - low)
    return (low - space if low < 0 else 0.0), (high + space if high > 0 else 0.0)


def _draw(axes: Axes, layout: _Layout, limits: tuple[float, float], label: str | None) -> None:
    """Fill one panel; with a `label` it carries the scale."""
    axes.set_ylim(0, layout.height)
    axes.set_xlim(*limits)
    axes.xaxis.set_major_locator(MaxNLocator(5 if axes.bbox.width > 200 else 3, steps=[1, 2, 2.5, 5, 10]))
    if not any(math.isfinite(bar.value) for bar in layout.panel.bars):
        axes.set_xticks([])
    axes.set_axisbelow(True)
    axes.grid(axis="x", color=PALE, linewidth=0.4)
    axes.set_yticks([])
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)
    axes.tick_params(axis="x", length=0, labelbottom=label is not None, pad=2)
    axes.xaxis.get_offset_text().set_fontsize(SMALL)
    axes.xaxis.get_offset_text().set_visible(label is not None)
    if label is not None:
        axes.set_xlabel(label, labelpad=2)
    top = layout.height
    for bar, lines, text in zip(layout.panel.bars, layout.names, layout.texts, strict=True):
        middle = top - _row(lines) / 2
        top -= _row(lines)
        if math.isfinite(bar.value):
            colour = RED if bar.value < 0 else BLUE
            axes.barh(middle, bar.value, height=0.66 * ROW, color=colour, alpha=0.45 if bar.rest else 1.0, linewidth=0)
            if math.isfinite(bar.error) and bar.error > 0:
                axes.errorbar(bar.value, middle, xerr=bar.error, color=INK, linewidth=0.8, capsize=1.8, capthick=0.8)
        colour = GREY if bar.rest else INK
        _write(axes, "\n".join(lines), 0, middle, -0.055, colour)
        _write(axes, text, 1, middle, layout.text_column, colour if math.isfinite(bar.value) else RED)
        _write(axes, bar.share, 1, middle, layout.right, GREY)
    axes.axvline(0, color=GREY, linewidth=0.8)


def _write(axes: Axes, text: str, side: int, middle: float, inches: float, colour: str) -> None:
    """Write `text` beside the axes, ending `inches` to the right of their left (0) or right (1) edge."""
    axes.annotate(
        text,
        (side, middle),
        xycoords=("axes fraction", "data"),
        xytext=(inches * POINTS, 0),
        textcoords="offset points",
        ha="right",
        va="center_baseline",
        multialignment="right",
        linespacing=1.05,
        size=SIZE,
        color=colour,
        annotation_clip=False,
    )
