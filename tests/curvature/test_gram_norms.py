"""Squared norms of per-sample weight gradients by Gram matrices, against autograd sample by sample."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from landscape import Problem
from landscape.curvature.gauss_newton import DiagonalSum, columns, squared_products
from landscape.curvature.gram_norms import InputGrams, grams_pay
from landscape.curvature.per_sample import PerSampleGradients

LAYERS = {
    "features": (nn.Linear(40, 30), (40,)),
    "tokens": (nn.Linear(40, 30), (3, 40)),
    "tokens in two dimensions": (nn.Linear(24, 40), (2, 2, 24)),
    "convolution": (nn.Conv2d(12, 16, 3, padding=1), (12, 4, 4)),
    "stride, dilation, oblong": (nn.Conv2d(12, 32, (3, 2), (2, 1), padding=(1, 2), dilation=(2, 1)), (12, 6, 3)),
    "same padding, not zeros": (nn.Conv2d(12, 16, 3, padding="same", padding_mode="reflect"), (12, 4, 4)),
    "circular": (nn.Conv2d(12, 16, 3, padding=1, padding_mode="circular", bias=False), (12, 4, 4)),
}


def norms_by_autograd(module: nn.Module, x: Tensor, s: Tensor) -> list[float]:
    norms = []
    for one, slope in zip(x, s, strict=True):
        (G,) = torch.autograd.grad((module(one[None])[0] * slope).sum(), module.weight)
        norms.append(float(G.square().sum()))
    return norms


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("at_once", [1, 10_000])
def test_the_norms_are_those_of_the_gradients(name: str, at_once: int) -> None:
    """Error budget: float64 sums of some thousand terms that may cancel to a tenth, 1e-12."""
    module, shape = LAYERS[name]
    module = module.double()
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(5, *shape, generator=generator, dtype=torch.float64)
    s = torch.randn(module(x).shape, generator=generator, dtype=torch.float64)
    assert grams_pay(module, x, s, 10)
    grams = InputGrams(module, x, at_once)
    for slopes in (s, 2 * s.flip(0)):
        found = grams.squared_norms(module, slopes)
        assert found.tolist() == pytest.approx(norms_by_autograd(module, x, slopes), rel=1e-12)


def test_gradients_that_cancel_have_the_norm_zero_and_not_less() -> None:
    module = nn.Linear(50, 40)
    x = torch.randn(4, 1, 50, generator=torch.Generator().manual_seed(0)).repeat(1, 2, 1)
    s = torch.randn(4, 1, 40, generator=torch.Generator().manual_seed(1)) * torch.tensor([1.0, -1.0])[None, :, None]
    found = InputGrams(module, x, 1000).squared_norms(module, s)
    assert (found >= 0).all()
    # error budget: four products of |a|^2 |s|^2, some 50 * 40, to 1e-6 of their size
    assert float(found.max()) < 4 * 2_000 * 1e-6 * 10


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (nn.Conv2d(3, 4, 3, padding=1), (3, 16, 16)),  # 256 positions, 27 inputs
        (nn.Conv2d(12, 12, 3, padding=1, groups=12), (12, 2, 2)),
        (nn.Linear(4, 3), (50, 4)),
        (nn.LayerNorm(40), (40,)),
    ],
)
def test_they_are_not_taken_where_the_gradients_cost_less(module: nn.Module, shape: tuple[int, ...]) -> None:
    x = torch.randn(2, *shape)
    assert not grams_pay(module, x, module(x), 10)


class Network(nn.Module):
    """Layers whose norms are cheap, one that is not, and one that is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 16, 3, stride=4, padding=1)
        self.twice = nn.Linear(64, 64)
        self.last = nn.Linear(64, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.second(torch.relu(self.first(x)))).flatten(1)
        return self.last(torch.tanh(self.twice(torch.tanh(self.twice(h)))))


@pytest.mark.parametrize("with_diagonal", [False, True])
def test_the_traces_of_a_network_by_tensor(with_diagonal: bool) -> None:
    """Error budget: float64, 1e-11. The diagonal adds up to the trace, and changes no bit of it."""
    torch.manual_seed(0)
    model = Network().double()
    x, y = torch.randn(6, 1, 8, 8, dtype=torch.float64), torch.arange(6) % 3
    problem = Problem(model, nn.CrossEntropyLoss(), (x, y))
    gradients = PerSampleGradients(problem)
    (batch,) = problem.batches(0, 6, 6)

    def squares(diagonal: DiagonalSum | None) -> Tensor:
        chosen = columns(problem, batch, "gauss-newton")
        return squared_products(problem, gradients, batch, chosen, diagonal=diagonal).plain

    sums = DiagonalSum(problem, gradients)
    found = squares(sums if with_diagonal else None)
    assert torch.equal(found, squares(None))
    expected = torch.zeros(len(problem.parameters), dtype=torch.float64)
    for n in range(6):
        f = model(x[n : n + 1])[0]
        p = torch.softmax(f, 0).detach()
        for k in range(3):  # S = (I - p 1') diag(sqrt p)
            c = p[k].sqrt() * (torch.eye(3, dtype=torch.float64)[k] - p)
            grads = torch.autograd.grad(f @ c, list(model.parameters()), retain_graph=True)
            expected += torch.stack([g.square().sum() for g in grads]) / 6
    assert found.sum((0, 1)).tolist() == pytest.approx(expected.tolist(), rel=1e-11)
    if with_diagonal:
        pieces = torch.split(sums.vector(), [info.size for info in problem.infos])
        assert [float(piece.sum()) for piece in pieces] == pytest.approx(expected.tolist(), rel=1e-11)
