"""Which eigenvalues a Krylov run from a random start cannot have missed.

The Lanczos vectors are polynomials in A times the unit start v: q_j = p_j(A) v. For a unit eigenvector u of the
eigenvalue t, u'q_j = p_j(t) u'v, and the q_j are orthonormal, so that after m steps

    (u'v)^2 <= kappa(t) = 1 / sum_{j=1}^{m+1} p_j(t)^2,

the Christoffel function: a run has missed u only if v had next to nothing of it. The direction of a Gaussian v is
uniform on the sphere of R^P, where (u'v)^2 has the distribution Beta(1/2, (P - 1)/2). An eigenvalue t above all Ritz
values is therefore missed with a probability of at most P[(u'v)^2 <= kappa(t)], whatever the matrix. A residual bound
cannot say so: it vouches that there is an eigenvalue nearby, not that there is none beyond.

Reference: the Christoffel function as the largest mass at a point: Szego, Orthogonal Polynomials, section 3.1; random
starts: Kuczynski and Wozniakowski 1992.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import brentq
from scipy.stats import beta

from landscape.linalg.lanczos import Tridiagonal

# A Krylov step lowers the miss probability some sevenfold: each further nine costs about a product.
CONFIDENCE = 0.999


def largest_share(run: Tridiagonal, value: float) -> float:
    """kappa(t): the most of the squared start vector that can lie along an eigenvector of t; t is no Ritz value.

    Cost: m multiplications.
    """
    before, now, total = 0.0, 1.0, 1.0
    for j in range(run.steps):
        if run.beta[j] == 0.0:  # the space is invariant: the start has no part outside of it
            return 0.0
        coupled = run.beta[j - 1] * before if j else 0.0
        before, now = now, ((value - run.alpha[j]) * now - coupled) / run.beta[j]
        total += now * now
        if not np.isfinite(total):
            return 0.0
    return 1.0 / total


def miss_probability(run: Tridiagonal, value: float, size: int) -> float:
    """The probability, over Gaussian starts in R^size, of a run that has missed an eigenvalue `value` like this one."""
    return float(beta.cdf(largest_share(run, value), 0.5, (size - 1) / 2)) if size > 1 else 0.0


def excluded_above(run: Tridiagonal, size: int, confidence: float = CONFIDENCE) -> float:
    """The value above which no eigenvalue lies, with the given confidence for each one that might.

    At least the largest Ritz value; infinite where a run is too short to exclude anything within a thousand times the
    spectrum that it saw.
    """
    values = run.ritz().values
    top, scale = float(values[0]), float(np.abs(values).max())

    def excess(distance: float) -> float:
        return miss_probability(run, top + distance, size) - (1 - confidence)

    if scale == 0.0 or excess(1e-12 * scale) <= 0:
        return top
    if excess(1e3 * scale) > 0:
        return float("inf")
    return top + float(brentq(excess, 1e-12 * scale, 1e3 * scale, xtol=1e-9 * scale))
