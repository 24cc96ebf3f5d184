"""Hessian and Jacobian products against the dense references."""

from __future__ import annotations

import numpy as np
import oracles
import pytest
import torch
from cases import CASES, N, case
from torch import nn

from landscape import LandscapeError, Problem
from landscape.curvature.hessian import HessianOperator, block_forms, gradient
from landscape.curvature.jacobian import InputJacobian, parameter_jvp
from landscape.work import count_work

# error budget: sums of some hundred float64 terms, second derivatives of size up to 1e2
CLOSE = {"rtol": 1e-10, "atol": 1e-12}


@pytest.mark.parametrize("name", CASES)
def test_hessian_products_and_their_cost(name: str) -> None:
    small = case(name)
    problem = small.problem(batch_size=10)
    V = np.random.default_rng(0).normal(size=(problem.size, 3))
    with count_work() as work:
        product = HessianOperator(problem).matmat(torch.from_numpy(V)).numpy()
    np.testing.assert_allclose(product, oracles.hessian(small.function) @ V, **CLOSE)
    assert work.gradient_equivalents(N) == pytest.approx(3 * 2.4)


@pytest.mark.parametrize("name", CASES)
def test_the_gradient_is_that_of_the_losses_own_mean(name: str) -> None:
    """The trap: ragged batches averaged equally would be wrong here; labels are ignored unevenly in some rows."""
    small = case(name)
    f = small.function
    expected = oracles.gradient(f.mean_loss, f.theta)
    for size in (1, 7, 32, 64):
        problem = small.problem(batch_size=size)
        np.testing.assert_allclose(gradient(problem), expected, **CLOSE)
        theta = problem.parameters
        total = sum(float(problem.objective(theta, batch)) for batch in problem.batches())
        assert total == pytest.approx(float(f.mean_loss(f.theta)), rel=1e-12)


@pytest.mark.parametrize("name", ["batch_norm", "weighted_and_ignored", "tied"])
def test_block_forms_add_up_over_blocks_and_tensors(name: str) -> None:
    small = case(name)
    problem = small.problem(batch_size=5)
    V = np.random.default_rng(0).normal(size=(problem.size, 2))
    forms = sum(block_forms(problem, problem.parameters, *b, torch.from_numpy(V)) for b in problem.blocks())
    HV = oracles.hessian(small.function) @ V
    expected = np.stack([(V * HV)[small.function.columns([info.name])].sum(0) for info in problem.infos])
    np.testing.assert_allclose(forms, expected, **CLOSE)


@pytest.mark.parametrize("name", CASES)
def test_parameter_products_forward(name: str) -> None:
    small = case(name)
    problem = small.problem()
    J = oracles.parameter_jacobian(small.function)
    names = [info.name for info in problem.infos][::2]
    theta = problem.parameters
    v = np.zeros(problem.size)
    columns = small.function.columns(names)
    v[columns] = small.function.theta.numpy()[columns]
    batch = next(problem.batches(0, N, size=N))
    f, u = parameter_jvp(problem, theta, batch, {n: theta[n] for n in names})
    np.testing.assert_allclose(u.reshape(J.shape[:3]), J @ v, **CLOSE)
    np.testing.assert_allclose(f, small.function.outputs(small.function.theta, small.inputs).detach(), **CLOSE)
    assert not u.requires_grad


@pytest.mark.parametrize("name", ["batch_norm", "attention", "recurrent", "conv1d"])
def test_input_rows_backward(name: str) -> None:
    small = case(name)
    problem = small.problem()
    batch = next(problem.batches(0, N, size=N))
    rows = InputJacobian(problem, problem.parameters, batch).rows()
    np.testing.assert_allclose(rows, oracles.input_jacobian(small.function), **CLOSE)


def test_a_product_that_is_not_finite_names_the_samples() -> None:
    """sqrt(|f|) at f = 0 has an infinite slope."""
    model = nn.Linear(2, 1, bias=False).double()
    x = torch.ones(40, 2, dtype=torch.float64)
    x[35] = 0
    problem = Problem(
        model, lambda f, y: f[:, 0].abs().sqrt() * y, (x, torch.ones(40, dtype=torch.float64)), batch_size=10
    )
    v = torch.ones(2, 1, dtype=torch.float64)
    with pytest.raises(LandscapeError, match=r"samples 30 to 39.*"):
        HessianOperator(problem).matmat(v)
    with pytest.raises(LandscapeError, match=r"samples 32 to 39"):
        block_forms(problem, problem.parameters, 32, 40, v)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_recurrent_layers_in_either_precision(kind: type[nn.RNNBase], dtype: torch.dtype) -> None:
    """The trap: the fused recurrent kernels have neither forward mode nor a second derivative."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.r, self.head = kind(2, 3, batch_first=True), nn.Linear(3, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.r(x)[0][:, -1])

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, x, y = Net().to(dtype), torch.randn(9, 4, 2, dtype=dtype), torch.randint(2, (9,))
    problem = Problem(model, nn.CrossEntropyLoss(), (x, y))
    theta = problem.parameters
    batch = next(problem.batches())
    v = {n: torch.ones_like(t) for n, t in theta.items()}
    _, u = parameter_jvp(problem, theta, batch, v)
    double = Problem(model, nn.CrossEntropyLoss(), (x, y), dtype=torch.float64)
    wide = double.parameters
    batch = next(double.batches())
    moved = [double.outputs({n: t + s * 1e-5 for n, t in wide.items()}, batch.inputs) for s in (1, -1)]
    np.testing.assert_allclose(u, (moved[0] - moved[1]).detach() / 2e-5, rtol=1e-3, atol=1e-4)
    ones = torch.ones(problem.size, 1, dtype=dtype)
    shifted = [
        oracles.gradient(lambda t: double.objective(_named(t, wide), batch), _flat(wide) + s * 1e-5) for s in (1, -1)
    ]
    np.testing.assert_allclose(
        HessianOperator(problem).matmat(ones)[:, 0], (shifted[0] - shifted[1]) / 2e-5, rtol=1e-3, atol=1e-4
    )
    model.zero_grad()
    model(x).sum().backward()  # the layer still trains its own weights
    assert all(p.grad is not None for p in model.parameters())
    assert all(a is b for a, b in zip(model.r._flat_weights, model.r.parameters(), strict=True))


def _flat(named: dict[str, torch.Tensor]) -> torch.Tensor:
    return torch.cat([t.reshape(-1) for t in named.values()])


def _named(vector: torch.Tensor, like: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    pieces = torch.split(vector, [t.numel() for t in like.values()])
    return {n: p.view(t.shape) for (n, t), p in zip(like.items(), pieces, strict=True)}
