"""Where a function that is known with noise at three points meets a target.

Legend: J = 3 points, K draws.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

_BEYOND = 4.0  # a root is told up to this factor outside of the points


@dataclass(frozen=True)
class Root:
    """Where the function meets the target, the standard error of that, and the function's slope there."""

    value: float
    stderr: float
    slope: float


def parabola_root(x_3: np.ndarray, y_3: np.ndarray, target: float) -> tuple[float, float]:
    """Where the parabola through three points meets `target` on its way up, and its slope there.

    Args:
        x_3: three positive, rising points.
        y_3: the values there.
        target: the value sought.

    Returns:
        The root nearest to the middle point, at most a factor of 4 outside of the points. Where the parabola does not
        get there, that of the line through the outer points; where that line does not rise, the end on which the target
        would be, with a slope of NaN. NaN for values that are not finite.
    """
    low, middle, high = map(float, x_3)
    if not np.isfinite(y_3).all():
        return math.nan, math.nan
    a, b, c = np.polyfit(x_3 - middle, y_3 - target, 2)
    discriminant = b**2 - 4 * a * c
    if discriminant > 0 and b > 0:
        step = -2 * c / (b + math.sqrt(discriminant))  # of the two roots the one on the rising branch
        root, slope = middle + step, b + 2 * a * step
    else:
        slope = float(y_3[2] - y_3[0]) / (high - low)
        root = low + (target - float(y_3[0])) / slope if slope > 0 else math.inf if y_3.mean() < target else -math.inf
        slope = slope if slope > 0 else math.nan
    return min(max(root, low / _BEYOND), high * _BEYOND), float(slope)


def jackknife_root(x_3: np.ndarray, y_K3: np.ndarray, target: float) -> Root:
    """`parabola_root` of the mean over K independent draws, with the jackknife's standard error (NaN for one draw)."""
    count = len(y_K3)
    value, slope = parabola_root(x_3, y_K3.mean(0), target)
    if count < 2:
        return Root(value, math.nan, slope)
    without = (y_K3.sum(0) - y_K3) / (count - 1)
    roots = np.array([parabola_root(x_3, row, target)[0] for row in without])
    return Root(value, float(np.sqrt((count - 1) / count * ((roots - roots.mean()) ** 2).sum())), slope)
