"""The distribution of normalised margins, the misclassified part in a colour of its own."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from landscape.plots.distribution import BOTTOM, LABELS, STRIP, histogram_figure
from landscape.plots.style import BLUE, GREY, RED, SIZE, style

ROOM = 0.2


def margins_figure(
    edges: Sequence[float],
    counts: Sequence[float],
    *,
    quartiles: Mapping[str, float],
    fences: tuple[float, float],
    misclassified: float,
    label: str = "normalised margin",
    height: float = 2.3,
) -> Figure:
    """Draw the histogram of margins, red below 0, with quartiles and fences above and both shares told.

    `edges` hold 0, so that no bar mixes right and wrong predictions; `quartiles` map Q1, median and Q3 to their
    places; `misclassified` is the share (0..1) of wrong predictions.
    """
    figure, axes = histogram_figure(
        edges, counts, label=label, marks=quartiles, fences=fences, height=height - ROOM, split=0.0, below=RED
    )
    if axes is None:
        return figure
    with style():
        low, high = axes.get_ylim()
        inches = height - ROOM - BOTTOM - STRIP - LABELS
        share = ROOM / inches
        linear = axes.get_yscale() == "linear"
        axes.set_ylim(low, high * (1 + share) if linear else high * (high / low) ** share)
        axes.plot([0, 0], [low, high], color=GREY, linewidth=0.8)
        known = math.isfinite(misclassified)
        wrong = f"misclassified {100 * misclassified:.2f} %" if known else "misclassified share: NaN"
        right = f"correct {100 * (1 - misclassified):.2f} %" if known else ""
        axes.text(0.006, 0.99, wrong, transform=axes.transAxes, ha="left", va="top", size=SIZE, color=RED)
        axes.text(0.998, 0.99, right, transform=axes.transAxes, ha="right", va="top", size=SIZE, color=BLUE)
    return figure
