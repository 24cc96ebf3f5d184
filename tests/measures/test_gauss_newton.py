"""Traces, eigenvalues and norms of Gauss-Newton and Fisher matrices, against dense ones and on paper."""

from __future__ import annotations

import math

import numpy as np
import oracles
import pytest
import torch
from cases import CASES, Case, N, case, labels, normal
from oracles import Function
from torch import nn

import landscape
from landscape import Problem
from landscape.errors import NotApplicableError
from landscape.measures.sharing import Shared
from landscape.parameters import group_parameters

# error budget: sums of a few hundred float64 terms
CLOSE = {"rel": 1e-10, "abs": 1e-13}


def dense(small: Case, measure: str) -> np.ndarray:
    """The diagonal of the matrix whose trace a measure is."""
    f = small.function
    if measure == "ggn_trace":
        return np.diag(oracles.gauss_newton(f))
    if measure == "fisher_trace":
        assert small.fisher is not None
        return np.diag(oracles.label_fisher(f, small.fisher, small.label_weights))
    return np.diag(oracles.output_gauss_newton(f)) * f.theta.numpy() ** 2


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("measure", ["ggn_trace", "fisher_trace", "ctk_trace"])
def test_traces_are_those_of_the_dense_matrices(name: str, measure: str) -> None:
    small = case(name)
    diagonal = dense(small, measure)
    record = getattr(landscape, measure)(small.problem(), by="role", budget=60)
    groups = group_parameters(small.problem().infos, "role")
    if record.details["estimator"] == "exact":
        assert record.stderr == 0
        assert record.value == pytest.approx(diagonal.sum(), **CLOSE)
        for group, members in groups.items():
            assert record.groups[group] == pytest.approx(diagonal[small.function.columns(members)].sum(), **CLOSE)
    else:
        assert 0 < record.stderr < 0.3 * record.value
        assert record.value == pytest.approx(diagonal.sum(), abs=4.5 * record.stderr)
        for group, members in groups.items():
            error = record.details["groups_stderr"][group]
            expected = diagonal[small.function.columns(members)].sum()
            assert record.groups[group] == pytest.approx(expected, abs=5 * error + 1e-12)
    assert sum(record.groups.values()) == pytest.approx(record.value, rel=1e-12)
    if measure == "fisher_trace":
        f = small.function
        squares = f.weights @ oracles.per_sample_gradients(f) ** 2 / f.weights.sum()
        assert record.details["variants"]["empirical"] == pytest.approx(squares.sum(), **CLOSE)
        for group, members in groups.items():
            assert record.details["empirical_groups"][group] == pytest.approx(
                squares[f.columns(members)].sum(), **CLOSE
            )


def many_outputs() -> tuple[Problem, Function]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 20)).double()
        data = normal(N, 4), labels(20)
    return Problem(model, nn.CrossEntropyLoss(), data), Function(model, nn.CrossEntropyLoss(), *data, np.ones(N))


@pytest.mark.parametrize("measure", ["ggn_trace", "fisher_trace", "ctk_trace"])
def test_the_standard_error_of_signs_covers_what_it_claims(measure: str) -> None:
    """60 seeds, 20 outputs.

    Error budget: the mean of squared scores over 60 seeds varies by sqrt(2/60) = 0.18 about some 1.1: four of these.
    """
    problem, f = many_outputs()
    small = Case("many", problem.model, problem.loss, f.inputs, f.targets)
    truth = dense(small, measure).sum()
    scores = []
    for seed in range(60):
        record = getattr(landscape, measure)(problem, seed=seed, budget=15, rtol=1e-6)
        assert record.details["estimator"] == "per-sample"
        assert not record.converged
        scores.append((record.value - truth) / record.stderr)
    assert abs(np.mean(scores)) < 4.5 * math.sqrt(1.1 / 60)
    assert 0.4 < np.mean(np.square(scores)) < 1.9


def test_labels_drawn_from_the_model_give_the_fisher_trace() -> None:
    """N ||mean gradient of drawn labels||^2 is an unbiased estimate of Tr F, with nothing of ours in it.

    Error budget: 2,000 draws; their own standard error, 4.5 times.
    """
    small = case("logistic_regression")
    p = torch.softmax(small.function.outputs(small.function.theta, small.inputs).detach(), 1)
    generator = torch.Generator().manual_seed(0)
    x = torch.cat([small.inputs, torch.ones(N, 1, dtype=torch.float64)], 1)  # of a linear layer with a bias
    drawn = torch.multinomial(p, 2000, replacement=True, generator=generator)  # (N, draws)
    slopes = p[:, None] - nn.functional.one_hot(drawn, 3)  # (N, draws, K)
    gradients = torch.einsum("ndk,ni->dki", slopes, x) / N
    estimates = N * gradients.square().sum((1, 2))
    error = float(estimates.std()) / math.sqrt(2000)
    assert landscape.fisher_trace(small.problem()).value == pytest.approx(float(estimates.mean()), abs=4.5 * error)


def test_for_softmax_the_fisher_matrix_is_the_gauss_newton_matrix_and_computed_once() -> None:
    problem = case("batch_norm").problem()
    shared = Shared(problem)
    ggn = landscape.ggn_trace(problem, shared=shared)
    fisher = landscape.fisher_trace(problem, shared=shared)
    assert fisher.value == ggn.value
    assert fisher.cost == pytest.approx(landscape.fisher_trace(problem).cost)  # told as if it were alone


def test_where_samples_depend_on_each_other_the_trace_comes_from_products() -> None:
    small = case("batch_norm")
    problem = small.problem(bn="train")
    record = landscape.ggn_trace(problem, rtol=0.1, budget=400)
    assert record.details["estimator"] == "hutchinson"
    top = landscape.ggn_top_eigenvalues(problem, rtol=1e-8, budget=1e4, top=1)
    assert 0 < top.value < record.value + 4 * record.stderr
    for measure in ("fisher_trace", "ctk_trace", "gauss_newton_norm", "kfac_gn_norm", "normalized_curvature_trace"):
        with pytest.raises(NotApplicableError, match="depend on each other"):
            getattr(landscape, measure)(problem)


@pytest.mark.parametrize("name", CASES)
def test_gauss_newton_eigenvalues_against_dense(name: str) -> None:
    small = case(name)
    values, vectors = np.linalg.eigh(oracles.gauss_newton(small.function))
    record = landscape.ggn_top_eigenvalues(small.problem(), rtol=1e-8, budget=2000, top=2, by="tensor")
    assert record.converged
    assert record.value == pytest.approx(values[-1], abs=record.stderr + 1e-12 * values[-1])
    distance = [np.abs(values - v).min() for v in record.details["eigenvalues"]]
    limits = zip(distance, record.details["residuals"], strict=True)
    assert all(d <= r + 1e-12 * values[-1] for d, r in limits)
    assert record.cost == pytest.approx(5 / 3 * record.details["products"])
    if values[-1] - values[-2] > 1e-3 * values[-1]:
        for tensor, share in record.groups.items():
            mass = (vectors[small.function.columns([tensor]), -1] ** 2).sum()
            assert share == pytest.approx(values[-1] * mass, abs=1e-3 * values[-1])


@pytest.mark.parametrize("name", CASES)
def test_gauss_newton_norm_is_the_form_of_the_dense_matrix(name: str) -> None:
    small = case(name)
    theta, G = small.function.theta.numpy(), oracles.output_gauss_newton(small.function)
    record = landscape.gauss_newton_norm(small.problem(), by="layer")
    assert record.value == pytest.approx(theta @ G @ theta, **CLOSE)
    assert record.details["root"] ** 2 == pytest.approx(record.value, rel=1e-12)
    for group, members in group_parameters(small.problem().infos, "layer").items():
        at = small.function.columns(members)
        assert record.groups[group] == pytest.approx(theta[at] @ G[np.ix_(at, at)] @ theta[at], **CLOSE)


@pytest.mark.parametrize("name", ["relu_without_bias", "deep_linear"])
def test_without_biases_it_is_nine_times_the_mean_square_of_the_outputs(name: str) -> None:
    """Three layers: J theta = 3 f, and J_l theta_l = f for each."""
    small = case(name)
    f = small.function.outputs(small.function.theta, small.inputs).detach().numpy()
    square = (f**2).sum(1).mean()
    record = landscape.gauss_newton_norm(small.problem(), by="layer")
    assert record.value == pytest.approx(9 * square, rel=1e-12)
    assert list(record.groups.values()) == pytest.approx([square] * 3, rel=1e-12)
    shared = Shared(small.problem())
    assert landscape.gauss_newton_norm(small.problem(), shared=shared).cost == pytest.approx(2 / 3)
    assert landscape.fisher_rao(small.problem(), shared=shared).cost == pytest.approx(2 / 3)


def test_what_a_loss_or_an_output_does_not_define_is_said() -> None:
    data = (torch.randn(4, 3), torch.randn(4, 2))
    problem = Problem(nn.Linear(3, 2), lambda f, y: (f - y).abs().sum(1), data)
    with pytest.raises(NotApplicableError, match="no label distribution"):
        landscape.fisher_trace(problem)
    assert landscape.ctk_trace(problem).value > 0
    assert landscape.gauss_newton_norm(problem).value > 0


@pytest.mark.parametrize("measure", ["ggn_trace", "fisher_trace", "ctk_trace", "gauss_newton_norm", "kfac_gn_norm"])
def test_sampling_errors_cover_draws_from_a_population(measure: str) -> None:
    """80 draws of 80 of 400 samples.

    Error budget: squared errors sqrt(2/80) = 0.16 and claims of heavy-tailed values some 0.05: four of both make 0.67.
    """
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(400, 4)), rng.integers(0, 3, 400)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)).double()
    whole = Problem(model, nn.CrossEntropyLoss(), (torch.from_numpy(x), torch.from_numpy(y)), batch_size=400)
    compute = getattr(landscape, measure)
    truth = compute(whole)
    assert truth.sampling_stderr == 0
    errors, claims = [], []
    for _ in range(80):
        record = compute(whole.choose(torch.from_numpy(np.sort(rng.choice(400, 80, replace=False)))))
        errors.append((record.value - truth.value) ** 2)
        claims.append(record.sampling_stderr**2)
    assert 0.33 < np.mean(errors) / np.mean(claims) < 1.67
