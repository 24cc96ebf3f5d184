"""The distribution of a per-sample quantity: a histogram with its quartiles and fences above it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter, NullLocator

from landscape.numbers import format_plain
from landscape.plots.style import (
    BLUE,
    GREY,
    INK,
    SIZE,
    SMALL,
    WIDTH,
    empty_figure,
    inch_axes,
    power_of_ten,
    spread,
    style,
    text_width,
)

HEIGHT = 2.2
LEFT = 0.62
RIGHT = 0.12
BOTTOM = 0.41
STRIP = 0.2
LABELS = 0.4
CROWDED = 0.35


def distribution_figure(
    edges: Sequence[float],
    counts: Sequence[float],
    *,
    label: str,
    marks: Mapping[str, float],
    fences: tuple[float, float] | None = None,
    height: float = HEIGHT,
    counted: str = "samples",
) -> Figure:
    """Draw the histogram of `counts` (B) between `edges` (B + 1), with `marks` (name -> place) labelled above it.

    Marks named Q1 and Q3 are joined to a box and `fences` to whiskers. Edges that grow by a constant factor
    give a logarithmic axis. Counts are drawn on a logarithmic axis if one bin holds more than 35 % of them, so that
    the tail shows. `counted` names what is counted. Marks that are not finite are stated with the others, and not
    drawn.
    """
    return histogram_figure(edges, counts, label=label, marks=marks, fences=fences, height=height, counted=counted)[0]


def histogram_figure(
    edges: Sequence[float],
    counts: Sequence[float],
    *,
    label: str,
    marks: Mapping[str, float],
    fences: tuple[float, float] | None,
    height: float,
    split: float | None = None,
    below: str = BLUE,
    counted: str = "samples",
) -> tuple[Figure, Axes | None]:
    """The figure and its histogram axes; bars left of `split` take the colour `below`. No axes if all counts are 0."""
    if len(edges) != len(counts) + 1:
        raise ValueError(f"expected one edge more than counts, got {len(edges)} edges and {len(counts)} counts")
    if not counts or not sum(counts) > 0:
        return empty_figure("No sample has a defined value: there is no distribution to show."), None
    with style():
        figure = Figure(figsize=(WIDTH, height))
        across = WIDTH - LEFT - RIGHT
        tall = height - BOTTOM - STRIP - LABELS
        axes = inch_axes(figure, LEFT, BOTTOM, across, tall)
        for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True):
            colour = below if split is not None and high <= split else BLUE
            if count > 0:
                axes.bar(low, count, high - low, align="edge", color=colour, edgecolor="white", linewidth=0.4)
        finite = [place for place in (*marks.values(), *(fences or ())) if math.isfinite(place)]
        low, high = min(edges[0], *finite) if finite else edges[0], max(edges[-1], *finite) if finite else edges[-1]
        if _geometric(edges):
            axes.set_xscale("log")
            axes.set_xlim(low, high)
            axes.xaxis.set_major_formatter(FuncFormatter(power_of_ten))
            axes.xaxis.set_minor_formatter(NullFormatter())
        else:
            space = 0.01 * (high - low) or 0.5
            axes.set_xlim(low - space, high + space)
            axes.xaxis.set_major_locator(MaxNLocator(8))
        crowded = max(counts) > CROWDED * sum(counts)
        if crowded:
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter(FuncFormatter(_plain_power))
            axes.yaxis.set_minor_locator(NullLocator())
            axes.set_ylim(0.7, 1.6 * max(counts))
        else:
            axes.set_ylim(0, 1.06 * max(counts))
            axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.set_xlabel(label, labelpad=2)
        axes.set_ylabel(f"{counted} (log)" if crowded else counted)
        axes.xaxis.get_offset_text().set_fontsize(SMALL)
        strip = inch_axes(figure, LEFT, BOTTOM + tall, across, STRIP)
        strip.set_xscale(axes.get_xscale())
        strip.set_xlim(axes.get_xlim())
        _box(strip, marks, fences)
        _labels(figure, strip, marks, across, height)
    return figure, axes


def _plain_power(value: float, position: object = None) -> str:
    return f"{value:g}" if value < 1e5 else power_of_ten(value)


def _geometric(edges: Sequence[float]) -> bool:
    if len(edges) < 3 or not edges[0] > 0:
        return False
    steps = np.diff(np.log(edges))
    return bool(np.allclose(steps, steps[0], rtol=1e-3))


def _box(strip: Axes, marks: Mapping[str, float], fences: tuple[float, float] | None) -> None:
    strip.set_ylim(0, 1)
    strip.axis("off")
    if fences is not None and all(math.isfinite(fence) for fence in fences):
        strip.plot(fences, [0.5, 0.5], color=GREY, linewidth=0.9, solid_capstyle="butt")
        for fence in fences:
            strip.plot([fence, fence], [0.25, 0.75], color=GREY, linewidth=0.9)
    first, third = marks.get("Q1", math.nan), marks.get("Q3", math.nan)
    if math.isfinite(first) and math.isfinite(third):
        strip.fill_between([first, third], 0.15, 0.85, color="#EFEFEF", edgecolor=GREY, linewidth=0.8)
    for name, place in marks.items():
        if math.isfinite(place):
            strip.plot([place, place], [0.15, 0.85], color=INK, linewidth=1.6 if name == "median" else 0.8)


def _labels(figure: Figure, strip: Axes, marks: Mapping[str, float], across: float, height: float) -> None:
    low, high = (float(x) for x in strip.get_xlim())
    scale = math.log if strip.get_xscale() == "log" else float
    shown = sorted(((place, f"{name} {format_plain(place)}") for name, place in marks.items() if math.isfinite(place)))
    places = [across * (scale(p) - scale(low)) / (scale(high) - scale(low)) for p, _ in shown]
    widths = [text_width(text, SMALL) + 0.12 for _, text in shown]
    base, top = height - LABELS, height - 0.16
    for place, centre, (_, text) in zip(places, spread(places, widths, -LEFT, across + RIGHT), shown, strict=True):
        x = [(LEFT + place) / WIDTH, (LEFT + centre) / WIDTH]
        figure.add_artist(_leader(figure, x, [base / height, (top - 0.03) / height]))
        figure.text(x[1], top / height, text, ha="center", va="bottom", size=SMALL)
    missing = [name for name, place in marks.items() if not math.isfinite(place)]
    if missing:
        text = f"{', '.join(missing)}: NaN"
        figure.text(1.0, (height - LABELS - 0.02) / height, text, ha="right", va="top", size=SIZE, color=GREY)


def _leader(figure: Figure, x: Sequence[float], y: Sequence[float]) -> Line2D:
    return Line2D(x, y, transform=figure.transFigure, color=GREY, linewidth=0.5)
