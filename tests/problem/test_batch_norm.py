"""Normalisation folded into convolutions: the same function and derivatives, and every trap that must not be folded."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import oracles
import pytest
import torch
import torch.nn.functional as F
from oracles import Function
from torch import Tensor, nn

from landscape import Problem
from landscape.curvature.hessian import HessianOperator
from landscape.curvature.jacobian import InputJacobian, parameter_jvp


class Doubled(torch.autograd.Function):
    """A function of its own, which no function mode sees."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return 2 * x

    @staticmethod
    def setup_context(ctx: object, inputs: object, output: object) -> None: ...

    @staticmethod
    def backward(ctx: object, g: Tensor) -> Tensor:  # type: ignore[override]
        return 2 * g


class Net(nn.Module):
    """A convolution, a normalisation, a linear head; `way` says how they are joined."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way
        self.conv = nn.Conv1d(2, 4, 3, padding=1, groups=2 if way == "groups" else 1, bias=way != "no bias")
        self.norm = nn.BatchNorm1d(4, affine=way != "not affine")
        self.again = nn.Conv1d(4, 4, 3, padding=1)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        if self.way == "in place":
            y.mul_(1.5)
        z = self.norm(y)
        match self.way:
            case "used twice":
                z = z + y
            case "used by a function of its own":
                z = z + Doubled.apply(y)
            case "normalised twice":
                z = self.norm(self.again(torch.tanh(z)))
            case "convolved twice":
                z = self.norm(torch.tanh(self.conv(z[:, :2])))
            case "another way for other samples":
                if float(x.detach().sum()) > 0:
                    z = z + y
        return self.head(torch.tanh(z).mean(2))


FOLDED = ("plain", "groups", "no bias", "not affine")
NOT_FOLDED = (
    "in place", "used twice", "used by a function of its own", "normalised twice", "convolved twice",
)  # fmt: skip


def build(way: str, dtype: torch.dtype = torch.float64) -> tuple[Problem, Function]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Net(way).to(dtype)
        for norm in (m for m in model.modules() if isinstance(m, nn.BatchNorm1d)):
            assert norm.running_mean is not None
            assert norm.running_var is not None
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2)
            if norm.affine:
                nn.init.normal_(norm.weight)
                nn.init.normal_(norm.bias)
        x, y = torch.randn(20, 2, 5, dtype=dtype), torch.randint(3, (20,))
        if way == "another way for other samples":
            x[:10] = -x[:10].abs()
            x[10:] = x[10:].abs()
    problem = Problem(model, nn.CrossEntropyLoss(), (x, y), batch_size=10)
    return problem, Function(model.eval(), problem.loss, x, y, np.ones(20))


def check(problem: Problem, f: Function) -> None:
    V = np.random.default_rng(0).normal(size=(problem.size, 2))
    product = HessianOperator(problem).matmat(torch.from_numpy(V)).numpy()
    np.testing.assert_allclose(product, oracles.hessian(f) @ V, rtol=1e-10, atol=1e-12)
    theta = problem.parameters
    found = [parameter_jvp(problem, theta, batch, theta)[1] for batch in problem.batches()]
    J = oracles.parameter_jacobian(f)
    np.testing.assert_allclose(torch.cat(found), (J @ f.theta.numpy()).squeeze(-1), rtol=1e-10, atol=1e-12)
    rows = [InputJacobian(problem, theta, batch).rows() for batch in problem.batches()]
    np.testing.assert_allclose(torch.cat(rows), oracles.input_jacobian(f), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("way", [*FOLDED, *NOT_FOLDED])
def test_the_same_derivatives_folded_or_not(way: str) -> None:
    problem, f = build(way)
    assert bool(problem._folds) == (way in FOLDED)
    if way == "used by a function of its own":  # it has no forward mode
        V = np.random.default_rng(0).normal(size=(problem.size, 2))
        product = HessianOperator(problem).matmat(torch.from_numpy(V)).numpy()
        np.testing.assert_allclose(product, oracles.hessian(f) @ V, rtol=1e-10, atol=1e-12)
    else:
        check(problem, f)


def test_a_network_that_goes_another_way_later_is_no_longer_folded() -> None:
    problem, f = build("another way for other samples")
    assert problem._folds  # the first eight samples go the short way
    inputs, targets = problem.data
    theta = problem.parameters
    plain = problem.outputs(theta, inputs[10:])
    torch.testing.assert_close(problem.outputs(theta, inputs[10:], fold=True), plain, rtol=0, atol=0)
    assert not problem._folds
    again, _ = build("another way for other samples")
    V = np.random.default_rng(0).normal(size=(problem.size, 1))
    product = HessianOperator(again).matmat(torch.from_numpy(V)).numpy()

    # each batch goes its own way: the mean of the two halves' Hessians
    halves = [
        Function(f.model, f.loss, inputs[part], targets[part], np.ones(10)) for part in (slice(10), slice(10, 20))
    ]
    expected = sum(oracles.hessian(half) @ V / 2 for half in halves)
    np.testing.assert_allclose(product, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("change", [lambda norm: norm.train(), lambda norm: setattr(norm, "momentum", None)])
def test_flags_of_the_modules_change_nothing(change: Callable[[nn.Module], object]) -> None:
    problem, f = build("plain")
    change(problem.model.norm)  # type: ignore[arg-type]
    check(problem, f)


def test_batch_statistics_are_not_folded() -> None:
    problem, _ = build("plain")
    assert not problem.choose(bn="train")._folds


def test_the_kernel_of_pytorch_gives_the_same_outputs() -> None:
    """Error budget: float32 rounding of two convolutions, a few 1e-7 of outputs of size 1."""
    problem, _ = build("plain", torch.float32)
    inputs, _ = problem.data
    with torch.no_grad():
        expected = problem.model.eval()(inputs)
        for fold in (False, True):
            found = problem.outputs(problem.parameters, inputs, fold=fold)
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
        y = F.conv1d(inputs, problem.model.conv.weight, problem.model.conv.bias, padding=1)  # type: ignore[union-attr]
        assert torch.isfinite(y).all()
