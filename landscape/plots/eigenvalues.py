"""The outermost eigenvalues as points on one line each, with their error bounds."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from landscape.plots.groups import Bar, Panel, groups_figure
from landscape.plots.style import WIDTH

MOST = 16


def eigenvalues_figure(
    eigenvalues: Sequence[float],
    bounds: Sequence[float],
    *,
    lowest: tuple[float, float] | None = None,
    labels: Sequence[str] = (),
    width: float = WIDTH,
) -> Figure:
    """Draw the `eigenvalues` (K, descending) with error bars of their `bounds` (K), and the `lowest` with its bound.

    `labels` are the values in words (K, or K + 1 with the lowest). Of more than sixteen the first fifteen and the last
    are drawn.
    """
    names = [f"λ{i}" for i in range(1, len(eigenvalues) + 1)]
    rows = list(zip(names, eigenvalues, bounds, strict=True))
    if lowest is not None:
        rows.append(("most negative", *lowest))
    words = [*labels, *("" for _ in rows[len(labels) :])]
    bars = [Bar(name, value, bound, word) for (name, value, bound), word in zip(rows, words, strict=True)]
    if len(bars) > MOST:
        bars = [*bars[: MOST - 1], bars[-1]]
    return groups_figure([Panel("Outermost eigenvalues", bars)], label="eigenvalue", width=width)
