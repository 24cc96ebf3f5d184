"""How a per-sample quantity is summarised in a record: quantiles and a histogram."""

from __future__ import annotations

from typing import Any

import numpy as np

BINS = 48


def quantiles(values: np.ndarray) -> dict[str, float]:
    """The quartiles by linear interpolation: q1, median, q3."""
    q1, median, q3 = np.quantile(values, [0.25, 0.5, 0.75])
    return {"q1": float(q1), "median": float(median), "q3": float(q3)}


def histogram(values: np.ndarray, *, anchor: float | None = None) -> dict[str, Any]:
    """Counts in equal bins over the whole range; with `anchor` inside the range one edge lies on it exactly."""
    low, high = float(values.min()), float(values.max())
    if low == high:
        pad = abs(low) * 0.5 or 0.5
        low, high = low - pad, high + pad
    edges: np.ndarray = np.linspace(low, high, BINS + 1)
    if anchor is not None and low < anchor < high:
        width = (high - low) / BINS
        below, above = int(np.ceil((anchor - low) / width)), int(np.ceil((high - anchor) / width))
        edges = anchor + width * np.arange(-below, above + 1)
        edges[0], edges[-1] = min(edges[0], low), max(edges[-1], high)
    counts, _ = np.histogram(values, bins=edges)
    return {"edges": edges.tolist(), "counts": counts.tolist()}
