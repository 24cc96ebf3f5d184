"""Chains against statistics whose distribution is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from landscape.linalg.chains import between_chains, split_rhat


def test_the_mean_of_chains_and_its_error() -> None:
    assert between_chains(np.array([1.0, 2.0, 6.0])) == pytest.approx((3, math.sqrt(7 / 3)))
    value, error = between_chains(np.array([1.5]))
    assert value == 1.5
    assert math.isnan(error)
    assert all(map(math.isnan, between_chains(np.array([]))))


def test_r_hat_tells_chains_that_agree_from_those_that_do_not() -> None:
    rng = np.random.default_rng(0)
    draws = rng.normal(size=(4, 1000))
    assert split_rhat(draws) == pytest.approx(1, abs=0.01)
    assert split_rhat(draws + np.arange(4)[:, None]) > 1.3, "chains at different places"
    assert split_rhat(draws + np.linspace(0, 3, 1000)) > 1.2, "chains that drift alike"
    # by hand: halves of means 0 and 2, each of variance 2; W = 2, B/n = 2, var = W/2 + 2 = 3
    assert split_rhat(np.array([[-1.0, 1.0, 1.0, 3.0]])) == pytest.approx(math.sqrt(3 / 2))
    assert math.isnan(split_rhat(np.zeros((2, 100))))
    assert math.isnan(split_rhat(np.zeros((2, 3))))
