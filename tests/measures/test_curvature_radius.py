"""The radius of curvature against dense gradients and Hessians, and where it is undefined or without bound."""

from __future__ import annotations

import numpy as np
import oracles
import pytest
import torch
from cases import case
from torch import nn

from landscape.measures.curvature_radius import curvature_radius, parabola_radii
from landscape.parameters import group_parameters
from landscape.problem import Problem

CAP = 1e6


def expected(radii, columns):
    own = radii[columns]
    own = own[~np.isnan(own)]
    return np.median(np.minimum(own, CAP))


@pytest.mark.parametrize("name", ["logistic_regression", "batch_norm", "layer_and_group_norm", "weighted_and_ignored"])
@pytest.mark.parametrize("by", ["layer", "tensor"])
def test_of_a_parabola_it_is_the_ratio_of_weight_and_gradient(name, by):
    small = case(name)
    f = small.function
    with np.errstate(divide="ignore", invalid="ignore"):
        radii = np.abs(f.theta.numpy() / oracles.gradient(f.mean_loss, f.theta).numpy())
    record = curvature_radius(small.problem(), radii="parabola", by=by)
    assert record.value == pytest.approx(expected(radii, slice(None)), rel=1e-9)
    assert record.stderr == 0
    tracked = parabola_radii(small.problem(), by=by)
    for group, members in group_parameters(small.problem().infos, by).items():
        assert record.groups[group] == pytest.approx(expected(radii, f.columns(members)), rel=1e-9)
        assert tracked[group].median == record.groups[group]
        if by == "layer":
            assert record.details["layers"][group]["median"] == record.groups[group]
    assert record.details["ways"].keys() == {"parabola"}


@pytest.mark.parametrize("name", ["logistic_regression", "batch_norm", "relu_without_bias", "deep_linear"])
def test_by_the_diagonal_it_is_exact_where_the_outputs_are_linear_in_each_tensor(name):
    small = case(name)
    f = small.function
    with np.errstate(divide="ignore"):
        h, g = np.abs(np.diag(oracles.hessian(f))), oracles.gradient(f.mean_loss, f.theta).numpy()
        radii = (1 + g**2) ** 1.5 / np.where(h < 1e-15, 0, h)
    record = curvature_radius(small.problem(), by="tensor")
    assert record.value == pytest.approx(expected(radii, slice(None)), rel=1e-8)
    assert record.stderr == 0
    for group in record.groups:
        assert record.groups[group] == pytest.approx(expected(radii, f.columns([group])), rel=1e-8)


def test_with_probes_the_error_covers_the_dense_value():
    """30 seeds of a smooth network. Error budget: medians of noisy radii are biased, which the error knows by half."""
    small = case("label_smoothing")
    f = small.function
    h, g = np.abs(np.diag(oracles.hessian(f))), oracles.gradient(f.mean_loss, f.theta).numpy()
    truth = expected((1 + g**2) ** 1.5 / h, slice(None))
    records = [curvature_radius(small.problem(), budget=60, rtol=1e-6, seed=seed) for seed in range(30)]
    errors = np.array([record.value - truth for record in records])
    claims = np.array([record.stderr for record in records])
    assert (claims > 0).any()
    assert not any(record.converged for record in records)
    assert np.mean(errors**2) < 4 * np.mean(claims**2)


def test_what_is_without_bound_is_capped_and_what_is_undefined_is_left_out():
    # The unused layer has no gradient: weights that are not 0 are capped, those that are 0 undefined.
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2)).double()
    with torch.no_grad():
        model[1].weight.zero_()  # so no gradient reaches layer 0
        model[0].bias.zero_()
        model[0].weight[0, 0] = 0.0
    data = torch.randn(8, 3, dtype=torch.float64), torch.randint(2, (8,))
    record = curvature_radius(Problem(model, nn.CrossEntropyLoss(), data), radii="parabola", cap=1e5)
    layer = record.details["layers"]["0"]
    assert (layer["capped"], layer["undefined"], layer["size"]) == (5, 3, 8)
    assert layer["median"] == record.details["cap"] == 1e5
