"""The sampling error of means that carry a noise of their own, against what it is made of."""

from __future__ import annotations

import math

import numpy as np
import pytest

from landscape.linalg.means import repeated_sampling_stderr, sampling_stderr


def test_the_noise_of_the_repetitions_is_taken_out() -> None:
    """200 simulations with a noise as large as what the samples differ by.

    Error budget: each squared error has a relative spread below 0.5, their mean over 200 one of 0.035; four of them.
    """
    rng = np.random.default_rng(0)
    weights = rng.uniform(0.5, 2, 60)
    values = rng.normal(size=60)
    values -= weights @ values / weights.sum()
    exact = sampling_stderr(values, weights, sampled_share=0.25)
    found = []
    for _ in range(200):
        draws = values + rng.normal(size=(4, 60)) * 2 + rng.normal(size=(4, 1))
        centred = draws - (draws @ weights / weights.sum())[:, None]
        error = repeated_sampling_stderr(centred.sum(0), (centred**2).sum(0), 4, weights, sampled_share=0.25)
        found.append(0.0 if math.isnan(error) else error**2)
    assert np.mean(found) == pytest.approx(exact**2, rel=0.14)


def test_without_noise_it_is_the_sampling_error() -> None:
    values = np.array([-1.0, 0.0, 1.0])
    error = repeated_sampling_stderr(3 * values, 3 * values**2, 3, np.ones(3), sampled_share=0.5)
    assert error == pytest.approx(sampling_stderr(values, np.ones(3), sampled_share=0.5), rel=1e-12)


def test_where_it_is_known_or_not_defined() -> None:
    ones = np.ones(3)
    assert repeated_sampling_stderr(ones, ones, 4, ones, sampled_share=1.0) == 0
    assert math.isnan(repeated_sampling_stderr(ones, ones, 1, ones, sampled_share=0.5))
    assert math.isnan(repeated_sampling_stderr(ones[:1], ones[:1], 4, ones[:1], sampled_share=0.5))
    assert math.isnan(repeated_sampling_stderr(0 * ones, 9 * ones, 4, ones, sampled_share=0.5)), "all of it is noise"
