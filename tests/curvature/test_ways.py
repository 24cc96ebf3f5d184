"""The ways to a Hessian-vector product, and the residual part, against the dense references."""

from __future__ import annotations

import numpy as np
import oracles
import pytest
import torch
from cases import CASES, case
from torch import nn

from landscape import Problem
from landscape.curvature import hessian
from landscape.curvature.hessian import HessianOperator, block_forms
from landscape.curvature.products import hessian_products
from landscape.errors import NotApplicableError

CLOSE = {"rtol": 1e-10, "atol": 1e-12}
FACTORED = [name for name in CASES if case(name).problem().factor is not None]


@pytest.mark.parametrize("name", ["batch_norm", "deep_linear", "layer_and_group_norm", "tied", "attention", "conv1d"])
def test_forward_over_reverse(name: str) -> None:
    small = case(name)
    problem = small.problem(batch_size=10)
    V = np.random.default_rng(0).normal(size=(problem.size, 2))
    product = HessianOperator(problem, way="forward").matmat(torch.from_numpy(V)).numpy()
    np.testing.assert_allclose(product, oracles.hessian(small.function) @ V, **CLOSE)


@pytest.mark.parametrize("name", ["batch_norm", "relu_without_bias", "layer_and_group_norm", "weighted_and_ignored"])
def test_finite_differences(name: str) -> None:
    """Error budget: rounding 1e-16 of the gradient over a displacement of 1e-6, relative to a product of size 0.1."""
    small = case(name)
    problem = small.problem(batch_size=10)
    V = np.random.default_rng(0).normal(size=(problem.size, 2))
    product = HessianOperator(problem, way="finite-difference").matmat(torch.from_numpy(V)).numpy()
    expected = oracles.hessian(small.function) @ V
    assert np.linalg.norm(product - expected) < 1e-6 * np.linalg.norm(expected)


def test_finite_differences_are_refused_where_they_cannot_be_right() -> None:
    class Kinked(nn.Module):
        """A sawtooth: every displacement crosses kinks."""

        def __init__(self) -> None:
            super().__init__()
            self.theta = nn.Parameter(torch.ones(3, dtype=torch.float64))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * (torch.sin(1e11 * self.theta).abs() + self.theta**2)

    x = torch.ones(4, 3, dtype=torch.float64)
    problem = Problem(Kinked(), nn.MSELoss(), (x, 0 * x))
    with pytest.raises(NotApplicableError, match="kinks"):
        HessianOperator(problem, way="finite-difference").matmat(torch.ones(3, 1, dtype=torch.float64))
    single = Problem(nn.Linear(2, 2), nn.MSELoss(), (torch.ones(4, 2), torch.ones(4, 2)))
    with pytest.raises(NotApplicableError, match="float64"):
        HessianOperator(single, way="finite-difference").matmat(torch.ones(6, 1))
    flat = HessianOperator(problem, way="finite-difference").matmat(torch.zeros(3, 1, dtype=torch.float64))
    assert torch.equal(flat, torch.zeros(3, 1, dtype=torch.float64))


@pytest.mark.parametrize("way", ["exact", "forward", "finite-difference"])
@pytest.mark.parametrize("name", ["batch_norm", "label_smoothing", "sequences", "binary_labels"])
def test_the_residual_is_the_hessian_less_the_gauss_newton_matrix(name: str, way: str) -> None:
    small = case(name)
    problem = small.problem(batch_size=7)
    V = np.random.default_rng(0).normal(size=(problem.size, 2))
    theta = problem.parameters
    found = sum(
        hessian_products(problem, theta, batch, torch.from_numpy(V), part="residual", way=way)
        for batch in problem.batches()
    )
    R = oracles.hessian(small.function) - oracles.gauss_newton(small.function)
    scale = np.linalg.norm(oracles.hessian(small.function) @ V)
    assert np.linalg.norm(found.numpy() - R @ V) < (1e-6 if way == "finite-difference" else 1e-11) * scale
    forms = sum(
        block_forms(problem, theta, *b, torch.from_numpy(V), matrix="residual", way=way) for b in problem.blocks()
    )
    np.testing.assert_allclose(forms.sum(0).numpy(), (V * (R @ V)).sum(0), rtol=1e-5, atol=1e-6 * scale)


@pytest.mark.parametrize("name", FACTORED)
def test_the_factor_of_the_curvature_in_the_outputs(name: str) -> None:
    """S S' is the loss's own second derivative, and S' is the transpose of S."""
    small = case(name)
    problem = small.problem()
    batch = next(problem.batches(0, 5, size=5))
    outputs = problem.outputs(problem.parameters, batch.inputs).detach()
    factor, size = problem.factor, outputs[0].numel()
    assert factor is not None
    eye = torch.eye(size, dtype=torch.float64).view(size, 1, *outputs.shape[1:]).expand(size, *outputs.shape)
    S = torch.stack([factor.times(outputs, batch.targets, e) for e in eye]).reshape(size, 5, size)
    St = torch.stack([factor.transposed(outputs, batch.targets, e) for e in eye]).reshape(size, 5, size)
    torch.testing.assert_close(S.permute(1, 2, 0), St.permute(1, 0, 2), rtol=1e-12, atol=1e-14)
    for n in range(5):

        def loss(f: torch.Tensor, n: int = n) -> torch.Tensor:
            whole = torch.cat([outputs[:n], f.view(outputs[:1].shape), outputs[n + 1 :]])
            return problem.losses_of(whole, batch)[n]

        H = torch.autograd.functional.hessian(loss, outputs[n].reshape(-1))
        torch.testing.assert_close(S[:, n].T @ S[:, n], H, rtol=1e-10, atol=1e-13)


def test_graphs_are_kept_only_within_a_share_of_the_free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same products whether graphs are kept for all batches, for some or for none."""
    small = case("batch_norm")
    problem = small.problem()
    problem.batch_size = 10  # four batches, as if chosen for the network
    V = torch.from_numpy(np.random.default_rng(0).normal(size=(problem.size, 2)))
    expected = oracles.hessian(small.function) @ V.numpy()
    kept = {}
    for free in (0, 300_000, 10**12):
        monkeypatch.setattr(hessian, "available_memory", lambda device, free=free: free)
        operator = HessianOperator(problem)
        for _ in range(3):
            np.testing.assert_allclose(operator.matmat(V).numpy(), expected, **CLOSE)
        kept[free] = len(operator._kept)
    assert kept[0] == 0
    assert 0 < kept[300_000] < 4
    assert kept[10**12] == 4
    limited = HessianOperator(small.problem(batch_size=10))
    limited.matmat(V)
    assert not limited._kept
