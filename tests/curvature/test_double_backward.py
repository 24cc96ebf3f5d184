"""Convolutions and rectifiers with second derivatives of their own, against finite differences and PyTorch's rules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import gradcheck, gradgradcheck
from torch.utils.checkpoint import checkpoint

from landscape import Problem
from landscape.curvature.double_backward import DoubleBackward
from landscape.curvature.hessian import HessianOperator


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape)).requires_grad_()


CONVOLUTIONS: dict[str, tuple[Callable[..., Tensor], tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "plain": (F.conv2d, (2, 2, 4, 3), (3, 2, 2, 2), {}),
    "strides, paddings and dilations by axis": (
        F.conv2d, (2, 2, 7, 6), (3, 2, 2, 3), {"stride": (2, 1), "padding": (1, 2), "dilation": (2, 1)}
    ),
    "a stride that does not divide": (F.conv2d, (1, 1, 6, 6), (2, 1, 3, 3), {"stride": 2}),
    "groups": (F.conv2d, (2, 4, 3, 3), (4, 2, 2, 2), {"groups": 2, "padding": 1}),
    "one channel a group": (F.conv2d, (2, 3, 3, 3), (6, 1, 2, 2), {"groups": 3}),
    "one pixel": (F.conv2d, (2, 3, 2, 2), (2, 3, 1, 1), {}),
    "one axis": (F.conv1d, (2, 2, 6), (3, 2, 3), {"stride": 2, "padding": 1}),
    "three axes": (F.conv3d, (1, 2, 3, 3, 2), (2, 2, 2, 2, 2), {"padding": (0, 1, 0)}),
    "a list of one": (F.conv2d, (1, 1, 4, 4), (1, 1, 2, 2), {"stride": [2], "padding": [1]}),
    "padding by name": (F.conv2d, (2, 2, 3, 3), (3, 2, 3, 3), {"padding": "same"}),
    "without a batch axis": (F.conv2d, (2, 4, 4), (3, 2, 3, 3), {"padding": 1}),
}  # fmt: skip


@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("kind", CONVOLUTIONS)
def test_convolutions_against_finite_differences(kind: str, biased: bool) -> None:
    function, x, weight, options = CONVOLUTIONS[kind]

    def convolve(*tensors: Tensor) -> Tensor:
        with DoubleBackward():
            return function(*tensors, **options)

    tensors = [normal(*x), normal(*weight, seed=1), *([normal(weight[0], seed=2)] if biased else [])]
    torch.testing.assert_close(convolve(*tensors), function(*tensors, **options), rtol=0, atol=0)
    assert gradcheck(convolve, tensors)
    assert gradgradcheck(convolve, tensors)


@pytest.mark.parametrize("fixed", [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2)])
def test_tensors_that_are_held_fixed(fixed: tuple[int, ...]) -> None:
    tensors = [normal(2, 2, 4, 3), normal(3, 2, 2, 2, seed=1), normal(3, seed=2)]
    for i in fixed:
        tensors[i] = tensors[i].detach()

    def convolve(*moving: Tensor) -> Tensor:
        with DoubleBackward():
            return F.conv2d(*tensors, padding=1).sin()

    moving = [t for t in tensors if t.requires_grad]
    assert gradgradcheck(convolve, moving)


def test_each_second_derivative_alone() -> None:
    """A direction of one gradient only: the others' terms are absent, not zero."""
    tensors = [normal(2, 2, 4, 3), normal(3, 2, 2, 2, seed=1), normal(3, seed=2)]

    def values(own: bool) -> list[Tensor | None]:
        found: list[Tensor | None] = []
        for which in range(3):
            if own:
                with DoubleBackward():
                    y = F.conv2d(*tensors)
            else:
                y = F.conv2d(*tensors)
            (slope,) = torch.autograd.grad((y**3).sum(), tensors[which], create_graph=True)
            found += torch.autograd.grad(slope.sin().sum(), tensors, allow_unused=True)
        return found

    for mine, theirs in zip(values(True), values(False), strict=True):
        assert mine is not None
        assert theirs is not None
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)


def test_a_third_derivative() -> None:
    x, weight = normal(1, 1, 3, 3), normal(2, 1, 2, 2, seed=1)

    def second(own: bool) -> Tensor:
        with DoubleBackward() if own else torch.enable_grad():
            y = torch.relu(F.conv2d(x, weight))
        (slope,) = torch.autograd.grad((y**3).sum(), weight, create_graph=True)
        (curvature,) = torch.autograd.grad((slope**2).sum(), weight, create_graph=True)
        (third,) = torch.autograd.grad(curvature.sum(), weight)
        return third

    torch.testing.assert_close(second(True), second(False), rtol=1e-12, atol=1e-12)


RECTIFIERS: dict[str, Callable[[Tensor], Tensor]] = {
    "torch.relu": torch.relu,
    "method": Tensor.relu,
    "module": nn.ReLU(),
    "function": F.relu,
    "named": lambda x: F.relu(input=x),
    "module in place": nn.ReLU(inplace=True),
    "function in place": lambda x: F.relu(x, True),
    "torch.relu_": torch.relu_,
    "method in place": Tensor.relu_,
    "of a view in place": lambda x: x.view_as(x).relu_(),
}


@pytest.mark.parametrize("kind", RECTIFIERS)
def test_rectifiers(kind: str) -> None:
    x = normal(5, 4)
    weight = torch.linspace(0.5, 2, 4, dtype=torch.float64)

    def value(own: bool, t: Tensor) -> Tensor:
        h = t * weight
        with DoubleBackward() if own else torch.enable_grad():
            y = RECTIFIERS[kind](h)
        assert (y.data_ptr() == h.data_ptr()) == ("in place" in kind or kind == "torch.relu_")
        return y**3 + h  # whoever works in place changes what he was given

    torch.testing.assert_close(value(True, x), value(False, x), rtol=0, atol=0)
    assert gradgradcheck(lambda t: value(True, t), [x])


def test_a_rectifier_of_integers_and_of_what_needs_no_gradient() -> None:
    with DoubleBackward():
        assert torch.relu(torch.tensor([-1, 2])).tolist() == [0, 2]
        assert not torch.relu(torch.ones(2)).requires_grad
        assert F.relu(torch.tensor([-1, 2]), True).tolist() == [0, 2]


class Net(nn.Module):
    """Two convolutions, run in ways that functions of our own must not disturb."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way
        self.first, self.second, self.head = nn.Conv2d(2, 4, 3), nn.Conv2d(4, 4, 3), nn.Linear(4, 3)

    def body(self, x: Tensor) -> Tensor:
        return torch.relu(self.second(torch.relu(self.first(x))))

    def forward(self, x: Tensor) -> Tensor:
        match self.way:
            case "checkpointed":
                y = checkpoint(self.body, x, use_reentrant=False)
            case "vmap":
                y = torch.func.vmap(lambda image: self.body(image[None])[0])(x)
            case "grad":
                slopes = torch.func.grad(lambda images: self.body(images).square().sum())(x)
                y = self.body(x) + slopes.mean()
            case "autocast":
                with torch.autocast("cpu", dtype=torch.bfloat16):
                    y = self.body(x).to(x.dtype)
            case "detached":
                y = self.body(x) * self.body(x).detach()
        return self.head(y.mean((2, 3)))


@pytest.mark.parametrize("way", ["checkpointed", "vmap", "grad", "autocast", "detached"])
def test_networks_with_ways_of_their_own(way: str) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Net(way).to(torch.float32 if way == "autocast" else torch.float64)
        x, labels = torch.randn(6, 2, 6, 6).to(model.head.weight.dtype), torch.randint(3, (6,))
    problem = Problem(model, nn.CrossEntropyLoss(), (x, labels))
    v = torch.ones(problem.size, 1, dtype=problem.dtype)
    product = HessianOperator(problem).matmat(v)[:, 0]
    parameters = list(model.parameters())
    slopes = torch.autograd.grad(F.cross_entropy(model.eval()(x), labels), parameters, create_graph=True)
    plain = torch.autograd.grad(slopes, parameters, [torch.ones_like(p) for p in parameters])
    torch.testing.assert_close(product, torch.cat([p.reshape(-1) for p in plain]), rtol=1e-12, atol=1e-12)
