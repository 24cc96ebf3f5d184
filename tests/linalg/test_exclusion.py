"""What a Krylov run excludes: an inequality that always holds, and the probability of a miss."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from test_lanczos import Dense, normal, rotated

from landscape.linalg.exclusion import excluded_above, largest_share, miss_probability
from landscape.linalg.lanczos import lanczos

SPECTRUM = np.concatenate([[95.9, 84.7, 64.9, 61.8, 47.7], np.linspace(-3, 15, 55)])


@pytest.mark.parametrize("steps", [1, 2, 3, 5, 7])
def test_no_eigenvector_has_more_of_the_start_than_the_bound(steps: int) -> None:
    """At eigenvalues that are no Ritz values yet: where the polynomials vanish, rounding takes their place."""
    A = rotated(SPECTRUM)
    values, vectors = np.linalg.eigh(A)
    for seed in range(20):
        v = normal(len(A), seed)
        run = lanczos(Dense(A), v, steps).tridiagonal
        shares = (vectors.T @ (v / v.norm()).numpy()) ** 2
        open_ = np.abs(run.ritz().values[:, None] - values).min(0) > 1e-3
        assert open_.any()
        for value, share in zip(values[open_], shares[open_], strict=True):
            assert share <= largest_share(run, value) * (1 + 1e-6)


def test_the_bound_is_the_whole_share_once_the_space_is_invariant() -> None:
    """After P steps no other eigenvalue can be there at all."""
    A = rotated(np.array([4.0, 2.0, 1.0]))
    run = lanczos(Dense(A), normal(3), 3).tridiagonal
    assert largest_share(run, 5.0) == 0
    assert miss_probability(run, 5.0, 3) == 0
    assert excluded_above(run, 3) == pytest.approx(4.0)


def test_the_polynomials_are_those_of_the_lanczos_vectors() -> None:
    """1/kappa at an eigenvalue, from the Lanczos vectors themselves: sum_j (u'q_j)^2 / (u'v)^2."""
    A = rotated(SPECTRUM)
    _, vectors = np.linalg.eigh(A)
    v, u = normal(len(A)), vectors[:, -1]
    long = lanczos(Dense(A), v, 8)
    run = long.first(7).tridiagonal
    projections = (u @ long.basis.numpy()) ** 2
    assert largest_share(run, 95.9) == pytest.approx(projections[0] / projections.sum(), rel=1e-9)


@pytest.mark.parametrize("size", [2, 3, 1000])
def test_the_probability_is_that_of_a_direction_on_the_sphere(size: int) -> None:
    """Error budget: a share of 20,000 draws is known to 0.0035; four of them."""
    rng = np.random.default_rng(0)
    draws = rng.normal(size=(20_000, min(size, 50)))
    # the rest of a long vector by its squared length alone
    rest = rng.chisquare(size - draws.shape[1], 20_000) if size > draws.shape[1] else 0.0
    shares = draws[:, 0] ** 2 / ((draws**2).sum(1) + rest)
    A = np.diag(np.linspace(0, 1, 12))
    run = lanczos(Dense(A), normal(12), 3).tridiagonal
    for value in (1.05, 1.3, 2.0):
        expected = (shares <= largest_share(run, value)).mean()
        assert miss_probability(run, value, size) == pytest.approx(expected, abs=0.014)


def test_what_is_excluded_is_larger_for_more_confidence_and_less_after_more_steps() -> None:
    A = rotated(SPECTRUM)
    run = lanczos(Dense(A), normal(len(A)), 12)
    limits = [excluded_above(run.first(m).tridiagonal, len(A)) for m in range(2, 13)]
    assert limits == sorted(limits, reverse=True)
    last = run.first(6).tridiagonal
    assert excluded_above(last, len(A), 0.9) < excluded_above(last, len(A), 0.999)
    at = excluded_above(last, len(A), 0.95)
    assert miss_probability(last, at, len(A)) == pytest.approx(0.05, rel=1e-3)


def test_no_run_beyond_the_limit_is_wrong_more_often_than_claimed() -> None:
    """1,000 starts: an eigenvalue lies above what a run excludes in at most 0.1% of them.

    Error budget: 0.1% of 1,000 has a standard deviation of 1; four of them. That runs of 4 steps miss it at all is
    asserted too: the test must be able to fail.
    """
    A = np.diag(SPECTRUM)
    operator = Dense(A)
    missed = 0
    for seed in range(1000):
        run = lanczos(operator, normal(len(A), seed), 4).tridiagonal
        missed += excluded_above(run, len(A)) < SPECTRUM.max()
    assert missed <= 1 + 4 * 1
    assert sum(lanczos(operator, normal(len(A), s), 4).tridiagonal.ritz().values[0] < 90 for s in range(200)) > 0


def test_an_operator_of_zeros_and_of_one_dimension() -> None:
    zero = lanczos(Dense(np.zeros((4, 4))), normal(4), 4).tridiagonal
    assert excluded_above(zero, 4) == 0
    one = lanczos(Dense(np.array([[-3.0]])), torch.ones(1, dtype=torch.float64), 1).tridiagonal
    assert excluded_above(one, 1) == -3
