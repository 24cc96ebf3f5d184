"""Whether two measured values differ by more than their standard errors."""

from __future__ import annotations

import math

MARKED = 2.0
"""A difference of more than so many combined standard errors is marked."""


def combined_error(*errors: float) -> float:
    """The standard error of a sum or difference of independent terms, sqrt(sum of squares); NaN if one is unknown."""
    return math.nan if any(math.isnan(error) for error in errors) else math.hypot(*errors)


def z_score(difference: float, error: float) -> float:
    """difference / error; infinite for an exact value that differs, 0 for one that does not, NaN where unknown."""
    if math.isnan(difference) or math.isnan(error):
        return math.nan
    if error == 0:
        return 0.0 if difference == 0 else math.copysign(math.inf, difference)
    return difference / error
