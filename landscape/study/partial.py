"""Partial rank correlation: what is left of an order when one hyperparameter is known.

The ranks of the measure and of the outcome are freed of what the hyperparameter explains (the mean of each of its
values; the straight line in it where nearly each run has a value of its own), and the rests are correlated. A measure
that merely follows the learning rate keeps nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from landscape.study.line import FloatArray

# A warning is given where the order is clear (|rho| at least) and less than this share of it is left.
CLEAR = 0.5
KEPT = 0.5


def partial_spearman(x_n: FloatArray, y_n: FloatArray, given: Sequence[object]) -> float | None:
    """The correlation of the ranks of `x_n` and `y_n` given a hyperparameter; 0 where it explains either wholly.

    Returns:
        None where the hyperparameter does not vary, or has too many values for anything to be left.
    """
    design = _design(given)
    if design is None or len(x_n) - design.shape[1] < 2:
        return None
    ranks = np.stack([stats.rankdata(v) for v in (x_n, y_n)], axis=1)
    ranks -= ranks.mean(axis=0)
    rest = ranks - design @ np.linalg.lstsq(design, ranks, rcond=None)[0]
    squares = (rest**2).sum(axis=0)
    if (squares <= 1e-9 * (ranks**2).sum(axis=0)).any():
        return 0.0
    return float(rest[:, 0] @ rest[:, 1] / math.sqrt(squares[0] * squares[1]))


def explaining(x_n: FloatArray, y_n: FloatArray, axes: pd.DataFrame) -> dict[str, float]:
    """The hyperparameters that explain the order: their names and the partial correlation that they leave."""
    whole = float(stats.spearmanr(x_n, y_n).statistic)
    if not abs(whole) >= CLEAR:
        return {}
    found = {}
    for name in axes.columns:
        left = partial_spearman(x_n, y_n, axes[name].tolist())
        if left is not None and left * math.copysign(1.0, whole) < KEPT * abs(whole):
            found[str(name)] = left
    return found


def _design(given: Sequence[object]) -> FloatArray | None:
    codes, known = pd.factorize(np.asarray([str(value) for value in given], dtype=object))
    if len(known) < 2:
        return None
    if 2 * len(known) <= len(codes):
        return np.eye(len(known))[codes]
    numbers = pd.to_numeric(pd.Series(list(given), dtype=object), errors="coerce").to_numpy(dtype=float)
    if not np.isfinite(numbers).all():
        return None
    ranks: FloatArray = stats.rankdata(numbers).astype(float)
    return np.stack([np.ones(len(ranks)), ranks], axis=1)
