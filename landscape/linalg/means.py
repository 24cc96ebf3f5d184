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


def repeated_sampling_stderr(
    sums: np.ndarray, squares: np.ndarray, repeats: int, weights: np.ndarray, *, sampled_share: float
) -> float:
    """`sampling_stderr` of means over repetitions that have noise of their own, which is taken out.

    Sample n has the mean x_n = sums_n/K of K independent repetitions, less the weighted mean of each repetition, so
    that what the repetition does to all samples is gone. E x_n^2 is the square of what the sample differs by plus
    s_n^2/K for the variance s_n^2 over its repetitions.

    Args:
        sums: sum over the repetitions of the centred values, (N,).
        squares: sum of their squares, (N,).
        repeats: K.
        weights: w_n (N,).
        sampled_share: n/N of the population; 0 is returned where all is sampled.

    Returns:
        The standard error; NaN for one sample, for K = 1, or where the noise hides what the samples differ by.
    """
    if sampled_share >= 1:
        return 0.0
    n = len(weights)
    if n < 2 or repeats < 2:
        return float("nan")
    share = weights / weights.sum()
    noise = (squares - sums**2 / repeats) / (repeats - 1) / repeats
    excess = float(share**2 @ ((sums / repeats) ** 2 - noise))
    return float(np.sqrt((1 - sampled_share) * n / (n - 1) * excess)) if excess >= 0 else float("nan")


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
