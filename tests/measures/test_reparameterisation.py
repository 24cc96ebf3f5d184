"""rho: a unit's incoming weights and bias times c, its outgoing weights divided by c. f stays.

Error budget: one rescaling rounds each product once; 1e-10 leaves room for the sums.
"""

from __future__ import annotations

import copy

import numpy as np
import oracles
import pytest
import torch
from cases import Case, case
from torch import nn

import landscape
from landscape import Problem

UNIT, FACTOR = 1, 5.0


def rescaled(small: Case, incoming: list[str], outgoing: str) -> Case:
    model = copy.deepcopy(small.model)
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name in incoming:
            parameters[name][UNIT] *= FACTOR
        parameters[outgoing][:, UNIT] /= FACTOR
    twin = Case(small.name, model, small.loss, small.inputs, small.targets)
    before, after = (c.function.outputs(c.function.theta, c.inputs) for c in (small, twin))
    assert torch.allclose(before, after, rtol=1e-12)
    return twin


def relu_net() -> Case:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)).double()
        x, y = torch.randn(37, 4, dtype=torch.float64), torch.randint(3, (37,))
    return Case("relu", model, nn.CrossEntropyLoss(), x, y)


def normalised_net() -> Case:
    small = case("batch_norm")
    model = copy.deepcopy(small.model)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model[3] = nn.Conv2d(4, 4, 3, stride=2).double()  # ungrouped, so that one input channel is one column
    return Case("normalised", model, small.loss, small.inputs, small.targets)


PAIRS = {
    "weights and bias": (relu_net, ["0.weight", "0.bias"], "2.weight"),
    "gamma and beta": (normalised_net, ["1.weight", "1.bias"], "3.weight"),
}


@pytest.mark.parametrize("pair", PAIRS)
def test_what_depends_on_the_function_alone_does_not_move(pair: str) -> None:
    build, incoming, outgoing = PAIRS[pair]
    small = build()
    before, after = (c.problem() for c in (small, rescaled(small, incoming, outgoing)))
    for measure in (
        landscape.connectivity,
        landscape.connectivity_batch,
        landscape.fisher_rao,
        landscape.margin,
        landscape.jacobian_norm,
    ):
        assert measure(after).value == pytest.approx(measure(before).value, rel=1e-10), measure.__name__
    by_tensor = (landscape.connectivity(p, by="tensor").groups for p in (before, after))
    assert next(by_tensor) == pytest.approx(next(by_tensor), rel=1e-10)


@pytest.mark.parametrize("pair", PAIRS)
def test_sharpness_relative_to_the_weights_does_not_move(pair: str) -> None:
    """Shifts in proportion to each weight are rescaled with it, noise and ascent alike."""
    build, incoming, outgoing = PAIRS[pair]
    small = build()
    before, after = (c.problem() for c in (small, rescaled(small, incoming, outgoing)))
    for measure, options in (
        (landscape.average_sharpness, {"rho": 0.3, "budget": 6}),
        (landscape.worst_sharpness, {"rho": 0.05, "steps": 4}),
        (landscape.worst_sharpness, {"norm": 2, "steps": 4}),
        (landscape.pac_bayes_sigma_magnitude, {"of": "loss", "epsilon": 0.0, "budget": 20}),
    ):
        found = [measure(p, **options).value for p in (before, after)]  # type: ignore[operator]
        assert found[1] == pytest.approx(found[0], rel=1e-8), measure.__name__
    for measure in (landscape.sam_sharpness, landscape.keskar_sharpness):
        found = [measure(p).value for p in (before, after)]
        assert abs(found[1] - found[0]) > 1e-3 * abs(found[0]), measure.__name__


@pytest.mark.parametrize("pair", PAIRS)
def test_curvature_moves(pair: str) -> None:
    build, incoming, outgoing = PAIRS[pair]
    small = build()
    twin = rescaled(small, incoming, outgoing)
    traces = [float(np.trace(oracles.hessian(c.function))) for c in (small, twin)]
    assert abs(traces[1] - traces[0]) > 0.05 * abs(traces[0])
    for c, exact in zip((small, twin), traces, strict=True):
        record = landscape.hessian_trace(c.problem(), rtol=0.1, budget=200)
        assert record.value == pytest.approx(exact, abs=4.5 * record.stderr)
    top = [landscape.top_eigenvalues(c.problem(), rtol=1e-3, budget=200).value for c in (small, twin)]
    assert abs(top[1] - top[0]) > 0.01 * top[0]


def test_margins_and_connectivity_do_not_know_the_scale_of_the_inputs() -> None:
    """x -> 3 x with the first weights divided by 3: normalised margins and C stay."""
    small = relu_net()
    model = copy.deepcopy(small.model)
    with torch.no_grad():
        model[0].weight /= 3
    scaled = Problem(model, small.loss, (small.inputs * 3, small.targets))
    for measure in (landscape.margin, landscape.connectivity):
        assert measure(scaled).value == pytest.approx(measure(small.problem()).value, rel=1e-10)
