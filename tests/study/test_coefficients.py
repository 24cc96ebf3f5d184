"""Line, coefficients and bootstrap against formulas written by hand, SciPy and scikit-learn."""

import math
from itertools import combinations

import numpy as np
import pytest
from scipy import stats
from sklearn.linear_model import LinearRegression

from landscape.study.bootstrap import Outcome, _Together, intervals
from landscape.study.coefficients import coefficients, is_constant
from landscape.study.line import fit_line

RNG = np.random.default_rng(7)
X = RNG.integers(0, 6, 25).astype(float)  # many ties
Y = np.round(0.5 * X + RNG.normal(size=25), 1)


def tau_b(x, y):
    """From its definition, pair by pair."""
    surplus, in_x, in_y = 0, 0, 0
    for i, j in combinations(range(len(x)), 2):
        a, b = np.sign(x[i] - x[j]), np.sign(y[i] - y[j])
        surplus, in_x, in_y = surplus + a * b, in_x + abs(a), in_y + abs(b)
    return surplus / math.sqrt(in_x * in_y) if in_x and in_y else 0.0


def pearson(x, y):
    a, b = x - x.mean(), y - y.mean()
    return (a @ b) / math.sqrt((a @ a) * (b @ b))


def test_the_coefficients_are_their_definitions():
    c = coefficients(X, Y)
    assert c.pearson == pytest.approx(pearson(X, Y), rel=1e-12)
    assert c.spearman == pytest.approx(pearson(stats.rankdata(X), stats.rankdata(Y)), rel=1e-12)
    assert c.kendall == pytest.approx(tau_b(X, Y), rel=1e-12)


def test_the_coefficients_of_a_falling_order():
    x = np.array([1.0, 2.0, 3.0, 4.0])
    c = coefficients(x, -np.exp(x))
    assert (c.spearman, c.kendall) == (pytest.approx(-1), pytest.approx(-1))
    assert -1 < c.pearson < -0.8


@pytest.mark.parametrize("x", [np.array([1.0, 2.0]), np.full(5, 3.0), 1e6 * (1 + 1e-14 * np.arange(5.0))])
def test_too_few_and_constant_have_none(x):
    c = coefficients(x, np.arange(float(len(x))))
    assert math.isnan(c.pearson)
    assert math.isnan(c.spearman)
    assert math.isnan(c.kendall)
    assert len(x) < 3 or is_constant(x)


def test_the_line_is_that_of_scikit_learn():
    line = fit_line(X, Y)
    model = LinearRegression().fit(X[:, None], Y)
    assert line.slope == pytest.approx(model.coef_[0], rel=1e-12)
    assert line.intercept == pytest.approx(model.intercept_, rel=1e-12)
    assert line.r2 == pytest.approx(model.score(X[:, None], Y), rel=1e-12)


def test_the_band_is_that_of_the_linear_model():
    """x' (X'X)^-1 x s^2 with the design matrix, and the t quantile."""
    line, at = fit_line(X, Y), np.array([-1.0, 2.5, 9.0])
    design = np.stack([np.ones(25), X], axis=1)
    rest = Y - design @ np.linalg.solve(design.T @ design, design.T @ Y)
    places = np.stack([np.ones(3), at], axis=1)
    variance = np.einsum("ij,jk,ik->i", places, np.linalg.inv(design.T @ design), places) * (rest @ rest) / 23
    low, high = line.band(at)
    half = stats.t.ppf(0.975, 23) * np.sqrt(variance)
    np.testing.assert_allclose(high - low, 2 * half, rtol=1e-9)
    np.testing.assert_allclose((high + low) / 2, line.at(at), rtol=1e-12)


def test_every_resample_has_the_coefficients_of_its_networks():
    together = _Together(X, Outcome(Y))
    drawn = RNG.integers(0, 25, (40, 25))
    r2, r, tau = together.statistic(drawn)
    for k, row in enumerate(drawn):
        assert r[k] == pytest.approx(pearson(X[row], Y[row]), abs=1e-12)
        assert r2[k] == pytest.approx(r[k] ** 2, abs=1e-12)
        assert tau[k] == pytest.approx(tau_b(X[row], Y[row]), abs=1e-12)


def test_a_resample_without_ties_of_its_own_has_them_by_repetition():
    x, y = RNG.permutation(12).astype(float), RNG.normal(size=12)
    drawn = RNG.integers(0, 12, (20, 12))
    tau = _Together(x, Outcome(y)).statistic(drawn)[2]
    assert tau.tolist() == pytest.approx([stats.kendalltau(x[row], y[row]).statistic for row in drawn], abs=1e-12)


def test_a_resample_of_one_network_counts_as_no_correlation():
    assert _Together(X, Outcome(Y)).statistic(np.zeros((1, 25), dtype=int)).ravel().tolist() == [0, 0, 0]


def test_the_interval_is_that_of_scipy():
    found = intervals(X, Outcome(Y), resamples=500, seed=3)
    for mine, statistic in (
        (found.pearson, lambda x, y, axis=-1: stats.pearsonr(x, y, axis=axis).statistic),
        (found.r2, lambda x, y, axis=-1: stats.pearsonr(x, y, axis=axis).statistic ** 2),
    ):
        scipys = stats.bootstrap(
            (X, Y), statistic, paired=True, vectorized=True, n_resamples=500, random_state=np.random.default_rng(3)
        ).confidence_interval
        assert (mine.low, mine.high) == (pytest.approx(scipys.low, rel=1e-9), pytest.approx(scipys.high, rel=1e-9))
    assert found.kendall.low < tau_b(X, Y) < found.kendall.high


def test_what_was_kept_of_one_measure_changes_nothing_for_the_next():
    outcome = Outcome(Y)
    intervals(RNG.normal(size=25), outcome)
    assert intervals(X, outcome) == intervals(X, Outcome(Y))


def test_a_perfect_line_has_an_interval_of_no_width():
    x = np.arange(8.0)
    found = intervals(x, Outcome(3 - 2 * x))
    assert (found.pearson.low, found.pearson.high) == (pytest.approx(-1), pytest.approx(-1))
    assert (found.kendall.low, found.kendall.high) == (-1, -1)


def test_the_seed_decides_the_interval():
    assert intervals(X, Outcome(Y), seed=1) == intervals(X, Outcome(Y), seed=1)
    assert intervals(X, Outcome(Y), seed=1) != intervals(X, Outcome(Y), seed=2)


@pytest.mark.parametrize(("n", "resamples"), [(5, 100), (25, 0)])
def test_few_networks_or_no_resamples_have_no_interval(n, resamples):
    assert math.isnan(intervals(X[:n], Outcome(Y[:n]), resamples=resamples).r2.low)
