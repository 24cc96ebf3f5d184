"""Intervals of R^2, Pearson's r and Kendall's tau-b by the bootstrap over networks.

The networks are drawn with replacement; the interval is SciPy's BCa (bias-corrected and accelerated; Efron 1987). All
three come from the same resamples. A resample in which one column is constant shows no correlation and counts as 0.
Spearman's rho has none: its resamples would have to be ranked anew each, and Kendall's says the same of the order.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from landscape.study.line import FloatArray

LEAST = 6
"""With fewer networks most resamples repeat each other, and an interval of them means nothing."""

CONFIDENCE = 0.95
_BATCH_ELEMENTS = 2_000_000  # drawn indices in memory at once
_KEPT = 8  # batches of draws
Indices = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Interval:
    """A confidence interval; NaN where there is none."""

    low: float = math.nan
    high: float = math.nan


@dataclass(frozen=True)
class Intervals:
    """The intervals of the three coefficients."""

    r2: Interval = Interval()
    pearson: Interval = Interval()
    kendall: Interval = Interval()


@dataclass(frozen=True)
class _Draws:
    """What resamples give whatever the measure: outcomes less their mean, how often each is drawn, ties."""

    rows: Indices
    counts: npt.NDArray[np.float32]
    y: FloatArray
    squares: FloatArray
    untied: FloatArray


class Outcome:
    """An outcome y of n networks that several measures are held against.

    The same seed draws the same networks for each measure, so that what depends on the draws and on y alone is kept
    from one to the next.
    """

    def __init__(self, y_n: FloatArray) -> None:
        self.n = len(y_n)
        self.signs = _signs(y_n)
        self._y = _scaled(y_n)
        self._codes = np.unique(y_n, return_inverse=True)[1]
        self._known: list[_Draws] = []

    def draws(self, rows: Indices) -> _Draws:
        """Resamples given as indices, (resamples, n)."""
        for known in self._known:
            if np.array_equal(known.rows, rows):
                return known
        y = self._y[rows]
        y -= y.mean(axis=1, keepdims=True)
        pairs = rows.shape[1] * (rows.shape[1] - 1) / 2
        counts = _counts(rows, self.n).astype(np.float32)
        draws = _Draws(rows, counts, y, np.einsum("rn,rn->r", y, y), pairs - _tied(self._codes[rows]))
        self._known = [*self._known[-_KEPT + 1 :], draws]
        return draws


def intervals(x_n: FloatArray, outcome: Outcome, *, resamples: int = 1000, seed: int = 0) -> Intervals:
    """The 95% intervals for networks with measure `x_n` and an outcome, neither constant.

    Args:
        x_n: (n,) finite values.
        outcome: of the same networks.
        resamples: how many samples of n networks are drawn; 0: no interval.
        seed: of the draws; the same seed gives the same interval.

    Cost: O(resamples n^2) for Kendall's tau-b, one matrix product.
    """
    n = outcome.n
    if n < LEAST or resamples == 0:
        return Intervals()
    together = _Together(x_n, outcome)
    with warnings.catch_warnings(), np.errstate(invalid="ignore", divide="ignore"):
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        found = stats.bootstrap(
            (np.arange(n),),
            together.statistic,
            n_resamples=resamples,
            batch=max(1, min(resamples, _BATCH_ELEMENTS // n)),
            confidence_level=CONFIDENCE,
            method="BCa",
            random_state=np.random.default_rng(seed),
            vectorized=True,
        )
    low, high = (np.asarray(side, dtype=float) for side in found.confidence_interval)
    drawn = np.asarray(found.bootstrap_distribution)
    sides = [_settled(float(a), float(b), draws) for a, b, draws in zip(low, high, drawn, strict=True)]
    return Intervals(*sides)


def _settled(low: float, high: float, drawn: FloatArray) -> Interval:
    """BCa divides by the spread of the draws; where all are equal, that value is the interval."""
    if math.isfinite(low) and math.isfinite(high):
        return Interval(low, high)
    if np.ptp(drawn) < 1e-9:
        return Interval(float(drawn[0]), float(drawn[0]))
    return Interval()


class _Together:
    """R^2, r and tau-b of resamples that are given as indices, for all resamples at once."""

    def __init__(self, x_n: FloatArray, outcome: Outcome) -> None:
        self._outcome = outcome
        self._x = _scaled(x_n)
        self._agreement = _signs(x_n) * outcome.signs
        self._codes = np.unique(x_n, return_inverse=True)[1]
        self._all_differ = int(self._codes.max()) + 1 == len(x_n)

    def statistic(self, indices: Indices, axis: int = -1) -> FloatArray:
        """(3, ...) for indices (..., n); SciPy always asks for the last axis."""
        assert axis in (-1, indices.ndim - 1)
        draws = self._outcome.draws(np.asarray(indices, dtype=np.intp).reshape(-1, indices.shape[-1]))
        pearson = self._pearson(draws)
        values = np.stack([pearson**2, pearson, self._kendall(draws)])
        return values.reshape(3, *indices.shape[:-1])

    def _pearson(self, draws: _Draws) -> FloatArray:
        x = self._x[draws.rows]
        x -= x.mean(axis=1, keepdims=True)
        product = np.einsum("rn,rn->r", x, draws.y)
        squares = np.einsum("rn,rn->r", x, x) * draws.squares
        defined = squares > 1e-24
        r = np.divide(product, np.sqrt(squares), out=np.zeros_like(product), where=defined)
        clipped: FloatArray = np.clip(r, -1.0, 1.0)
        return clipped

    def _kendall(self, draws: _Draws) -> FloatArray:
        """(concordant - discordant) / sqrt((pairs - ties in x)(pairs - ties in y)), from how often each is drawn."""
        # every pair twice; float32 holds the whole numbers up to 2^24 exactly
        product = draws.counts @ self._agreement
        product *= draws.counts
        surplus = product.sum(axis=1, dtype=np.float64) / 2
        size = draws.rows.shape[1]
        if self._all_differ:  # only a network drawn twice is tied with itself
            tied = (np.einsum("rn,rn->r", draws.counts, draws.counts).astype(np.float64) - size) / 2
        else:
            tied = _tied(self._codes[draws.rows])
        scale = np.sqrt((size * (size - 1) / 2 - tied) * draws.untied)
        tau: FloatArray = np.divide(surplus, scale, out=np.zeros_like(surplus), where=scale > 0)
        return tau


def _scaled(values_n: FloatArray) -> FloatArray:
    """Centred and scaled: sums of squares of resamples then lose no digits."""
    scaled: FloatArray = (values_n - values_n.mean()) / values_n.std()
    return scaled


def _signs(values_n: FloatArray) -> npt.NDArray[np.float32]:
    """(n, n): +1 where the row's value is larger than the column's, -1 where it is smaller, 0 for a tie."""
    ranks = stats.rankdata(values_n, method="dense").astype(np.float32)
    signs: npt.NDArray[np.float32] = np.sign(ranks[:, None] - ranks[None, :])
    return signs


def _counts(codes: Indices, kinds: int) -> npt.NDArray[np.intp]:
    """How often each of `kinds` codes stands in each row: (rows, kinds)."""
    rows = codes.shape[0]
    offset = np.arange(rows)[:, None] * kinds
    return np.bincount((codes + offset).ravel(), minlength=rows * kinds).reshape(rows, kinds)


def _tied(codes: Indices) -> FloatArray:
    """How many pairs of each row have the same code."""
    counts = _counts(codes, int(codes.max()) + 1).astype(np.float64)
    tied: FloatArray = (counts * (counts - 1)).sum(axis=1) / 2
    return tied
