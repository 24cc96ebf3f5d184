"""Roots of parabolas, and the error of roots of means by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest

from landscape.linalg.roots import jackknife_root, parabola_root

X = np.array([0.8, 1.0, 1.25])


@pytest.mark.parametrize("target", [0.5, 1.0, 1.3])
def test_a_parabola_is_met_exactly(target: float) -> None:
    root, slope = parabola_root(X, 0.3 * X**2 + 0.7 * X, target)
    assert 0.3 * root**2 + 0.7 * root == pytest.approx(target, rel=1e-9)
    assert slope == pytest.approx(0.6 * root + 0.7, rel=1e-9)


def test_a_line_is_met_exactly() -> None:
    assert parabola_root(X, 2 * X, 1.9) == pytest.approx((0.95, 2), rel=1e-9)


def test_what_a_parabola_does_not_reach_is_sought_by_the_line_and_within_bounds() -> None:
    rising = np.array([0.0, 0.09, 0.1])  # its summit is below 1
    root, slope = parabola_root(X, rising, 1.0)
    assert root == 1.25 * 4
    assert slope == pytest.approx(0.1 / 0.45)
    falling = np.array([0.2, 0.1, 0.1])
    assert parabola_root(X, falling, 1.0)[0] == 1.25 * 4
    assert parabola_root(X, falling, 0.05)[0] == 0.8 / 4
    assert math.isnan(parabola_root(X, falling, 0.05)[1])
    assert all(map(math.isnan, parabola_root(X, np.array([0.0, np.inf, 1.0]), 0.5)))


def test_the_jackknife_covers_what_it_claims() -> None:
    """300 repetitions of 20 draws. Error budget: the squared scores of 19 degrees of freedom have the mean 19/17 and
    a standard deviation of about 1.9; over 300 that is 0.11: four of these make 0.68 to 1.56."""
    rng = np.random.default_rng(0)
    scores = []
    for _ in range(300):
        draws = X + 0.2 * rng.normal(size=(20, 1)) + 0.05 * rng.normal(size=(20, 3))
        root = jackknife_root(X, draws, 1.0)
        scores.append((root.value - 1) / root.stderr)
    assert abs(np.mean(scores)) < 4 / math.sqrt(300)
    assert 0.68 < np.mean(np.square(scores)) < 1.56
    assert math.isnan(jackknife_root(X, X[None], 1.0).stderr)
