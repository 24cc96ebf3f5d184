"""Strides against the formulas of plain gradient descent, and what the weights did."""

import pytest
import torch

from landscape.training.strides import Strides

RATE = 0.3


def network():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return torch.nn.Linear(4, 3).double(), torch.randn(8, 4, dtype=torch.float64)


def test_of_gradient_descent_they_are_the_rate_times_the_gradient_and_its_square():
    model, x = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE)
    strides = Strides(dict(model.named_parameters()))
    strides.begin()
    gradients = []
    for _ in range(3):
        optimizer.zero_grad()
        model(x).square().mean().backward()
        gradients.append(torch.cat([p.grad.reshape(-1) for p in model.parameters()]))
        optimizer.step()
        strides.step()
    g = torch.stack(gradients)
    found = strides.means({"": ("weight", "bias"), "bias": ("bias",)})
    assert found[""].parameter == pytest.approx(RATE * float(g.abs().mean()), rel=1e-12)
    assert found[""].loss == pytest.approx(RATE * float(g.square().mean()), rel=1e-12)
    assert found["bias"].parameter == pytest.approx(RATE * float(g[:, 12:].abs().mean()), rel=1e-12)


def test_they_begin_anew_and_say_nothing_without_a_step():
    model, _ = network()
    strides = Strides(dict(model.named_parameters()))
    strides.step()  # nothing to compare with yet
    assert strides.means({"": ("weight",)}) == {}
    strides.begin()
    with torch.no_grad():
        model.weight += 1.0
        strides.begin()
        model.weight += 0.5
    strides.step()
    assert strides.means({"": ("weight",)})[""].parameter == pytest.approx(0.5)
    assert strides.means({"": ("weight",)})[""].loss == 0.0  # no gradient is known
