"""Means and errors of block estimates and per-sample values, by arithmetic and by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest

from landscape.linalg.means import quantile_stderr, sampling_stderr, weighted_mean
from landscape.linalg.trace import block_estimate, probes_wanted


def test_a_ragged_last_block_counts_by_its_weight() -> None:
    """The trap: blocks averaged equally. Eight samples of value 1 and two of value 11 have mean 3, not 6."""
    estimate = block_estimate([np.array([[1.0, 1.0], [11.0, 11.0]])], np.array([0.8, 0.2]), sampled_share=1)
    assert estimate.value == pytest.approx(3)
    assert estimate.stderr == 0


def test_the_errors_by_hand() -> None:
    samples, omega = np.array([[1.0, 3.0], [6.0, 10.0]]), np.array([0.5, 0.5])
    estimate = block_estimate([samples], omega, sampled_share=0.25)
    assert estimate.value == pytest.approx(5)
    probes = 0.25 * (2 + 8) / 2  # omega^2 s^2 / k with s^2 = 2 and 8
    student = (
        4.302653 / 1.959964
    )  # quantiles at 97.5%, of Student's distribution for 2 degrees of freedom, and the normal
    assert estimate.stderr == pytest.approx(student * math.sqrt(probes))
    between = 2 * 0.25 * ((2 - 5) ** 2 + (8 - 5) ** 2)
    assert estimate.sampling_stderr == pytest.approx(math.sqrt(0.75 * (between - probes)))


def test_what_is_undefined_is_nan_and_what_is_known_is_zero() -> None:
    one_probe = block_estimate([np.array([[1.0], [2.0]])], np.array([0.5, 0.5]), sampled_share=0.5)
    assert math.isnan(one_probe.stderr)
    assert one_probe.sampling_stderr > 0
    one_block = block_estimate([np.array([[1.0, 2.0]])], np.array([1.0]), sampled_share=0.5)
    assert math.isnan(one_block.sampling_stderr)
    assert block_estimate([np.array([[1.0, 2.0]])], np.array([1.0]), sampled_share=1).sampling_stderr == 0
    # probes that vary more than the blocks: 0 would say that nothing is uncertain
    noisy = block_estimate([np.array([[-9.0, 9.0], [-8.0, 8.0]])], np.array([0.5, 0.5]), sampled_share=0.5)
    assert math.isnan(noisy.sampling_stderr)


@pytest.mark.parametrize(("blocks", "probes"), [(1, 2), (1, 4), (3, 2), (5, 4), (7, 4)])
def test_the_standard_error_of_few_probes_keeps_its_interval(blocks: int, probes: int) -> None:
    """Normal probes with mean 0: 1.96 standard errors cover it in 95% of 4,000 draws, less 4 binomial deviations.

    Without the widening two probes of one block would cover it in 70%.
    """
    rng = np.random.default_rng(0)
    omega = np.full(blocks, 1 / blocks)
    estimates = [block_estimate([rng.normal(size=(blocks, probes))], omega, sampled_share=1.0) for _ in range(4000)]
    covered = np.mean([abs(e.value) < 1.96 * e.stderr for e in estimates])
    assert covered == pytest.approx(0.95, abs=4 * math.sqrt(0.95 * 0.05 / 4000))
    assert {e.degrees for e in estimates} == {blocks * (probes - 1)}


def test_few_probes_that_agree_by_chance_are_within_no_tolerance() -> None:
    agreeing = np.ones((1, 3))
    few = block_estimate([agreeing], np.ones(1), sampled_share=1.0)
    assert few.stderr == 0
    assert not few.within(1.0)
    enough = block_estimate([np.ones((1, probes_wanted(1)))], np.ones(1), sampled_share=1.0)
    assert enough.within(1.0)
    assert not block_estimate(
        [np.ones((8, 3)), agreeing.repeat(8, 0)[:, :2]], np.full(8, 1 / 8), sampled_share=1.0
    ).within(1)


def test_weighted_means_and_their_sampling_error() -> None:
    values, ones = np.array([1.0, 2.0, 3.0, 6.0]), np.ones(4)
    assert weighted_mean(values, np.array([1.0, 0, 0, 1])) == pytest.approx(3.5)
    assert weighted_mean(np.stack([values, -values], 1), ones).tolist() == [3, -3]
    expected = math.sqrt((1 - 0.4) * values.var(ddof=1) / 4)
    assert sampling_stderr(values, ones, sampled_share=0.4) == pytest.approx(expected)
    assert sampling_stderr(values, ones, sampled_share=1) == 0
    assert math.isnan(sampling_stderr(values[:1], ones[:1], sampled_share=0.1))


def test_the_ratio_estimators_error_covers_draws_with_unequal_weights() -> None:
    """2,000 draws of 80 of 800; error budget: linearisation 1/80, 2,000 squares sqrt(2/2000): four make 0.13 + 0.05."""
    rng = np.random.default_rng(0)
    weights = rng.integers(0, 5, 800).astype(float)
    values = rng.exponential(size=800) + weights
    truth = weighted_mean(values, weights)
    errors, claims = [], []
    for _ in range(2000):
        chosen = rng.choice(800, 80, replace=False)
        errors.append((weighted_mean(values[chosen], weights[chosen]) - truth) ** 2)
        claims.append(sampling_stderr(values[chosen], weights[chosen], sampled_share=0.1) ** 2)
    assert 0.82 < np.mean(errors) / np.mean(claims) < 1.18


def test_the_bootstrap_error_of_a_median_is_near_the_asymptotic_one() -> None:
    """sd of a median of n normals: sqrt(pi/2/n). Error budget: the bootstrap is within 30% at n = 400."""
    values = np.random.default_rng(0).normal(size=400)
    expected = math.sqrt(math.pi / 2 / 400)
    assert quantile_stderr(values, 0.5, sampled_share=0.0, seed=0) == pytest.approx(expected, rel=0.3)
    half = quantile_stderr(values, 0.5, sampled_share=0.5, seed=0)
    assert half == pytest.approx(quantile_stderr(values, 0.5, sampled_share=0.0, seed=0) * math.sqrt(0.5))
    assert quantile_stderr(values, 0.5, sampled_share=1, seed=0) == 0
    assert math.isnan(quantile_stderr(values[:1], 0.5, sampled_share=0.5, seed=0))
