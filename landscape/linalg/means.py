"""Weighted means of per-sample values with their sampling errors."""

from __future__ import annotations

import numpy as np
import scipy.stats


def weighted_mean(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """sum_n w_n x_n / sum_n w_n over the first axis of (N, ...)."""
    return np.asarray(np.tensordot(weights / weights.sum(), values, axes=1))


def sampling_stderr(values: np.ndarray, weights: np.ndarray, *, sampled_share: float) -> float:
    """The standard error of the weighted mean of (N,) values as a draw without replacement from a larger population.

    The ratio estimator's linearised variance N/(N-1) sum_n (w_n/W)^2 (x_n - mean)^2 times the finite-population
    factor 1 - n/N (Cochran, Sampling Techniques, sections 2.6 and 6.4); 0 where all is sampled, NaN for one sample.
    """
    if sampled_share >= 1:
        return 0.0
    n = len(values)
    if n < 2:
        return float("nan")
    share = weights / weights.sum()
    deviation = share * (values - share @ values)
    return float(np.sqrt((1 - sampled_share) * n / (n - 1) * (deviation @ deviation)))


def quantile_stderr(values: np.ndarray, level: float, *, sampled_share: float, seed: int) -> float:
    """The bootstrap standard error of a quantile of (N,) values, times sqrt(1 - n/N).

    Args:
        values: one value a sample.
        level: which quantile, 0..1.
        sampled_share: n/N; 0 is returned where all is sampled.
        seed: of the resampling.

    Returns:
        The standard deviation over 500 resamples; NaN for fewer than two values.
    """
    if sampled_share >= 1:
        return 0.0
    if len(values) < 2:
        return float("nan")
    result = scipy.stats.bootstrap(
        (values,),
        lambda x, axis: np.quantile(x, level, axis=axis),
        n_resamples=500,
        batch=50,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    return float(result.standard_error * np.sqrt(1 - sampled_share))
