"""The K-FAC Gauss-Newton norm: factors formed from patches and per-sample Jacobians, and the lemmas of WD."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from cases import N, case
from torch import Tensor, nn
from torch.func import functional_call

import landscape
from landscape import Problem
from landscape.errors import NotApplicableError


def by_factors(model: nn.Module, x: Tensor, layers: dict[str, nn.Module], weights: np.ndarray) -> dict[str, float]:
    """T tr(W A W' S) with A from the layer's inputs (patches, a 1 for the bias) and S from one output at a time."""
    found = {}
    share = torch.from_numpy(weights / weights.sum())
    for name, layer in layers.items():
        seen: list[tuple[Tensor, Tensor]] = []
        handle = layer.register_forward_hook(lambda m, a, z, seen=seen: seen.append((a[0].detach(), z)) or z.clone())
        f = functional_call(model.eval(), {n: p.detach().requires_grad_() for n, p in model.named_parameters()}, (x,))
        handle.remove()
        (a, z), W = seen[0], layer.weight.detach().flatten(1)
        if isinstance(layer, nn.Conv2d):
            a = F.unfold(a, layer.kernel_size, padding=layer.padding, stride=layer.stride).mT  # (N, T, I)
        else:
            a = a[:, None]
        if layer.bias is not None:
            a = torch.cat([a, torch.ones_like(a[..., :1])], 2)
            W = torch.cat([W, layer.bias.detach()[:, None]], 1)
        T = a.shape[1]
        A = torch.einsum("n,nti,ntj->ij", share, a, a) / T
        S = torch.zeros(len(W), len(W), dtype=torch.float64)
        for k in range(f.shape[1]):
            (s,) = torch.autograd.grad(f[:, k].sum(), z, retain_graph=True)
            s = s.flatten(2).mT if s.ndim > 2 else s[:, None]
            S += torch.einsum("n,nto,ntp->op", share, s, s) / T
        found[name] = float(T * torch.trace(W @ A @ W.T @ S))
    return found


@pytest.mark.parametrize(
    "name", ["logistic_regression", "relu_without_bias", "weighted_and_ignored", "label_smoothing"]
)
def test_against_factors_that_are_formed(name: str) -> None:
    small = case(name)
    layers = {n: m for n, m in small.model.named_modules() if isinstance(m, nn.Linear)}
    expected = by_factors(small.model, small.inputs, layers, small.weights)
    record = landscape.kfac_gn_norm(small.problem(batch_size=7))
    assert list(record.details["layers"].values()) == pytest.approx(list(expected.values()), rel=1e-10)
    assert record.value == pytest.approx(sum(expected.values()), rel=1e-10)
    assert record.stderr == 0
    assert record.groups == {}
    assert landscape.kfac_gn_norm(small.problem(), by="layer").groups == pytest.approx(record.details["layers"])


def test_convolutions_with_normalisation_between() -> None:
    """The parameters of the normalisation have no factors, and ReLU in place does not change what is recorded."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(inplace=True),
            nn.Conv2d(4, 3, 3, stride=2, bias=False), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(12, 3),
        ).double()  # fmt: skip
        x, y = torch.randn(N, 2, 6, 6, dtype=torch.float64), torch.randint(3, (N,))
    layers = {n: m for n, m in model.named_modules() if isinstance(m, (nn.Linear, nn.Conv2d))}
    expected = by_factors(model, x, layers, np.ones(N))
    record = landscape.kfac_gn_norm(Problem(model, nn.CrossEntropyLoss(), (x, y)))
    assert record.details["layers"] == pytest.approx(expected, rel=1e-10)
    assert record.details["left_out"] == {"1.weight": 4, "1.bias": 4}


def test_lemma_2_of_a_linear_network() -> None:
    small = case("deep_linear")
    f = small.function.outputs(small.function.theta, small.inputs).detach().numpy()
    square = (f**2).sum(1).mean()
    record = landscape.kfac_gn_norm(small.problem())
    assert record.value == pytest.approx(3 * square, rel=1e-12)
    assert list(record.details["layers"].values()) == pytest.approx([square] * 3, rel=1e-12)


def test_theorem_1_with_whitened_inputs() -> None:
    """E x x' = I: the norm is (L + 1) ||J_x||_F^2, the exact Gauss-Newton norm (L + 1)^2 ||J_x||_F^2."""
    small = case("deep_linear")
    x = small.inputs.numpy()
    white = torch.from_numpy(x @ np.linalg.inv(np.linalg.cholesky(x.T @ x / N)).T)
    problem = Problem(small.model, small.loss, (white, small.targets))
    jacobian = landscape.jacobian_norm(problem).value
    assert landscape.kfac_gn_norm(problem).value == pytest.approx(3 * jacobian, rel=1e-10)
    assert landscape.gauss_newton_norm(problem).value == pytest.approx(9 * jacobian, rel=1e-10)


def test_with_many_outputs_it_lies_within_its_error() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 40)).double()
        data = torch.randn(N, 4, dtype=torch.float64), torch.randint(40, (N,))
    problem = Problem(model, nn.CrossEntropyLoss(), data)
    layers = {n: m for n, m in model.named_modules() if isinstance(m, nn.Linear)}
    truth = sum(by_factors(model, data[0], layers, np.ones(N)).values())
    scores = []
    for seed in range(40):
        record = landscape.kfac_gn_norm(problem, seed=seed, budget=20, rtol=1e-6)
        assert not record.details["exact"]
        scores.append((record.value - truth) / record.stderr)
    # error budget: sqrt(2/40) = 0.22 about some 1.1, four of these
    assert abs(np.mean(scores)) < 4.5 / np.sqrt(40)
    assert 0.3 < np.mean(np.square(scores)) < 2.0


@pytest.mark.parametrize(("name", "words"), [("tied", "more than once"), ("own_parameter", "act elsewhere too")])
def test_a_weight_of_several_uses_has_no_factors(name: str, words: str) -> None:
    with pytest.raises(NotApplicableError, match=words):
        landscape.kfac_gn_norm(case(name).problem())


def test_a_network_without_such_layers_is_told() -> None:
    class Scale(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.theta = nn.Parameter(torch.ones(3))

        def forward(self, x: Tensor) -> Tensor:
            return x * self.theta

    with pytest.raises(NotApplicableError, match="no linear layer or convolution"):
        landscape.kfac_gn_norm(Problem(Scale(), nn.MSELoss(), (torch.randn(5, 3), torch.randn(5, 3))))
