"""Products with J where a kernel has no forward mode."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from landscape import Problem
from landscape.curvature.jacobian import parameter_jvp
from landscape.measures import fisher_rao


class Cube(torch.autograd.Function):
    """Written in the old style, without a `jvp`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return 3 * x**2 * g


class Cubic(nn.Module):
    def __init__(self, own: bool) -> None:
        super().__init__()
        self.own = own
        self.first, self.second = nn.Linear(3, 4), nn.Linear(4, 2)
        self.unused = nn.Parameter(torch.ones(2))

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        return self.second(Cube.apply(h) if self.own else h**3)


@pytest.fixture
def pair() -> list[Problem]:
    torch.manual_seed(0)
    plain, own = Cubic(own=False).double(), Cubic(own=True).double()
    own.load_state_dict(plain.state_dict())
    data = torch.randn(9, 3, dtype=torch.float64), torch.arange(9) % 2
    return [Problem(model, nn.CrossEntropyLoss(), data) for model in (own, plain)]


@pytest.mark.parametrize("names", [("first.weight", "second.bias"), ("second.weight",), ("unused",)])
def test_two_backward_passes_give_the_forward_product(pair: list[Problem], names: tuple[str, ...]) -> None:
    found = []
    for problem in pair:
        theta = problem.parameters
        tangents = {name: torch.cos(3.0 * theta[name] + 1.0) for name in names}
        found.append(parameter_jvp(problem, theta, next(problem.batches()), tangents))
    (f, u), (plain_f, plain_u) = found
    assert torch.equal(f, plain_f)
    torch.testing.assert_close(u, plain_u, rtol=1e-12, atol=1e-14)


def test_a_measure_that_needs_it_gives_the_same(pair: list[Problem]) -> None:
    own, plain = (fisher_rao(problem, by="layer") for problem in pair)
    assert own.value == pytest.approx(plain.value, rel=1e-12)
    assert own.groups == pytest.approx(plain.groups, rel=1e-12)
