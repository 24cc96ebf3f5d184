"""Eigenvalues of diagonal blocks against dense blocks, and of the last layer on paper."""

from __future__ import annotations

import numpy as np
import oracles
import pytest
import torch
from cases import CASES, N, case
from torch import nn

import landscape
from landscape import Problem
from landscape.curvature import last_layer
from landscape.curvature.layer_order import uses


@pytest.mark.parametrize("name", CASES)
def test_blocks_against_dense(name: str) -> None:
    small = case(name)
    H = oracles.hessian(small.function)
    record = landscape.layer_top_eigenvalues(small.problem(), rtol=1e-7, budget=1e4)
    assert record.converged
    for block, found in record.details["blocks"].items():
        value, at = found["value"], small.function.columns([block])
        values = np.linalg.eigvalsh(H[np.ix_(at, at)])
        error = found["stderr"]
        assert value == pytest.approx(values[-1], abs=error + 1e-11 * np.abs(H).max()), block
        assert found["most_negative"] >= values[0] - 1e-11 * np.abs(H).max()
    of_all = [found["value"] for found in record.details["blocks"].values()]
    assert record.value == max(of_all) == record.details["blocks"][record.details["largest"]]["value"]
    assert record.groups == {}
    by_tensor = landscape.layer_top_eigenvalues(small.problem(), rtol=1e-7, budget=1e4, by="tensor")
    assert list(by_tensor.groups.values()) == of_all
    assert record.value <= np.linalg.eigvalsh(H)[-1] + record.stderr + 1e-12  # interlacing


@pytest.mark.parametrize("blocks", ["layer", "role", "*weight,*bias"])
def test_other_blocks(blocks: str) -> None:
    small = case("weighted_and_ignored")
    H = oracles.hessian(small.function)
    record = landscape.layer_top_eigenvalues(small.problem(), rtol=1e-8, budget=1e4, blocks=blocks, by=blocks)
    for name, members in landscape.measures.layer_eigenvalues._members(small.problem(), blocks).items():
        at = small.function.columns(members)
        assert record.groups[name] == pytest.approx(np.linalg.eigvalsh(H[np.ix_(at, at)])[-1], rel=1e-6)


def test_the_last_layer_is_named_and_is_what_two_phase_follows() -> None:
    """The closed form of softmax regression on the features, by many power iterations."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)).double()
        data = torch.randn(N, 4, dtype=torch.float64), torch.randint(3, (N,))
    features = torch.tanh(model[0](data[0])).detach()
    expected = last_layer.top_eigenvalue(features, model(data[0]).detach(), iterations=2000)
    record = landscape.layer_top_eigenvalues(Problem(model, nn.CrossEntropyLoss(), data), rtol=1e-8, budget=1e4)
    assert record.details["last_layer"] == "2.weight"
    assert record.details["last_layer_value"] == pytest.approx(expected, rel=1e-6)


def test_the_order_is_that_of_the_forward_pass_and_not_of_the_names() -> None:
    class Backwards(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last, self.first = nn.Linear(3, 2), nn.Linear(4, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.last(torch.tanh(self.first(x)))

    problem = Problem(Backwards(), nn.CrossEntropyLoss(), (torch.randn(8, 4), torch.randint(2, (8,))))
    order = uses(problem)
    assert order["first.weight"].share == 1
    assert order["last.weight"].share == pytest.approx(6 / 18)
    assert landscape.layer_top_eigenvalues(problem).details["last_layer"] == "last.weight"


def test_the_budget_is_shared_by_the_blocks_and_counts_what_they_take() -> None:
    problem = case("batch_norm").problem()
    record = landscape.layer_top_eigenvalues(problem, rtol=1e-12, budget=20)
    assert not record.converged
    assert record.cost <= 20
    assert all(block["products"] >= 1 for block in record.details["blocks"].values())
    whole = landscape.layer_top_eigenvalues(problem, rtol=1e-3, budget=1e3)
    steps = {name: block["products"] for name, block in whole.details["blocks"].items()}
    order = uses(problem)
    assert whole.cost == pytest.approx(sum(2.4 * steps[name] * order[name].share for name in steps))
