"""The least-squares line through points, and the band in which the true line lies."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Line:
    """y = intercept + slope x through n points.

    Attributes:
        slope: in units of y per unit of x.
        intercept: in units of y.
        r2: the share of the variance of y that the line explains, 1 - SS_res / SS_tot.
        n: how many points.
        mean: of x.
        spread: sum of (x - mean)^2.
        residual: s = sqrt(SS_res / (n - 2)), in units of y.
    """

    slope: float
    intercept: float
    r2: float
    n: int
    mean: float
    spread: float
    residual: float

    def at(self, x_n: FloatArray) -> FloatArray:
        """The line's values."""
        return self.intercept + self.slope * x_n

    def band(self, x_n: FloatArray, confidence: float = 0.95) -> tuple[FloatArray, FloatArray]:
        """The lower and the upper side of the pointwise confidence band of the line (not of single points).

        y(x) ± t_{(1 + confidence)/2, n - 2} s sqrt(1/n + (x - mean)^2 / spread).
        """
        width = stats.t.ppf((1 + confidence) / 2, self.n - 2) * self.residual
        half = width * np.sqrt(1 / self.n + (x_n - self.mean) ** 2 / self.spread)
        middle = self.at(x_n)
        return middle - half, middle + half


def fit_line(x_n: FloatArray, y_n: FloatArray) -> Line:
    """Fit the line to three or more points of which neither coordinate is constant."""
    assert len(x_n) >= 3, "a line through two points says nothing"
    fit = stats.linregress(x_n, y_n)
    r2 = float(fit.rvalue) ** 2
    squares = float(np.sum((y_n - y_n.mean()) ** 2)) * max(1.0 - r2, 0.0)
    return Line(
        slope=float(fit.slope),
        intercept=float(fit.intercept),
        r2=r2,
        n=len(x_n),
        mean=float(x_n.mean()),
        spread=float(np.sum((x_n - x_n.mean()) ** 2)),
        residual=math.sqrt(squares / (len(x_n) - 2)),
    )
