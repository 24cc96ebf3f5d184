"""How a per-sample quantity is summarised in a record: quantiles and a histogram."""

from __future__ import annotations

from typing import Any

import numpy as np

BINS = 48
_SKEWED = 30.0  # median to largest, beyond which equal bins would put nearly everything into the first


def quantiles(values: np.ndarray) -> dict[str, float]:
    """The quartiles by linear interpolation: q1, median, q3."""
    q1, median, q3 = np.quantile(values, [0.25, 0.5, 0.75])
    return {"q1": float(q1), "median": float(median), "q3": float(q3)}


def histogram(values: np.ndarray, *, anchor: float | None = None) -> dict[str, Any]:
    """Counts in bins over the whole range of the values.

    The bins are equal; with `anchor` inside the range one edge lies on it exactly. Of values that are nowhere negative
    and very skewed the logarithms are binned; zeros, which have none, are counted apart in `zeros`.
    """
    positive = values[values > 0]
    if anchor is None and values.min() >= 0 and len(positive) and positive.max() > _SKEWED * np.median(values):
        counts, edges = np.histogram(positive, bins=_geometric(positive))
        return {"edges": edges.tolist(), "counts": counts.tolist(), "zeros": len(values) - len(positive)}
    counts, edges = np.histogram(values, bins=_equal(values, anchor))
    return {"edges": edges.tolist(), "counts": counts.tolist()}


def _geometric(positive: np.ndarray) -> np.ndarray:
    low, high = float(positive.min()), float(positive.max())
    edges: np.ndarray = np.geomspace(low, high, BINS + 1) if high > low else np.array([low / 2, high * 2])
    edges[0], edges[-1] = min(edges[0], low), max(edges[-1], high)
    return edges


def _equal(values: np.ndarray, anchor: float | None) -> np.ndarray:
    low, high = float(values.min()), float(values.max())
    if low == high:
        pad = abs(low) * 0.5 or 0.5
        low, high = low - pad, high + pad
    if anchor is None or not low < anchor < high:
        return np.linspace(low, high, BINS + 1)
    width = (high - low) / BINS
    below, above = int(np.ceil((anchor - low) / width)), int(np.ceil((high - anchor) / width))
    edges = anchor + width * np.arange(-below, above + 1)
    edges[0], edges[-1] = min(edges[0], low), max(edges[-1], high)
    return edges
