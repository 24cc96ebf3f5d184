"""The spectral density of the Hessian against dense matrices and spectra that are known whole."""

from __future__ import annotations

import math

import numpy as np
import oracles
import pytest
import torch
from cases import CASES, case
from torch import nn

import landscape
from landscape import Problem
from landscape.linalg.lanczos import lanczos
from landscape.measures import compute_spectrum

SMALL = [name for name in CASES if case(name).problem().size <= 80]
OUTLIERS = [95.9, 84.7, 64.9, 61.8, 47.7, 43.0, 33.5, 29.7, 26.1, 25.0, 23.3, 20.4, 19.1, 18.2, 17.4]


def diagonal(values: np.ndarray) -> Problem:
    """A problem whose Hessian is diagonal."""
    scale = torch.from_numpy(values)

    class Diagonal(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.theta = nn.Parameter(torch.ones(len(values), dtype=torch.float64))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (x * self.theta.square() * scale / 2).sum(1)

    return Problem(Diagonal(), lambda f, y: f, (torch.ones(1, 1, dtype=torch.float64), torch.zeros(1)))


def bulk(size: int) -> np.ndarray:
    """Outliers over a bulk near zero whose upper tail reaches into them, some of it negative."""
    q = (np.arange(size - len(OUTLIERS)) + 0.5) / (size - len(OUTLIERS))
    return np.concatenate([OUTLIERS, np.clip(0.02 / (1 - q) ** 0.9 - 0.03, None, 16.0) - 0.5 * (1 - q) ** 20])


@pytest.mark.parametrize("name", SMALL)
def test_a_complete_run_finds_every_eigenvalue_and_the_density_is_exact(name: str) -> None:
    small = case(name)
    problem = small.problem()
    dense = np.linalg.eigvalsh(oracles.hessian(small.function))
    scale = np.abs(dense).max()
    spectrum = compute_spectrum(problem, rtol=1e-15, fewest=problem.size, most=problem.size)
    ritz = spectrum.space.tridiagonal.ritz()
    np.testing.assert_allclose(ritz.values[::-1], dense, atol=1e-10 * scale)
    record = landscape.spectral_density(problem, budget=1e6, spectrum=spectrum)
    assert record.value == pytest.approx(dense.mean(), rel=1e-9, abs=1e-12 * scale)
    assert record.stderr == 0
    assert record.converged
    assert record.details["deflated"] == problem.size
    assert record.details["nodes"] == pytest.approx(list(dense), abs=1e-10 * scale)
    assert record.details["weights"] == pytest.approx([1 / problem.size] * problem.size)


@pytest.mark.parametrize("budget", [2.4, 10, 30, 100])
def test_the_density_keeps_to_its_budget(budget: float) -> None:
    """One product for the eigenvalues and one for the probes at least."""
    problem = case("batch_norm").problem()
    record = landscape.spectral_density(problem, rtol=1e-9, budget=budget, mean="products")
    assert record.cost <= max(budget, 4.8) * (1 + 1e-9)
    assert not record.converged
    record = landscape.spectral_density(problem, rtol=1e-9, budget=budget)
    assert record.cost <= max(budget, 4.8) * (1 + 1e-9)
    assert record.converged == (record.stderr == 0)


def test_the_mean_is_the_exact_trace_where_that_is_known() -> None:
    """Of a network of convolutions and ReLU, against the dense Hessian; a tanh network has probes of its mean."""
    small = case("batch_norm")
    dense = oracles.hessian(small.function)
    record = landscape.spectral_density(small.problem(), budget=100)
    assert record.details["deflated"] < len(dense)
    assert record.value == pytest.approx(np.trace(dense) / len(dense), rel=1e-10)
    assert (record.stderr, record.details["probes"]) == (0, 0)
    assert np.dot(record.details["nodes"], record.details["weights"]) == pytest.approx(record.value, rel=1e-10)
    probed = landscape.spectral_density(small.problem(), budget=100, mean="products")
    assert probed.stderr > 0
    assert probed.value == pytest.approx(record.value, abs=4.5 * probed.stderr)


@pytest.mark.parametrize("size", [1_000, 6_000])
def test_the_mean_is_the_trace_within_its_error(size: int) -> None:
    """30 seeds, with two runs and with one that sees the shape: scores of variance 1, as far as the errors are known.

    Error budget: the 0.05% and 99.95% points of chi-square over 29 make 0.6 and 1.45; the claim itself is off by some
    15%, as the fourth moment of this spectrum makes it.
    """
    values = bulk(size)
    problem = diagonal(values)
    scores, probes = [], []
    for seed in range(30):
        record = landscape.spectral_density(problem, rtol=0.05, seed=seed, budget=300)
        assert record.converged
        assert record.stderr <= 0.05 * record.value
        assert record.details["runs"] == (2 if size < 5_000 else 1)
        assert record.value == pytest.approx(np.dot(record.details["nodes"], record.details["weights"]), rel=1e-6)
        assert sum(record.details["weights"]) == pytest.approx(1)
        scores.append((record.value - values.mean()) / record.stderr)
        probes.append(record.details["probes"])
    assert max(probes) > 1  # the further probes are what is looked at
    assert abs(np.mean(scores)) < 4 / math.sqrt(30)
    assert 0.5 < np.std(scores, ddof=1) < 1.6


def test_the_counts_of_eigenvalues() -> None:
    """Between its nodes the distribution function is the spectrum's, up to what a Gauss rule and one probe leave open.

    Error budget: by the inequality of Chebyshev, Markov and Stieltjes the probe's own function lies within the larger
    of the two weights beside the point; its weights are those of a random direction, with a standard error of
    sqrt(2 F (1 - F) / P), four of them; a tenth for the tilt; one count for the space that was taken out.
    """
    values = bulk(20_000)
    problem = diagonal(values)
    for seed in range(3):
        record = landscape.spectral_density(problem, seed=seed)
        nodes, weights = np.array(record.details["nodes"]), np.array(record.details["weights"])
        below = weights.cumsum()[:-1]
        middle = (nodes[1:] + nodes[:-1]) / 2
        truth = (values[:, None] < middle).mean(0)
        room = np.maximum(weights[1:], weights[:-1]) + 4 * np.sqrt(2 * truth * (1 - truth) / len(values))
        above = 1 - np.minimum(truth, below)
        assert (np.abs(below - truth) <= room + 0.1 * np.minimum(truth, above) + 1.5 / len(values)).all()
        assert (np.abs(nodes[-3:] - sorted(values)[-3:]) < [5, 2, 1]).all()


def test_taking_out_a_krylov_space_changes_no_count_by_more_than_one() -> None:
    rng = np.random.default_rng(0)
    for steps in (1, 3, 7):
        V, _ = np.linalg.qr(rng.normal(size=(40, 40)))
        A = V * (rng.normal(size=40) ** 3) @ V.T

        class Dense:
            size, dtype, device = 40, torch.float64, torch.device("cpu")

            def matmat(self, V: torch.Tensor, A: np.ndarray = A) -> torch.Tensor:
                return torch.from_numpy(A) @ V

        Q = lanczos(Dense(), torch.from_numpy(rng.normal(size=40)), steps).basis.numpy()
        rest = np.eye(40) - Q @ Q.T
        apart = np.linalg.eigvalsh(Q @ Q.T @ A @ Q @ Q.T + rest @ A @ rest)
        whole = np.linalg.eigvalsh(A)
        for x in np.concatenate([whole, apart]) + 1e-9:
            assert abs((whole > x).sum() - (apart > x).sum()) <= 1


def test_it_takes_of_a_longer_run_what_it_would_have_made_alone() -> None:
    problem = diagonal(bulk(1_000))
    alone = landscape.spectral_density(problem, seed=3)
    longer = compute_spectrum(problem, fewest=30, most=30, seed=3)
    shared = landscape.spectral_density(problem, seed=3, spectrum=longer)
    assert shared.value == alone.value
    assert shared.details == alone.details
    assert shared.cost == pytest.approx(alone.cost)
    assert alone.details["deflated"] <= 16


def test_the_curve_is_a_density_around_the_nodes() -> None:
    record = landscape.spectral_density(case("batch_norm").problem(), budget=60)
    x, y = np.array(record.details["curve"]["x"]), np.array(record.details["curve"]["density"])
    assert np.trapezoid(y, x) == pytest.approx(1, abs=1e-3)
    assert x[0] < min(record.details["nodes"])
    assert x[-1] > max(record.details["nodes"])
