"""What is used, what is dropped and what is refused; the margin regression; differences."""

import math

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import KFold

from landscape.study.correlation import Networks, correlate
from landscape.study.difference import combined_error, z_score
from landscape.study.margins import SIGNATURE, MarginRegression, NoRegression, margin_regression

NAN = math.nan
RNG = np.random.default_rng(11)


def networks(outcome):
    names = [f"n{i}" for i in range(len(outcome))]
    return Networks(names, np.asarray(outcome, dtype=float), pd.DataFrame(index=range(len(names))), [])


def test_a_constructed_line_in_the_logarithm():
    x = np.geomspace(1, 1000, 7)
    found = correlate(networks(0.9 - 0.01 * np.log(x)), x, "c")
    assert found.line is not None
    assert found.line.slope == pytest.approx(-0.01)
    assert found.line.intercept == pytest.approx(0.9)
    assert found.line.r2 == pytest.approx(1)
    plain = correlate(networks(0.9 - 0.01 * np.log(x)), x, "c", log=False)
    assert plain.line is not None
    assert plain.line.r2 < 0.9
    assert plain.coefficients.kendall == found.coefficients.kendall == pytest.approx(-1)


def test_dropped_networks_are_named_with_the_reason():
    found = correlate(networks([0.1, NAN, 0.3, 0.4, 0.6, 0.5]), np.array([1.0, 2.0, NAN, -1.0, 5.0, 6.0]), "c")
    assert found.dropped == {"n1": "no outcome", "n2": "no finite value", "n3": "not positive"}
    assert list(found.names) == ["n0", "n4", "n5"]
    assert found.refused is None
    assert found.n == 3


def test_infinite_values_are_dropped():
    found = correlate(networks([0.1, 0.2, 0.3, 0.4]), np.array([1.0, math.inf, 3.0, 4.0]), "c")
    assert found.dropped == {"n1": "no finite value"}


@pytest.mark.parametrize(
    ("outcome", "values", "words"),
    [
        ([0.1, 0.2], [1.0, 2.0], "expected a value of 3 networks or more, got 2"),
        ([0.1, 0.2, NAN], [1.0, 2.0, 3.0], "expected a value of 3 networks or more, got 2"),
        ([0.1, 0.2, 0.3], [2.0, 2.0, 2.0], "the measure is the same"),
        ([0.2, 0.2, 0.2], [1.0, 2.0, 3.0], "the outcome is the same"),
        ([0.1, 0.2, 0.3], [-1.0, -2.0, 3.0], "2 of 3 values are not positive"),
        ([0.1, 0.2, 0.3], [0.0, 0.0, 3.0], "give --no-log"),
        ([], [], "expected a value of 3 networks or more, got 0"),
    ],
)
def test_what_has_no_correlation_is_refused(outcome, values, words):
    found = correlate(networks(outcome), np.asarray(values, dtype=float), "c")
    assert words in found.refused
    assert found.line is None


def test_negative_values_are_taken_as_they_are_when_asked():
    found = correlate(networks([0.1, 0.2, 0.3]), np.array([-1.0, -2.0, -3.0]), "c", log=False)
    assert found.line is not None
    assert found.line.slope == pytest.approx(-0.1)


def signatures(n, *, noise=0.01):
    logs = RNG.normal(size=(n, 5))
    frame = pd.DataFrame(np.exp(logs), columns=list(SIGNATURE), index=[f"n{i}" for i in range(n)])
    outcome = pd.Series(logs @ [0.1, -0.2, 0.3, 0.0, 0.05] + 0.4 + RNG.normal(0, noise, n), index=frame.index)
    return frame, outcome


def test_the_margin_regression_finds_the_coefficients_it_was_made_of():
    found = margin_regression(*signatures(40, noise=1e-9))
    assert isinstance(found, MarginRegression)
    assert [found.coefficients[e] for e in ("intercept", *SIGNATURE)] == pytest.approx(
        [0.4, 0.1, -0.2, 0.3, 0.0, 0.05], abs=1e-6
    )
    assert found.r2 == pytest.approx(1)
    assert found.folds_r2 == pytest.approx(1)


def test_adjusted_r2_and_folds_by_their_formulas():
    frame, outcome = signatures(23, noise=0.5)
    found = margin_regression(frame, outcome, folds=7, seed=4)
    assert isinstance(found, MarginRegression)
    design = np.column_stack([np.ones(23), np.log(frame.to_numpy())])
    y = outcome.to_numpy()
    total = ((y - y.mean()) ** 2).sum()
    rest = ((y - design @ np.linalg.lstsq(design, y, rcond=None)[0]) ** 2).sum()
    assert found.r2 == pytest.approx(1 - rest / total, rel=1e-9)
    assert found.adjusted_r2 == pytest.approx(1 - (rest / (23 - 6)) / (total / 22), rel=1e-9)
    left = 0.0
    for train, test in KFold(7, shuffle=True, random_state=4).split(design):
        model = LinearRegression(fit_intercept=False).fit(design[train], y[train])
        left += ((y[test] - model.predict(design[test])) ** 2).sum()
    assert found.folds_r2 == pytest.approx(1 - left / total, rel=1e-9)


def test_margins_without_a_logarithm_are_left_out_and_named():
    frame, outcome = signatures(20)
    frame.loc[frame.index[:15], "lower_fence"] = -0.1
    frame.loc["n3", "q1"] = 0.0
    frame.loc["n4", "median"] = NAN
    found = margin_regression(frame, outcome)
    assert isinstance(found, MarginRegression)
    assert list(found.entries) == ["q1", "median", "q3", "upper_fence"]
    assert "not positive in 74% of the networks" in found.left_out["lower_fence"]
    assert set(found.dropped) == {"n3", "n4"}
    assert found.n == 18
    plain = margin_regression(frame, outcome, log=False)
    assert isinstance(plain, MarginRegression)
    assert (plain.n, len(plain.entries)) == (19, 5)


def test_too_few_networks_have_no_margin_regression():
    found = margin_regression(*signatures(6))
    assert isinstance(found, NoRegression)
    assert "5 entries wants 7 networks" in found.reason


def test_entries_that_move_together_have_no_regression():
    frame, outcome = signatures(12)
    frame["q3"] = frame["q1"] ** 2
    found = margin_regression(frame, outcome)
    assert isinstance(found, NoRegression)


def test_differences_in_standard_errors():
    assert combined_error(3.0, 4.0) == 5.0
    assert math.isnan(combined_error(3.0, NAN))
    assert z_score(10.0, 5.0) == 2.0
    assert z_score(-1.0, 0.0) == -math.inf
    assert z_score(0.0, 0.0) == 0.0
    assert math.isnan(z_score(NAN, 1.0))
