"""Correlation coefficients of two columns of numbers, by SciPy."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

from landscape.study.line import FloatArray

LEAST = 3
"""Fewer networks than this have no correlation to speak of: two always lie on a line."""

_RELATIVE_SPREAD = 1e-12


@dataclass(frozen=True)
class Coefficients:
    """Pearson's r, Spearman's rho and Kendall's tau-b (the tau that allows for ties); NaN where undefined."""

    pearson: float
    spearman: float
    kendall: float


def is_constant(values_n: FloatArray) -> bool:
    """Whether the values differ by no more than rounding."""
    return bool(np.ptp(values_n) <= _RELATIVE_SPREAD * np.abs(values_n).max(initial=0.0))


def coefficients(x_n: FloatArray, y_n: FloatArray) -> Coefficients:
    """The coefficients of finite `x_n` and `y_n`; NaN for fewer than three points or where one is constant."""
    if len(x_n) < LEAST or is_constant(x_n) or is_constant(y_n):
        return Coefficients(math.nan, math.nan, math.nan)
    return Coefficients(
        float(stats.pearsonr(x_n, y_n).statistic),
        float(stats.spearmanr(x_n, y_n).statistic),
        float(stats.kendalltau(x_n, y_n, variant="b").statistic),
    )
