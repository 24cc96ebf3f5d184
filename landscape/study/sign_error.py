"""Sign error by environment: how often a measure predicts the wrong direction of a change.

Dziugaite et al. 2020, "In search of robust measures of generalization" (arXiv:2010.11924): an environment is two values
of one hyperparameter, all others fixed. Its sign error is the mean over its pairs of runs of

    (1 - s sgn(x - x') sgn(y - y')) / 2,

0 where the measure x always orders the pair as the outcome y, 1 where never, 1/2 for a tie or by chance. The paper has
s = 1, a measure that ought to grow with the gap; here s is the sign of the line through all networks, so that measures
of either direction are held to their own. The paper's maximum over environments is `worst`: a robust measure has a
small one. Pairs are not weighted by the noise of the outcome, as the paper does: that noise is not known here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from landscape.study.line import FloatArray
from landscape.study.pairs import AxisPairs


@dataclass(frozen=True)
class SignError:
    """The mean over the environments, the worst of them, and each."""

    mean: float = math.nan
    worst: float = math.nan
    worst_environment: str = ""
    by_environment: Mapping[str, float] = field(default_factory=dict)


def sign_error(x_n: FloatArray, y_n: FloatArray, pairs: Sequence[AxisPairs], sign: float) -> SignError:
    """The sign errors of a measure `x_n` for an outcome `y_n`; a run with a NaN in either is left out.

    Args:
        x_n, y_n: (n,) values.
        pairs: of `find_pairs`.
        sign: s, +1 or -1.
    """
    errors: dict[str, float] = {}
    for axis in pairs:
        agreement = np.sign(x_n[axis.first] - x_n[axis.second]) * np.sign(y_n[axis.first] - y_n[axis.second])
        known = np.isfinite(agreement)
        wrong = (1 - np.sign(sign) * agreement[known]) / 2
        number = axis.environment[known]
        count = np.bincount(number, minlength=len(axis.environments))
        total = np.bincount(number, weights=wrong, minlength=len(axis.environments))
        errors |= {axis.environments[i]: float(total[i] / count[i]) for i in np.flatnonzero(count).tolist()}
    if not errors:
        return SignError()
    worst = max(errors, key=lambda name: errors[name])
    return SignError(float(np.mean(list(errors.values()))), errors[worst], worst, errors)
