"""A surface over a plane: contours with a path on them, or a relief. What is not finite is a hole."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator
from mpl_toolkits.mplot3d.axes3d import Axes3D

from landscape.numbers import format_plain
from landscape.plots.style import (
    GREY,
    INK,
    PALE,
    RED,
    SIZE,
    SMALL,
    WIDTH,
    empty_figure,
    inch_axes,
    spread,
    style,
    text_width,
)

COLOURS = "viridis"  # of even steps in lightness: it is read without colour too
LEFT, BOTTOM, TOP = 0.84, 0.5, 0.1
PANEL = 4.3
RELIEF_LABEL = 2.3
BAR_GAP, BAR = 0.22, 0.16
_FILLS = 60


@dataclass(frozen=True)
class Path:
    """Places (n, 2) on the plane in their order, with a name for each that has one, and what the path is."""

    places: np.ndarray
    labels: Sequence[str]
    title: str


def contour_figure(
    x: np.ndarray,
    y: np.ndarray,
    values: np.ndarray,
    *,
    value_label: str,
    x_label: str,
    y_label: str,
    log: bool = False,
    path: Path | None = None,
    note: str = "",
    equal: bool = False,
    origin: str = "checkpoint",
) -> Figure:
    """Draw `values` (Y, X) as filled contours with lines at the ticks of the colour bar.

    Args:
        x, y: the coordinates (X,), (Y,).
        values: NaN and infinite ones, and with `log` those that are not positive, are holes: hatched.
        value_label: of the colour bar.
        x_label, y_label: of the axes.
        log: colours and levels by the logarithm.
        path: drawn on it.
        note: a line below the figure.
        equal: one unit is as long upwards as across, where the shape of the grid allows.
        origin: the name of the point (0, 0), which gets a mark where it is on the grid and no path ends there.
    """
    shown = _shown(values, log)
    if shown.count() < 4:
        return empty_figure("Fewer than four values of the grid are finite: there is nothing to draw.")
    norm, ticks = _scale(shown, log)
    tall = _height(x, y, equal)
    with style():
        figure = Figure(figsize=(WIDTH, BOTTOM + tall + TOP + (0.2 if note else 0.0)))
        base = BOTTOM + (0.2 if note else 0.0)
        axes = inch_axes(figure, LEFT, base, PANEL, tall)
        axes.set_xlim(float(x[0]), float(x[-1]))
        axes.set_ylim(float(y[0]), float(y[-1]))
        axes.add_patch(
            Rectangle((0, 0), 1, 1, transform=axes.transAxes, facecolor="white", edgecolor=PALE, hatch="////", lw=0)
        )
        axes.contourf(x, y, shown, levels=_levels(norm, log), cmap=COLOURS, norm=norm, antialiased=False)
        lines = [tick for tick in ticks if norm.vmin < tick < norm.vmax]  # type: ignore[operator]
        if lines:
            axes.contour(x, y, shown, levels=lines, colors="white", linewidths=0.6, alpha=0.75)
        for spine in axes.spines.values():
            spine.set_visible(True)
        axes.xaxis.set_major_locator(MaxNLocator(7))
        axes.yaxis.set_major_locator(MaxNLocator(7))
        axes.set_xlabel(x_label, labelpad=3)
        axes.set_ylabel(_wrapped(y_label, tall), labelpad=3)
        _bar(figure, base, tall, norm, ticks, value_label)
        if path is not None and len(path.places):
            _draw_path(axes, path, tall)
        elif x[0] <= 0 <= x[-1] and y[0] <= 0 <= y[-1]:
            _mark(axes, 0.0, 0.0, origin, tall)
        if note:
            figure.text(LEFT / WIDTH, 0.07 / figure.get_size_inches()[1], note, color=GREY, size=SMALL, va="bottom")
    return figure


def relief_figure(
    x: np.ndarray,
    y: np.ndarray,
    values: np.ndarray,
    *,
    value_label: str,
    x_label: str,
    y_label: str,
    log: bool = False,
    note: str = "",
) -> Figure:
    """Draw `values` (Y, X) as a surface in three dimensions; the arguments are those of `contour_figure`."""
    shown = _shown(values, log)
    if shown.count() < 4:
        return empty_figure("Fewer than four values of the grid are finite: there is nothing to draw.")
    norm, ticks = _scale(shown, log)
    heights = np.log10(shown) if log else shown
    low, high = (math.log10(v) if log else v for v in (norm.vmin or 0.0, norm.vmax or 1.0))
    with style():
        figure = Figure(figsize=(WIDTH, 4.6))
        axes = figure.add_axes((-0.05, 0.06, 0.98, 0.98), projection="3d")
        assert isinstance(axes, Axes3D)
        grid_x, grid_y = np.meshgrid(x, y)
        axes.plot_surface(
            grid_x,
            grid_y,
            heights.filled(np.nan),
            cmap=COLOURS,
            norm=Normalize(low, high),
            rcount=len(y),
            ccount=len(x),
            linewidth=0.15,
            edgecolor=(1, 1, 1, 0.25),
            antialiased=True,
        )
        axes.view_init(elev=32, azim=-56)
        axes.set_box_aspect((1.15, 1.15, 0.8), zoom=0.95)
        axes.set_xlabel(_wrapped(x_label, RELIEF_LABEL), labelpad=10 if text_width(x_label) > RELIEF_LABEL else 4)
        axes.set_ylabel(_wrapped(y_label, RELIEF_LABEL), labelpad=10 if text_width(y_label) > RELIEF_LABEL else 4)
        axes.set_zlabel(value_label, labelpad=5)
        axes.set_zlim(low, high)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.yaxis.set_major_locator(MaxNLocator(5))
        if log:
            axes.zaxis.set_major_locator(FixedLocator([math.log10(tick) for tick in ticks]))
            axes.zaxis.set_major_formatter(FuncFormatter(lambda value, _: format_plain(10**value)))
        else:
            axes.zaxis.set_major_locator(FixedLocator(ticks))
        for axis in (axes.xaxis, axes.yaxis, axes.zaxis):
            axis.set_pane_color((1, 1, 1, 0))
            axis._axinfo["grid"].update(color=PALE, linewidth=0.5)
        axes.tick_params(pad=1)
        if note:
            figure.text(0.03, 0.98, note, color=GREY, size=SMALL, va="top")
    return figure


def _shown(values: np.ndarray, log: bool) -> np.ma.MaskedArray:
    finite = np.isfinite(values)
    hidden = ~finite | (np.where(finite, values, 0.0) <= 0) if log else ~finite
    return np.ma.masked_array(values, hidden)


def _scale(shown: np.ma.MaskedArray, log: bool) -> tuple[Normalize, list[float]]:
    """The scale of the colours and the values with a tick."""
    low, high = float(shown.min()), float(shown.max())
    if not high > low:
        low, high = (low / 2, high * 2) if log else (low - 0.5, high + 0.5)
    if not log:
        ticks = [float(t) for t in MaxNLocator(8).tick_values(low, high) if low <= t <= high]
        return Normalize(low, high), ticks
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1, 2, 5), (1, 3), (1,)):
        ticks = [f * 10.0**d for d in decades for f in factors if low <= f * 10.0**d <= high]
        if len(ticks) <= 10:
            break
    if len(ticks) < 3:
        ticks = [t for t in map(float, MaxNLocator(6).tick_values(low, high)) if low <= t <= high]
    return LogNorm(low, high), ticks[:: 1 + len(ticks) // 12]


def _levels(norm: Normalize, log: bool) -> np.ndarray:
    assert norm.vmin is not None
    assert norm.vmax is not None
    levels = np.geomspace(norm.vmin, norm.vmax, _FILLS) if log else np.linspace(norm.vmin, norm.vmax, _FILLS)
    levels[0], levels[-1] = norm.vmin, norm.vmax
    return levels


def _height(x: np.ndarray, y: np.ndarray, equal: bool) -> float:
    """The height of the panel in inches: that of equal units, as far as it can be shown."""
    ratio = float((y[-1] - y[0]) / (x[-1] - x[0]))
    return PANEL * ratio if equal and 0.35 <= ratio <= 1.4 else 0.86 * PANEL


def _bar(figure: Figure, base: float, tall: float, norm: Normalize, ticks: Sequence[float], label: str) -> None:
    place = inch_axes(figure, LEFT + PANEL + BAR_GAP, base, BAR, tall)
    bar = figure.colorbar(ScalarMappable(norm, COLOURS), cax=place)
    bar.outline.set_visible(False)
    bar.ax.yaxis.set_major_locator(FixedLocator(list(ticks)))
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: format_plain(value)))
    bar.ax.yaxis.set_minor_locator(NullLocator())
    bar.set_label(_wrapped(label, tall), size=SIZE)


def _wrapped(text: str, width: float) -> str:
    """The words in lines of at most `width` inches."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and text_width(longer) > width:
            lines.append(word)
        else:
            lines[-1:] = [longer]
    return "\n".join(lines)


def _draw_path(axes: Axes, path: Path, tall: float) -> None:
    halo = [withStroke(linewidth=3.0, foreground="white")]
    places = np.asarray(path.places, dtype=float)
    axes.plot(places[:, 0], places[:, 1], color=RED, linewidth=1.3, path_effects=halo, zorder=3)
    named = [i for i, label in enumerate(path.labels) if label]
    axes.plot(places[named, 0], places[named, 1], "o", color=RED, markersize=3, markeredgecolor="white",
              markeredgewidth=0.4, zorder=4)  # fmt: skip
    ends = dict.fromkeys((named[0], named[-1])) if named else {}
    _labels(axes, [(*places[i], path.labels[i]) for i in ends], tall)


def _mark(axes: Axes, x: float, y: float, label: str, tall: float) -> None:
    axes.plot([x], [y], "o", color=RED, markersize=4, markeredgecolor="white", markeredgewidth=0.6, zorder=4)
    _labels(axes, [(x, y, label)], tall)


def _labels(axes: Axes, points: Sequence[tuple[float, float, str]], tall: float) -> None:
    """A name beside each point, on the side with room, apart from each other."""
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    order = sorted(points, key=lambda point: point[1])
    inches = [tall * (y - low) / (high - low) for _, y, _ in order]
    heights = spread(inches, [0.19] * len(order), 0.02, tall - 0.02)
    for (x, _, text), up in zip(order, heights, strict=True):
        across = PANEL * (x - left) / (right - left)
        rightwards = across + 0.1 + text_width(text) < PANEL
        place = (across + (0.1 if rightwards else -0.1)) / PANEL
        axes.text(
            place, up / tall, text, transform=axes.transAxes, ha="left" if rightwards else "right", va="center",
            color=INK, size=SIZE, path_effects=[withStroke(linewidth=2.5, foreground="white")], zorder=5,
        )  # fmt: skip
