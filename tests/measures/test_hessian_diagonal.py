"""The diagonal of the Hessian against dense Hessians, and what its errors claim."""

from __future__ import annotations

import numpy as np
import oracles
import pytest
import torch
from cases import CASES, case
from torch import nn

import landscape
from landscape import Problem
from landscape.curvature.linear_tensors import linear_tensors
from landscape.measures.diagonal_estimate import Diagonal, estimate_diagonal
from landscape.measures.sharing import Shared
from landscape.parameters import group_parameters


def estimate(problem: Problem, *, budget: float = 200.0, rtol: float = 0.05, seed: int = 0) -> Diagonal:
    return estimate_diagonal(
        problem, rtol=rtol, budget=budget, seed=seed, hvp="exact", shared=Shared(problem), on_progress=None
    )


@pytest.mark.parametrize("name", CASES)
def test_a_tensor_is_linear_where_the_residual_has_no_block_of_it(name: str) -> None:
    """H_ss = G_ss, densely; whatever is left out of the probes is known."""
    small = case(name)
    f = small.function
    R = oracles.hessian(f) - oracles.gauss_newton(f)
    found = linear_tensors(small.problem())
    for info in small.problem().infos:
        at = f.columns([info.name])
        empty = np.abs(R[np.ix_(at, at)]).max() < 1e-12 * max(np.abs(R).max(), 1e-3)
        assert (info.name in found) <= empty, info.name
        if name in ("batch_norm", "relu_without_bias", "deep_linear"):
            assert info.name in found


@pytest.mark.parametrize("name", ["batch_norm", "relu_without_bias", "deep_linear", "logistic_regression"])
def test_it_is_exact_where_the_outputs_are_linear_in_each_tensor(name: str) -> None:
    small = case(name)
    f = small.function
    truth = np.diag(oracles.hessian(f))
    found = estimate(small.problem())
    np.testing.assert_allclose(found.values.numpy(), truth, atol=1e-12 * np.abs(truth).max())
    assert (found.probes, found.relative_error, found.converged) == (0, 0.0, True)
    record = landscape.hessian_diagonal(small.problem(), by="tensor")
    assert record.value == pytest.approx(truth.sum(), rel=1e-10)
    assert record.stderr == 0
    entry = record.details["distribution"]
    assert entry["median"] == pytest.approx(np.median(truth), rel=1e-9)
    assert entry["negative"] == 0
    for tensor in record.groups:
        own = truth[f.columns([tensor])]
        assert record.groups[tensor] == pytest.approx(own.sum(), rel=1e-9, abs=1e-15)
        assert record.details["group_distributions"][tensor]["q3"] == pytest.approx(np.quantile(own, 0.75), rel=1e-9)


@pytest.mark.parametrize("name", ["label_smoothing", "layer_and_group_norm", "tied", "attention", "recurrent"])
def test_the_variances_and_the_error_are_those_over_seeds(name: str) -> None:
    """20 seeds: squared scores of some fifty entries.

    Error budget: entries of one seed are correlated; the mean of squared scores over 20 seeds lies within 0.5 and 1.7.
    """
    small = case(name)
    truth = np.diag(oracles.hessian(small.function))
    scores, errors, claims, sums = [], [], [], []
    for seed in range(20):
        found = estimate(small.problem(), budget=30, rtol=1e-6, seed=seed)
        noisy = found.variances.numpy() > 1e-12 * found.variances.numpy().max()
        difference = found.values.numpy() - truth
        assert np.abs(difference[~noisy]).max(initial=0.0) < 1e-5 * np.abs(truth).max()
        scores.append(np.mean(difference[noisy] ** 2 / found.variances.numpy()[noisy]))
        errors.append((difference**2).sum() / (truth**2).sum())
        claims.append(found.relative_error**2)
        whole = found.trace.whole()
        sums.append((whole.value - truth.sum()) / whole.stderr)
    assert 0.5 < np.mean(scores) < 1.7
    assert 0.4 < np.mean(errors) / np.mean(claims) < 2
    assert abs(np.mean(sums)) < 4.5 / np.sqrt(20)
    assert 0.3 < np.mean(np.square(sums)) < 2.3


def test_more_probes_meet_the_asked_error() -> None:
    small = case("label_smoothing")
    truth = np.diag(oracles.hessian(small.function))
    found = estimate(small.problem(), rtol=0.05, budget=400)
    assert found.converged
    assert found.relative_error <= 0.05
    assert np.linalg.norm(found.values.numpy() - truth) < 0.05 * 2 * np.linalg.norm(truth)


def test_with_many_outputs_the_gauss_newton_part_is_known_by_signs() -> None:
    """20 seeds; every entry is noisy, and the mean over seeds is the dense diagonal within its error."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 20)).double()
        x, y = torch.randn(40, 4, dtype=torch.float64), torch.randint(20, (40,))
    problem = Problem(model, nn.CrossEntropyLoss(), (x, y))
    f = oracles.Function(model, nn.CrossEntropyLoss(), x, y, np.ones(40))
    truth = np.diag(oracles.hessian(f))
    runs = [estimate(problem, budget=8, rtol=1e-6, seed=seed) for seed in range(20)]
    assert all(run.probes > 0 for run in runs)
    mean = np.mean([run.values.numpy() for run in runs], axis=0)
    error = np.sqrt(np.mean([run.variances.numpy() for run in runs], axis=0) / 20)
    assert np.abs(mean - truth).max() < 5 * error.max()
    assert np.mean(((mean - truth)[error > 0] / error[error > 0]) ** 2) < 2


def test_groups_and_shares_of_a_network_with_negative_curvature() -> None:
    small = case("layer_and_group_norm")
    f = small.function
    truth = np.diag(oracles.hessian(f))
    record = landscape.hessian_diagonal(small.problem(), budget=400, rtol=0.01, by="layer")
    for group, members in group_parameters(small.problem().infos, "layer").items():
        error = record.details["groups_stderr"][group]
        assert record.groups[group] == pytest.approx(truth[f.columns(members)].sum(), abs=4.5 * error + 1e-12)
    summary, error = record.details["distribution"], record.details["distribution_stderr"]
    assert summary["clearly_negative"] <= summary["negative"]
    assert summary["median"] == pytest.approx(np.median(truth), abs=5 * error["median"] + 1e-6)
    assert sum(record.details["histogram"]["counts"]) == len(truth)
