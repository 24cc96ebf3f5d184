"""Loss and accuracy along a line or a curve, each with its own axis. What is not finite is a gap."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator

from landscape.numbers import format_plain
from landscape.plots.style import (
    BLUE,
    GREY,
    PALE,
    RED,
    SMALL,
    WIDTH,
    empty_figure,
    inch_axes,
    style,
)

LEFT, RIGHT, BOTTOM, TOP, HEIGHT = 0.7, 0.75, 0.5, 0.12, 3.0


def slice_figure(
    x: np.ndarray,
    loss: np.ndarray,
    accuracy: np.ndarray,
    *,
    x_label: str,
    loss_label: str = "loss",
    log: bool = False,
    marks: tuple[float, ...] = (0.0,),
    note: str = "",
) -> Figure:
    """Draw `loss` (X,) in blue by the left axis and `accuracy` (X,) in red by the right one, over `x` (X,).

    Args:
        x, loss, accuracy: the curves; NaN and infinite values, and with `log` losses that are not positive, are gaps,
            shaded. Where no accuracy is finite there is no right axis.
        x_label, loss_label: of the axes.
        log: the loss on a logarithmic axis.
        marks: places with a vertical line, such as the ends of a way.
        note: a line below the figure.
    """
    good = np.isfinite(loss) & ((loss > 0) | (not log))
    if good.sum() < 2:
        return empty_figure("Fewer than two values of the line are finite: there is nothing to draw.")
    with style():
        extra = 0.2 if note else 0.0
        figure = Figure(figsize=(WIDTH, HEIGHT + extra))
        has_accuracy = bool(np.isfinite(accuracy).any())
        right = RIGHT if has_accuracy else 0.15
        box = (LEFT, BOTTOM + extra, WIDTH - LEFT - right, HEIGHT - BOTTOM - TOP)
        axes = inch_axes(figure, *box)
        axes.set_xlim(float(x[0]), float(x[-1]))
        for mark in marks:
            if x[0] <= mark <= x[-1]:
                axes.axvline(mark, color=GREY, linewidth=0.6, linestyle=(0, (3, 2)))
        for low, high in _gaps(x, good):
            axes.axvspan(low, high, facecolor="white", edgecolor=PALE, hatch="////", linewidth=0)
        dots = "o" if len(x) <= 61 else ""
        if log:
            axes.set_yscale("log")
            axes.yaxis.set_minor_formatter(FuncFormatter(lambda value, _: ""))
        else:
            axes.yaxis.set_major_locator(MaxNLocator(6))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: format_plain(value)))
        axes.plot(x, np.where(good, loss, np.nan), color=BLUE, marker=dots, markersize=2)
        axes.set_ylabel(loss_label, color=BLUE)
        axes.tick_params(axis="y", labelcolor=BLUE)
        axes.set_xlabel(x_label, labelpad=3)
        if has_accuracy:
            other = inch_axes(figure, *box)
            other.patch.set_visible(False)
            other.set_xlim(axes.get_xlim())
            other.yaxis.tick_right()
            other.yaxis.set_label_position("right")
            other.xaxis.set_visible(False)
            other.spines["right"].set_visible(True)
            other.spines["left"].set_visible(False)
            other.plot(x, 100 * accuracy, color=RED, linestyle=(0, (4, 1.5)), marker=dots, markersize=2)
            other.set_ylim(0, 103)
            other.yaxis.set_major_locator(FixedLocator(range(0, 101, 20)))
            other.set_ylabel("accuracy in percent (dashed)", color=RED)
            other.tick_params(axis="y", labelcolor=RED)
        if note:
            figure.text(LEFT / WIDTH, 0.07 / (HEIGHT + extra), note, color=GREY, size=SMALL, va="bottom")
    return figure


def _gaps(x: np.ndarray, good: np.ndarray) -> list[tuple[float, float]]:
    """The stretches without a value, from one known neighbour to the other."""
    found: list[tuple[float, float]] = []
    for i in np.flatnonzero(~good).tolist():
        low, high = float(x[max(i - 1, 0)]), float(x[min(i + 1, len(x) - 1)])
        if found and low <= found[-1][1]:
            found[-1] = (found[-1][0], high)
        else:
            found.append((low, high))
    return found
