"""The R^2 of unrelated numbers against its Beta distribution and against a simulation."""

import math

import numpy as np
import pytest
from scipy import stats

from landscape.study.chance import chance_r2


@pytest.mark.parametrize("n", [3, 4, 9, 40, 1000])
@pytest.mark.parametrize("level", [0.01, 0.05, 0.5])
def test_it_is_the_quantile_of_a_beta_distribution(n, level):
    assert chance_r2(n, level) == pytest.approx(stats.beta.ppf(1 - level, 0.5, (n - 2) / 2), rel=1e-9)


def test_one_in_twenty_unrelated_samples_exceeds_it():
    x, y = np.random.default_rng(0).normal(size=(2, 20_000, 9))
    x -= x.mean(axis=1, keepdims=True)
    y -= y.mean(axis=1, keepdims=True)
    r2 = (x * y).sum(axis=1) ** 2 / ((x * x).sum(axis=1) * (y * y).sum(axis=1))
    share = float((r2 > chance_r2(9)).mean())
    assert abs(share - 0.05) < 4 * math.sqrt(0.05 * 0.95 / 20_000)


def test_two_points_always_lie_on_a_line():
    assert math.isnan(chance_r2(2))
