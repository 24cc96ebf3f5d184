"""The edge of stability against the optimizers themselves, on parabolas just below and just above it."""

import pytest
import torch

from landscape.errors import NotApplicableError
from landscape.training.stability import edge_of_stability

STEPS = 2000


def grows(curvature, **options):
    x = torch.nn.Parameter(torch.ones(1, dtype=torch.float64))
    optimizer = torch.optim.SGD([x], **options)
    for _ in range(STEPS):
        x.grad = curvature * x.detach()
        optimizer.step()
    return float(x.detach().abs()) > 1


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("nesterov", [False, True])
def test_above_it_the_iteration_grows_and_below_it_shrinks(momentum, nesterov):
    if nesterov and not momentum:
        pytest.skip("Nesterov needs momentum")
    options = {"lr": 0.3, "momentum": momentum, "nesterov": nesterov}
    edge = edge_of_stability(torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], **options))
    assert grows(1.01 * edge, **options)
    assert not grows(0.99 * edge, **options)


@pytest.mark.parametrize(("momentum", "dampening"), [(0.9, 0.9), (0.5, 0.2), (0.0, 0.5)])
def test_dampening_moves_it(momentum, dampening):
    options = {"lr": 0.3, "momentum": momentum, "dampening": dampening}
    edge = edge_of_stability(torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], **options))
    assert grows(1.01 * edge, **options)
    assert not grows(0.99 * edge, **options)


def test_another_rate_can_be_asked_about():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.5, momentum=0.9)
    assert edge_of_stability(optimizer) == pytest.approx(2 * 1.9 / 0.5)
    assert edge_of_stability(optimizer, 0.1) == pytest.approx(2 * 1.9 / 0.1)
    assert edge_of_stability(optimizer, 0.0) == float("inf")


def test_others_have_none():
    x, y = (torch.nn.Parameter(torch.ones(1)) for _ in range(2))
    with pytest.raises(NotApplicableError, match="Adam does not step along the gradient"):
        edge_of_stability(torch.optim.Adam([x]))
    with pytest.raises(NotApplicableError, match="maximize climbs"):
        edge_of_stability(torch.optim.SGD([x], lr=0.1, maximize=True))
    with pytest.raises(NotApplicableError, match="no common edge"):
        edge_of_stability(torch.optim.SGD([{"params": [x], "lr": 0.1}, {"params": [y], "lr": 0.2}]))
