"""A power law through points: a straight line on logarithmic axes, y = exp(a) n^exponent.

Legend: K points, R rows of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from landscape.study.line import FloatArray

NORMAL = 1.959964  # the 97.5% quantile of the normal distribution


@dataclass(frozen=True)
class PowerLaw:
    """A fitted power law.

    Attributes:
        exponent: the slope on logarithmic axes.
        stderr: its standard error.
        intercept: a, of the natural logarithm.
    """

    exponent: float
    stderr: float
    intercept: float

    @property
    def interval(self) -> tuple[float, float]:
        """The 95% interval of the exponent, as of a normal distribution."""
        return self.exponent - NORMAL * self.stderr, self.exponent + NORMAL * self.stderr

    def at(self, n: FloatArray) -> FloatArray:
        """The law's values."""
        return np.exp(self.intercept + self.exponent * np.log(n))


def fit_power(n: FloatArray, y: FloatArray, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The exponents and the intercepts (R,) of the lines through K >= 2 points each, by weighted least squares.

    Args:
        n: (K,) positive places, not all the same.
        y: (R, K) positive values.
        weights: (K,) of the points.
    """
    x, z = np.log(n), np.log(y)
    share = weights / weights.sum()
    mean = share @ x
    middle = z @ share
    slope = ((z - middle[:, None]) * (share * (x - mean))).sum(1) / (share * (x - mean) ** 2).sum()
    return slope, middle - slope * mean
