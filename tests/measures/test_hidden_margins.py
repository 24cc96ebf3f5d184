"""Margins in the output of a layer, and Jacobians of probabilities."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from cases import N, case, labels, normal
from torch import Tensor, nn

from landscape import Problem
from landscape.errors import OptionError
from landscape.measures.jacobian import jacobian_norm
from landscape.measures.margin import margin


def network() -> tuple[nn.Sequential, Tensor, Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(4)
        model = nn.Sequential(
            nn.Linear(4, 6), nn.ReLU(inplace=True), nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)
        ).double()
        return model, normal(N, 4), labels(3)


@pytest.mark.parametrize("batch_size", [None, 7])
def test_margins_of_a_layer_are_the_input_margins_of_the_network_above_it(batch_size: int | None) -> None:
    model, x, y = network()
    record = margin(Problem(model, nn.CrossEntropyLoss(), (x, y), batch_size=batch_size), layers=("0", "3"))
    for layer, cut in (("0", 1), ("3", 4)):
        with torch.no_grad():
            h = x
            for module in model[:cut]:
                h = module(h)
        above = margin(Problem(model[cut:], nn.CrossEntropyLoss(), (h.clone(), y)))
        hidden = record.details["hidden"][layer]
        assert hidden["median"] == pytest.approx(above.value, rel=1e-10)
        for key in ("q1", "q3", "lower_fence", "upper_fence", "middle_mean", "total_variation", "misclassified"):
            assert hidden[key] == pytest.approx(above.details[key], rel=1e-10), key
    assert record.value == margin(Problem(model, nn.CrossEntropyLoss(), (x, y), batch_size=batch_size)).value
    assert all(not module._forward_hooks for module in model.modules())


def test_layers_that_are_not_there_or_run_twice_are_refused() -> None:
    model, x, y = network()
    problem = Problem(model, nn.CrossEntropyLoss(), (x, y))
    for layers, words in ((("5",), "no layer '5'"), (("",), "no layer ''")):
        with pytest.raises(OptionError, match=words):
            margin(problem, layers=layers)
    with pytest.raises(OptionError, match="2 times"):
        margin(case("tied").problem(), layers=("first",))


@pytest.mark.parametrize("name", ["relu_without_bias", "batch_norm"])
def test_jacobian_of_probabilities_by_loops(name: str) -> None:
    small = case(name)
    model = small.model.eval()
    values = []
    for n in range(N):
        J = (
            torch.autograd.functional.jacobian(lambda one: model(one).softmax(1), small.inputs[n : n + 1])
            .detach()
            .numpy()
        )
        values.append(float((J**2).sum()))
    problem = small.problem()
    record = jacobian_norm(problem, of="probabilities")
    assert record.value == pytest.approx(np.mean(values), rel=1e-10)
    assert record.details["quantiles"]["median"] == pytest.approx(np.median(values), rel=1e-10)
    logits = jacobian_norm(problem)
    assert logits.details["probabilities"] == pytest.approx(record.value, rel=1e-12)
    assert record.details["logits"] == pytest.approx(logits.value, rel=1e-12)
    probed = jacobian_norm(problem, of="probabilities", budget=2.2, seed=1)
    assert not probed.details["exact"]
    assert abs(probed.value - record.value) < 4 * probed.stderr
