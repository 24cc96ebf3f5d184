"""The trace of the curvature at unit norm, against dense Jacobians, and that the scale of weights does not matter."""

from __future__ import annotations

import numpy as np
import oracles
import pytest
import torch
from cases import N, case, labels, normal
from oracles import Function
from torch import nn

from landscape.errors import NotApplicableError
from landscape.measures.normalized_curvature import normalized_curvature_trace
from landscape.parameters import group_parameters
from landscape.problem import Problem


def dense(f: Function, layers, kind):
    """||theta_l||^2 E Tr(J_l' M J_l) with M the identity or diag(p) - p p', one sample and one layer at a time."""
    J = oracles.parameter_jacobian(f)
    J = J.reshape(len(f.inputs), -1, J.shape[-1])
    p = oracles.softmax(f.outputs(f.theta, f.inputs).detach().numpy())
    weights = f.weights / f.weights.sum()
    result = {}
    for layer, names in layers.items():
        columns = f.columns(names)
        total = 0.0
        for n, w in enumerate(weights):
            M = np.eye(p.shape[1]) if kind == "gauss-newton" else np.diag(p[n]) - np.outer(p[n], p[n])
            total += w * np.trace(J[n][:, columns].T @ M @ J[n][:, columns])
        result[layer] = float((f.theta.numpy()[columns] ** 2).sum()) * total
    return result


def kinds(problem, layers, **options):
    return normalized_curvature_trace(problem, members=layers, **options).details["kinds"]


@pytest.mark.parametrize("name", ["logistic_regression", "batch_norm", "layer_and_group_norm", "weighted_and_ignored"])
@pytest.mark.parametrize("kind", ["fisher", "gauss-newton"])
def test_with_few_outputs_it_is_the_dense_trace(name, kind):
    small = case(name)
    problem = small.problem()
    layers = group_parameters(problem.infos, "layer")
    record = normalized_curvature_trace(problem, members=layers, kind=kind, by="layer")
    expected = dense(small.function, layers, kind)
    assert record.groups == pytest.approx(expected, rel=1e-9)
    assert record.value == pytest.approx(sum(expected.values()), rel=1e-9)
    assert record.stderr == 0
    assert record.groups == record.details["kinds"][kind.replace("-", "_")]["layers"]


@pytest.mark.parametrize("kind", ["fisher", "gauss_newton"])
def test_with_many_outputs_it_lies_within_its_error_and_knows_no_batch_size(kind):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 20)).double()
        data = normal(N, 4), labels(20)
    problem = Problem(model, nn.CrossEntropyLoss(), data)
    layers = group_parameters(problem.infos, "layer")
    found = kinds(problem, layers, budget=6)[kind]
    f = Function(model, nn.CrossEntropyLoss(), *data, np.ones(N))
    for layer, value in dense(f, layers, kind.replace("_", "-")).items():
        estimate, stderr = found["layers"][layer], found["layers_stderr"][layer]
        assert 0 <= stderr < 0.2 * estimate  # 0: signs are exact where J J' is a multiple of the identity
        assert abs(estimate - value) <= 4 * stderr + 1e-9 * value
    parts = kinds(Problem(model, nn.CrossEntropyLoss(), data, batch_size=7), layers, budget=6)[kind]
    assert parts["layers"] == pytest.approx(found["layers"], rel=1e-10)


@pytest.mark.parametrize("kind", ["fisher", "gauss-newton"])
def test_the_scale_of_weights_before_a_normalisation_does_not_matter(kind):
    small = case("batch_norm")
    norm, convolution = small.model[1], small.model[0]
    norm.eps = 1e-14  # which does not scale with the weights
    before = normalized_curvature_trace(small.problem(), kind=kind)
    with torch.no_grad():
        convolution.weight *= 3.0
        norm.running_mean *= 3.0
        norm.running_var *= 9.0
    after = normalized_curvature_trace(small.problem(), kind=kind)
    assert set(before.details["layers"]) == {"0", "3"}  # the layers that feed a normalisation, found by themselves
    assert after.details["layers"] == pytest.approx(before.details["layers"], rel=1e-10)


def test_which_layers_are_measured():
    problem = case("logistic_regression").problem()
    with pytest.raises(NotApplicableError, match="feeds a batch normalisation"):
        normalized_curvature_trace(problem)
    assert normalized_curvature_trace(problem, layers="all").value > 0


def test_a_loss_without_label_distribution_has_no_fisher_trace():
    problem = Problem(nn.Linear(3, 2), lambda f, y: (f - y).abs().sum(1), (torch.randn(4, 3), torch.randn(4, 2)))
    with pytest.raises(NotApplicableError, match="no label distribution"):
        normalized_curvature_trace(problem, layers="all", kind="fisher")
    assert "fisher" not in normalized_curvature_trace(problem, layers="all").details["kinds"]
