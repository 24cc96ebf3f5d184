"""The radius of curvature against dense gradients and Hessians, and where it is undefined or without bound."""

from __future__ import annotations

import numpy as np
import oracles
import pytest
import torch
from cases import case
from torch import nn

from landscape.measures.curvature_radius import curvature_radius
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
    found = curvature_radius(small.problem(), by=by)
    for group, members in group_parameters(small.problem().infos, by).items():
        assert found[group].median == pytest.approx(expected(radii, f.columns(members)), rel=1e-9)


def test_by_the_diagonal_it_is_exact_where_the_hessian_is_diagonal():
    # One input value of one sample a weight: L = mean of (w_i x_i - y_i)^2 has no mixed second derivative.
    class Apart(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.tensor([0.3, -2.0, 1.0], dtype=torch.float64))

        def forward(self, x):
            return self.w * x

    x = torch.tensor([[1.0, 2.0, 3.0]], dtype=torch.float64)
    y = torch.tensor([[2.0, 0.0, -1.0]], dtype=torch.float64)
    w = Apart().w.detach().numpy()
    g = 2 / 3 * x[0].numpy() * (w * x[0].numpy() - y[0].numpy())
    radii = (1 + g**2) ** 1.5 / (2 / 3 * x[0].numpy() ** 2)
    found = curvature_radius(Problem(Apart(), nn.MSELoss(), (x, y)), way="diagonal", probes=1)
    (radius,) = found.values()
    assert radius.median == pytest.approx(np.median(radii), rel=1e-12)


def test_by_the_diagonal_it_comes_near_the_dense_hessian_with_many_probes():
    small = case("logistic_regression")
    f = small.function
    H = oracles.hessian(f)
    g = oracles.gradient(f.mean_loss, f.theta).numpy()
    probes = 4000
    found = curvature_radius(small.problem(), way="diagonal", probes=probes, by="tensor")
    off = np.sqrt(((H - np.diag(np.diag(H))) ** 2).sum(1) / probes)  # the estimator's standard error
    for name in found:
        columns = f.columns([name])
        h = np.abs(np.diag(H))[columns]
        for side in (-4, 4):
            bound = np.median((1 + g[columns] ** 2) ** 1.5 / (h + side * off[columns]))
            assert (found[name].median - bound) * side >= 0


def test_what_is_without_bound_is_capped_and_what_is_undefined_is_left_out():
    # The unused layer has no gradient: weights that are not 0 are capped, those that are 0 undefined.
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2)).double()
    with torch.no_grad():
        model[1].weight.zero_()  # so no gradient reaches layer 0
        model[0].bias.zero_()
        model[0].weight[0, 0] = 0.0
    data = torch.randn(8, 3, dtype=torch.float64), torch.randint(2, (8,))
    radius = curvature_radius(Problem(model, nn.CrossEntropyLoss(), data))["0"]
    assert (radius.capped, radius.undefined, radius.size) == (5, 3, 8)
    assert radius.median == CAP
