"""Quadrature: exact moments, weights that sum to 1, and a mean without bias whatever was taken out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from test_lanczos import Dense, normal, rotated

from landscape.linalg.lanczos import lanczos
from landscape.linalg.probes import gaussian
from landscape.linalg.quadrature import Density, average, combine, mean_stderr, probe_density, tilted


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_a_run_of_m_steps_gives_the_first_2m_minus_1_moments_exactly(steps: int) -> None:
    """v' A^k v = sum_i w_i theta_i^k for k < 2m, and not for k = 2m."""
    A, v = rotated(np.random.default_rng(0).normal(size=20)), normal(20)
    rule = probe_density(lanczos(Dense(A), v, steps).tridiagonal)
    unit = (v / v.norm()).numpy()
    assert rule.weights.sum() == pytest.approx(1, rel=1e-13)
    power = unit
    for k in range(2 * steps):
        assert rule.weights @ rule.nodes**k == pytest.approx(unit @ power, rel=1e-11, abs=1e-13), k
        power = A @ power
    assert rule.weights @ rule.nodes ** (2 * steps) < unit @ power - 1e-6


def test_a_known_spectrum_comes_back_whole() -> None:
    """All P eigenvalues known: the density is their comb."""
    values = [3.0, 1.0, 1.0, -2.0]
    density = combine(4, values, None)
    assert density.nodes.tolist() == sorted(values)
    assert density.weights.tolist() == [0.25] * 4
    assert density.mean == pytest.approx(0.75)


def test_weights_sum_to_one_with_and_without_deflation() -> None:
    probes = [Density(np.array([0.0, 1.0]), np.array([0.2, 0.8])), Density(np.array([0.5]), np.array([1.0]))]
    for known in ([], [7.0], [7.0, 5.0, 3.0]):
        density = combine(10, known, average(probes))
        assert density.weights.sum() == pytest.approx(1, rel=1e-14)
        assert density.mean == pytest.approx((sum(known) + (10 - len(known)) * 0.65) / 10)


def test_a_tilt_moves_the_mean_and_nothing_else_that_it_need_not() -> None:
    """Of all weights on these nodes with that mean, the nearest in relative entropy: checked by a general optimiser."""
    rule = Density(np.array([-1.0, 0.0, 0.5, 40.0]), np.array([0.3, 0.6, 0.09, 0.01]))
    for mean in (-0.5, rule.mean, 0.2, 10.0):
        found = tilted(rule, mean)
        assert found.mean == pytest.approx(mean, abs=1e-9)
        assert found.weights.sum() == pytest.approx(1, rel=1e-13)
        assert found.nodes is rule.nodes
        constraints = [
            {"type": "eq", "fun": lambda w: w.sum() - 1},
            {"type": "eq", "fun": lambda w, mean=mean: w @ rule.nodes - mean},
        ]
        best = minimize(
            lambda w: (w * np.log(w / rule.weights)).sum(), found.weights * 0.9 + 0.025, bounds=[(1e-9, 1)] * 4,
            constraints=constraints, tol=1e-13,
        )  # fmt: skip
        assert (found.weights * np.log(found.weights / rule.weights)).sum() <= best.fun + 1e-6
    np.testing.assert_allclose(tilted(rule, rule.mean).weights, rule.weights, rtol=1e-9)
    for impossible in (-1.0, 40.0, 50.0, float("nan")):
        assert tilted(rule, impossible) is rule
    single = Density(np.array([2.0]), np.array([1.0]))
    assert tilted(single, 2.5) is single


@pytest.mark.parametrize("inexact", [0.0, 0.3])
def test_the_mean_is_unbiased_whatever_was_taken_out(inexact: float) -> None:
    """In 6 dimensions, where the norms of projected sign vectors would bias it by 1%: 1,500 probes of one sphere.

    Error budget: four standard errors of the mean over the probes. Vectors that are no eigenvectors enter with their
    Rayleigh quotients, so that the known part and the rest still make up the trace.
    """
    values = np.array([10.0, 5.0, 1.0, -1.0, -3.0, 0.5])
    A = rotated(values)
    _, V = np.linalg.eigh(A)
    rough = V[:, [5, 4]] + inexact * np.random.default_rng(1).normal(size=(6, 2))
    U, _ = np.linalg.qr(rough)
    known = np.diag(U.T @ A @ U).tolist()
    means = []
    for k in range(1500):
        run = lanczos(Dense(A), gaussian(6, 0, k, dtype=torch.float64), 1, deflate=[torch.from_numpy(U)])
        means.append(combine(6, known, probe_density(run.tridiagonal)).mean)
    assert np.mean(means) == pytest.approx(values.mean(), abs=4 * np.std(means) / np.sqrt(len(means)))


def test_smoothing_keeps_the_mass_and_the_mean_and_is_a_gaussian_for_one_node() -> None:
    grid = np.linspace(-10, 10, 4001)
    step = grid[1] - grid[0]
    density = Density(np.array([-1.0, 2.0]), np.array([0.25, 0.75]))
    curve = density.smooth(0.3, grid)
    assert curve.sum() * step == pytest.approx(1, rel=1e-9)
    assert (curve * grid).sum() * step == pytest.approx(density.mean, rel=1e-9)
    peak = Density(np.array([2.0]), np.array([1.0])).smooth(0.3, np.array([2.0, 2.3]))
    assert peak[0] == pytest.approx(1 / (0.3 * np.sqrt(2 * np.pi)))
    assert peak[1] == pytest.approx(peak[0] * np.exp(-0.5))


def test_the_density_of_a_known_law() -> None:
    """A semicircle of radius 2: the moments of its density are the Catalan numbers 1, 2, 5.

    Error budget: a Wigner matrix of size 300 has moments within some 3/300 of the limit's, one probe adds
    sqrt(2/300) times the moment's spread; ten probes average that to below 0.05 + 0.02 of the moment.
    """
    rng = np.random.default_rng(0)
    G = rng.normal(size=(300, 300))
    A = (G + G.T) / np.sqrt(2 * 300)
    rules = [probe_density(lanczos(Dense(A), normal(300, k), 12).tridiagonal) for k in range(10)]
    density = combine(300, [], average(rules))
    for order, moment in ((2, 1), (4, 2), (6, 5)):
        assert density.weights @ density.nodes**order == pytest.approx(moment, rel=0.1)
    assert density.nodes.min() > -2.15
    assert density.nodes.max() < 2.15


@pytest.mark.parametrize("deflated", [0, 2])
def test_the_standard_error_of_the_mean_is_that_of_directions_on_a_sphere(deflated: int) -> None:
    """The claim, averaged over 4,000 runs of one probe, against the spread of those probes' means.

    Error budget: a variance from n values is known to sqrt(2/n) = 2.2%, or 4% with the heavier tails of few dimensions,
    and a mean of 4,000 claims, which spread by their own size or so, to 2%; four of each.
    """
    values = np.array([10.0, -4.0, 3.0, 1.0, 0.5, 0.5, 0.0, -1.0])
    A = rotated(values)
    U = np.linalg.eigh(A)[1][:, [7, 0]] if deflated else np.zeros((8, 0))
    inside = (np.eye(8) - U @ U.T) @ A @ (np.eye(8) - U @ U.T)
    means, claims = [], []
    for k in range(4000):
        run = lanczos(Dense(A), gaussian(8, 0, k, dtype=torch.float64), 1, deflate=[torch.from_numpy(U)]).tridiagonal
        means.append(run.alpha[0])
        claims.append(mean_stderr([run], 8 - deflated) ** 2)
    d = 8 - deflated
    exact = 2 / (d + 2) * (np.trace(inside @ inside) / d - (np.trace(inside) / d) ** 2)
    assert np.var(means) == pytest.approx(exact, rel=0.16)
    assert np.mean(claims) == pytest.approx(exact, rel=0.08)
