"""Power laws and what batches of Gaussian gradients must follow: n^(-1/2), and sigma sqrt(2/(pi n))."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from landscape.study.batch_scaling import GAUSSIAN, bootstrap_means, fit_exponent, scatter, size_means
from landscape.study.power_law import PowerLaw, fit_power

SIZES = [4, 8, 16, 32, 64, 256]


def blocks_of(seed: int, *, P: int = 400, sigma: float = 3.0, signal: float = 0.0, rank: int = 0) -> np.ndarray:
    """Mean gradients of 64 blocks of four samples, (64, P), of few independent directions or of P."""
    draw = np.random.default_rng(seed)
    G = signal * np.random.default_rng(99).normal(size=P)
    if rank:
        mixed = np.random.default_rng(98).normal(size=(rank, P)) / math.sqrt(rank)
        return G + sigma * draw.normal(size=(256, rank)).reshape(64, 4, rank).mean(1) @ mixed
    return G + sigma * draw.normal(size=(64, 4, P)).mean(1)


def law_of(g: np.ndarray, column: int, seed: int = 0) -> PowerLaw:
    weights = np.full(64, 4.0)
    values = size_means(g, weights, SIZES, 4, 256)[:, column]
    resampled = bootstrap_means(g, weights, SIZES, 4, 256, seed=seed)[:, :, column]
    return fit_exponent(SIZES, values, resampled, [256 // n for n in SIZES])


def test_the_fit_is_that_of_weighted_least_squares() -> None:
    draw = np.random.default_rng(0)
    n, weights = np.array([1.0, 3.0, 10.0, 40.0]), np.array([9.0, 4.0, 2.0, 1.0])
    y = np.exp(draw.normal(size=(3, 4)))
    slope, intercept = fit_power(n, y, weights)
    for row in range(3):
        expected = np.polyfit(np.log(n), np.log(y[row]), 1, w=np.sqrt(weights))
        assert (slope[row], intercept[row]) == pytest.approx(tuple(expected), rel=1e-9)


def test_a_power_law_is_found_exactly() -> None:
    law = fit_exponent([1, 2, 8], 5 * np.array([1.0, 2.0, 8.0]) ** -0.7, np.ones((5, 3)), [8, 4, 1])
    assert law.exponent == pytest.approx(-0.7, abs=1e-12)
    assert law.at(np.array([4.0]))[0] == pytest.approx(5 * 4**-0.7)
    assert PowerLaw(1.0, 0.5, 0.0).interval == pytest.approx(tuple(stats.norm.interval(0.95, 1.0, 0.5)), rel=1e-6)


def test_gaussian_noise_follows_the_corrected_constant() -> None:
    """E|g_i| = sigma sqrt(2/(pi n)), not 2 sigma/sqrt(pi n). Error: 1/sqrt(400 batches) of 0.76, 4.5 of them."""
    g = blocks_of(0)
    values = size_means(g, np.full(64, 4.0), SIZES, 4, 256)
    assert pytest.approx(math.sqrt(2 / math.pi)) == GAUSSIAN
    for n, (absolute, square) in zip(SIZES, values, strict=True):
        draws = 400 * 256 / n
        assert absolute == pytest.approx(3 * math.sqrt(2 / (math.pi * n)), rel=4.5 * 0.756 / math.sqrt(draws)), n
        assert square == pytest.approx(9 / n, rel=4.5 * math.sqrt(2 / draws)), n
        assert absolute < 0.8 * 2 * 3 / math.sqrt(math.pi * n)
    # the mean of 400 standard deviations of 63 degrees of freedom each, which are too small by 1/252
    assert scatter(g, np.full(64, 4.0)) == pytest.approx(3 * (1 - 1 / 252), rel=4.5 / math.sqrt(2 * 63 * 400))


@pytest.mark.parametrize(("column", "truth"), [(0, -0.5), (1, -1.0)])
def test_noise_falls_with_the_root_of_the_batch(column: int, truth: float) -> None:
    law = law_of(blocks_of(1), column)
    assert law.interval[0] < truth < law.interval[1]
    assert 0.002 < law.stderr < 0.08


@pytest.mark.parametrize(("rank", "signal"), [(0, 0.0), (4, 0.0), (4, 0.3)])
def test_intervals_hold_the_truth(rank: int, signal: float) -> None:
    """The truth from 400 draws; of 60 others at least 51 intervals hold it (a chance of 1% at 92 in 100)."""
    weights, many = np.full(64, 4.0), [256 // n for n in SIZES]
    n, w = np.array(SIZES, dtype=float), np.array(many, dtype=float)
    values = [
        size_means(blocks_of(s, P=60, rank=rank, signal=signal), weights, SIZES, 4, 256) for s in range(1000, 1400)
    ]
    truth = fit_power(n, np.array(values)[:, :, 0], w)[0].mean()
    held = 0
    for seed in range(60):
        low, high = law_of(blocks_of(seed, P=60, rank=rank, signal=signal), 0, seed).interval
        held += low < truth < high
    assert held >= 51


def test_means_are_those_of_a_loop_with_a_last_block_that_is_smaller() -> None:
    draw = np.random.default_rng(2)
    samples = draw.normal(size=(22, 5))
    g = np.array([samples[low : low + 4].mean(0) for low in range(0, 22, 4)])
    weights = np.array([4.0] * 5 + [2.0])
    found = size_means(g, weights, [4, 8, 22], 4, 22)
    for (absolute, square), size in zip(found, (4, 8, 22), strict=True):
        batches = [samples[low : low + size].mean(0) for low in range(0, 22 - size + 1, size)]
        assert absolute == pytest.approx(np.mean([np.abs(b).mean() for b in batches]), rel=1e-12)
        assert square == pytest.approx(np.mean([(b**2).mean() for b in batches]), rel=1e-12)
