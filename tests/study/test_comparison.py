"""The rule for what runs show: the t test of paired differences, as SciPy computes it."""

import math

import numpy as np
import pytest
from scipy import stats

from landscape.study.comparison import compare


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("count", [2, 3, 5, 10])
def test_the_verdict_is_that_of_a_paired_t_test(seed, count):
    rng = np.random.default_rng([seed, count])
    one, other = rng.normal(0.5, 1, count), rng.normal(0, 0.5, count)
    found = compare(dict(enumerate(one)), dict(enumerate(other)))
    test = stats.ttest_rel(one, other)
    assert found.difference == pytest.approx(np.mean(one) - np.mean(other))
    assert found.difference / found.stderr == pytest.approx(test.statistic)
    assert found.verdict == ("not shown" if test.pvalue > 0.05 else "shown" if test.statistic > 0 else "the opposite")


def test_seeds_that_only_one_side_has_do_not_count():
    found = compare({0: 1.0, 1: 2.0, 2: math.nan, 5: 9.0}, {0: 0.0, 1: 0.5, 2: 1.0, 4: 7.0})
    assert found.seeds == 2
    assert found.difference == pytest.approx(1.25)


@pytest.mark.parametrize(("one", "other"), [({}, {}), ({0: 1.0}, {0: 0.0}), ({0: 1.0, 1: 1.0}, {2: 0.0, 3: 0.0})])
def test_below_two_pairs_there_is_no_verdict(one, other):
    assert compare(one, other).verdict == "no verdict"


def test_equal_runs_show_nothing_and_equal_differences_all():
    same = {0: 0.97, 1: 0.98}
    assert compare(same, same).verdict == "not shown"
    assert compare({0: 1.5, 1: 2.5}, {0: 1.0, 1: 2.0}).verdict == "shown"
