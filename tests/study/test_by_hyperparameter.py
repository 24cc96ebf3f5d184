"""Granulated correlation, sign errors and partial correlation on designs whose answers are known."""

import math
from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.linear_model import LinearRegression

from landscape.study.granulated import granulated_kendall
from landscape.study.pairs import find_pairs
from landscape.study.partial import explaining, partial_spearman
from landscape.study.sign_error import sign_error

GRID = pd.DataFrame(list(product([0.1, 0.2, 0.4], [32, 64], [0, 1])), columns=["lr", "batch_size", "seed"])
RNG = np.random.default_rng(5)


def slices(axes, axis):
    """The rows of each slice in which `axis` alone varies, found by comparing rows."""
    others = [name for name in axes if name != axis]
    keys = [tuple(row) for row in axes[others].itertuples(index=False)]
    return [[i for i, other in enumerate(keys) if other == key] for key in dict.fromkeys(keys)]


def test_pairs_differ_in_one_hyperparameter_and_the_seed_is_none():
    found = {pairs.axis: pairs for pairs in find_pairs(GRID)}
    assert list(found) == ["lr", "batch_size"]
    assert len(found["lr"].first) == 4 * 3
    assert len(found["batch_size"].first) == 6
    for axis, pairs in found.items():
        for i, j in zip(pairs.first, pairs.second, strict=True):
            assert [name for name in GRID if GRID[name][i] != GRID[name][j]] == [axis]
    assert sorted(found["lr"].environments) == ["lr: 0.1 | 0.2", "lr: 0.1 | 0.4", "lr: 0.2 | 0.4"]


def test_granulated_is_the_mean_of_the_slices_taus():
    x, y = RNG.integers(0, 4, 12).astype(float), RNG.normal(size=12)
    found = granulated_kendall(x, y, find_pairs(GRID))
    for axis in ("lr", "batch_size"):
        taus = [stats.kendalltau(x[rows], y[rows]).statistic for rows in slices(GRID, axis)]
        defined = [tau for tau in taus if not math.isnan(tau)]
        assert found.by_axis[axis] == pytest.approx(np.mean(defined))
        assert found.slices[axis] == len(defined)
    assert found.psi == pytest.approx(np.mean(list(found.by_axis.values())))


def test_a_measure_of_one_hyperparameter_alone_is_found_out():
    """It orders all runs well, and says nothing where the other hyperparameter changes."""
    outcome = GRID["lr"] * 10 + GRID["batch_size"] / 1000
    found = granulated_kendall(GRID["lr"].to_numpy(), outcome.to_numpy(), find_pairs(GRID))
    assert found.by_axis == {"lr": 1.0}
    both = granulated_kendall((GRID["lr"] - GRID["batch_size"] / 1e4).to_numpy(), outcome.to_numpy(), find_pairs(GRID))
    assert both.by_axis == {"lr": 1.0, "batch_size": -1.0}
    assert both.psi == 0


def test_a_missing_value_leaves_its_pairs_out():
    x = GRID["lr"].to_numpy().copy()
    x[0] = math.nan
    rows = [i for i in range(12) if i]
    part = GRID.iloc[rows].reset_index(drop=True)
    y = RNG.normal(size=12)
    assert granulated_kendall(x, y, find_pairs(GRID)).by_axis == pytest.approx(
        granulated_kendall(x[rows], y[rows], find_pairs(part)).by_axis
    )


def test_sign_errors_are_shares_of_wrong_signs():
    x, y = RNG.integers(0, 4, 12).astype(float), RNG.integers(0, 4, 12).astype(float)
    found = sign_error(x, y, find_pairs(GRID), -1.0)
    for low, high in ((0.1, 0.2), (0.1, 0.4), (0.2, 0.4)):
        errors = []
        for batch, seed in product([32, 64], [0, 1]):
            same = (GRID["batch_size"] == batch) & (GRID["seed"] == seed)
            (i,), (j,) = GRID.index[same & (GRID["lr"] == low)], GRID.index[same & (GRID["lr"] == high)]
            agreement = np.sign(x[i] - x[j]) * np.sign(y[i] - y[j])
            errors.append({-1: 0.0, 0: 0.5, 1: 1.0}[agreement])
        assert found.by_environment[f"lr: {low} | {high}"] == np.mean(errors)
    assert found.worst == max(found.by_environment.values())
    assert found.by_environment[found.worst_environment] == found.worst
    assert found.mean == pytest.approx(np.mean(list(found.by_environment.values())))


def test_the_sign_says_which_direction_is_right():
    x = GRID["lr"].to_numpy()
    pairs = [pairs for pairs in find_pairs(GRID) if pairs.axis == "lr"]
    assert sign_error(x, -x, pairs, -1.0).mean == 0
    assert sign_error(x, -x, pairs, 1.0).mean == 1
    assert sign_error(x, np.zeros(12), pairs, 1.0).mean == 0.5
    assert sign_error(x[:2], x[:2], [], 1.0).by_environment == {}


def test_values_that_are_missing_are_one_more_value():
    axes = pd.DataFrame({"decay": ["beta", None, "beta", None], "lr": [0.1, 0.1, 0.2, 0.2]}, dtype=object)
    found = {pairs.axis: pairs for pairs in find_pairs(axes)}
    assert found["decay"].environments == ["decay: beta | default"]


def test_partial_correlation_is_that_of_residuals():
    given = ["a"] * 6 + ["b"] * 6 + ["c"] * 6
    x, y = RNG.normal(size=18), RNG.normal(size=18)
    dummies = pd.get_dummies(pd.Series(given)).to_numpy(dtype=float)
    rests = []
    for values in (x, y):
        ranks = stats.rankdata(values)
        rests.append(ranks - LinearRegression().fit(dummies, ranks).predict(dummies))
    expected = stats.pearsonr(*rests).statistic
    assert partial_spearman(x, y, given) == pytest.approx(expected, abs=1e-9)


def test_a_hyperparameter_with_many_values_enters_as_a_line():
    """The formula of the partial correlation from three plain ones."""
    given, x, y = RNG.normal(size=15), RNG.normal(size=15), RNG.normal(size=15)
    xy, xz, yz = (stats.spearmanr(a, b).statistic for a, b in ((x, y), (x, given), (y, given)))
    expected = (xy - xz * yz) / math.sqrt((1 - xz**2) * (1 - yz**2))
    assert partial_spearman(x, y, list(given)) == pytest.approx(expected, abs=1e-9)


def test_a_measure_that_follows_the_rate_is_warned_of():
    lr = np.repeat([0.1, 0.2, 0.4], 8)
    axes = pd.DataFrame({"lr": lr, "seed": np.tile(np.arange(8), 3)})
    follows, outcome = lr + RNG.normal(0, 0.02, 24), lr + RNG.normal(0, 0.02, 24)
    assert list(explaining(follows, outcome, axes)) == ["lr"]
    assert explaining(outcome + RNG.normal(0, 0.002, 24), outcome, axes) == {}


def test_nothing_to_hold_fixed():
    x = np.arange(6.0)
    assert partial_spearman(x, x, ["one"] * 6) is None
    assert partial_spearman(x, x, list("abcdef")) is None
    assert partial_spearman(np.repeat([1.0, 2.0], 3), x, ["a"] * 3 + ["b"] * 3) == 0
