"""What chance alone does: the R^2 that two unrelated columns of numbers reach, and the error of an accuracy.

Of n independent pairs of unrelated normal numbers, R^2 of the least-squares line is distributed as Beta(1/2, (n - 2)/2)
(Fisher 1915); t = sqrt((n - 2) R^2 / (1 - R^2)) is Student's with n - 2 degrees of freedom.
"""

from __future__ import annotations

import math

from scipy import stats


def chance_r2(n: int, level: float = 0.05) -> float:
    """The R^2 that a share `level` of all samples of n unrelated pairs exceed; NaN of fewer than three.

    t^2 / (n - 2 + t^2),   t = t_{1 - level/2, n - 2}
    """
    if n < 3:
        return math.nan
    t = float(stats.t.ppf(1 - level / 2, n - 2))
    return t * t / (n - 2 + t * t)


def accuracy_error(accuracy: float, count: int) -> float:
    """The standard error of an accuracy on `count` samples as a draw: sqrt(a (1 - a) / n), of a binomial share."""
    return math.sqrt(accuracy * (1 - accuracy) / count)
