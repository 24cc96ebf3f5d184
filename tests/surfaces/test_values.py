"""Values at a point against plain PyTorch; recalibrated statistics against PyTorch's cumulative average."""

import copy
import math

import pytest
import torch
from cases import case
from torch import nn

from landscape import Problem
from landscape.errors import NotApplicableError
from landscape.surfaces.values import Recalibration, value_at


@pytest.mark.parametrize("name", ["batch_norm", "weighted_and_ignored", "linear_regression"])
def test_the_value_at_the_weights_is_that_of_plain_pytorch(name):
    built = case(name)
    problem = built.problem(batch_size=5)
    model = copy.deepcopy(built.model).eval()
    outputs = model(built.inputs)
    loss, accuracy = value_at(problem, problem.parameters)
    assert math.isclose(loss, built.loss(outputs, built.targets).item(), rel_tol=1e-12)
    if name == "linear_regression":
        assert math.isnan(accuracy)
        return
    counted = built.targets != 255
    right = (outputs.argmax(1) == built.targets)[counted]
    assert math.isclose(accuracy, right.double().mean().item(), rel_tol=1e-12)


def test_elsewhere_too_and_buffers_may_be_given():
    built = case("batch_norm")
    problem, model = built.problem(), copy.deepcopy(built.model).eval()
    theta = {}
    with torch.no_grad():
        for name, p in model.named_parameters():
            theta[name] = p * 0.7 + 0.1
            p.copy_(theta[name])
        model[1].running_var.mul_(1.5)
        theta["1.running_var"] = model[1].running_var.clone()
        expected = built.loss(model(built.inputs), built.targets).item()
    assert math.isclose(value_at(problem, theta)[0], expected, rel_tol=1e-12)


def test_a_loss_that_is_no_number_stays_one():
    problem = case("batch_norm").problem()
    theta = {name: t * math.inf for name, t in problem.parameters.items()}
    loss, accuracy = value_at(problem, theta)
    assert math.isnan(loss)
    assert math.isnan(accuracy)


@pytest.fixture(params=[0.1, None])
def network(request):
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3, momentum=request.param), nn.ReLU(), nn.Flatten(),
        nn.Linear(12, 4), nn.BatchNorm1d(4, momentum=request.param), nn.ReLU(), nn.Linear(4, 2),
    ).double()  # fmt: skip
    inputs, targets = torch.randn(256, 1, 4, 4, dtype=torch.float64) + 1, torch.randint(2, (256,))
    return model, inputs, targets


def test_recalibrated_statistics_are_pytorchs_cumulative_average(network):
    model, inputs, targets = network
    state = {name: t.clone() for name, t in model.state_dict().items()}
    problem = Problem(model, nn.CrossEntropyLoss(), (inputs, targets), batch_size=31)
    theta = {name: 1.3 * t + 0.05 for name, t in problem.parameters.items()}
    found = Recalibration(problem).buffers(theta)

    plain = copy.deepcopy(model)
    with torch.no_grad():
        for name, p in plain.named_parameters():
            p.copy_(theta[name])
    for module in plain.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.reset_running_stats()
            module.momentum = None
    plain.train()
    with torch.no_grad():
        for part in inputs.split(128):
            plain(part)
    plain.eval()
    for name, buffer in plain.named_buffers():
        if not name.endswith("tracked"):
            torch.testing.assert_close(found[name], buffer, rtol=1e-12, atol=1e-14)
    expected = nn.functional.cross_entropy(plain(inputs), targets).item()
    assert math.isclose(value_at(problem, {**theta, **found})[0], expected, rel_tol=1e-12)
    assert all(torch.equal(t, state[name]) for name, t in model.state_dict().items())


def test_a_network_without_statistics_has_nothing_to_recalibrate():
    with pytest.raises(NotApplicableError, match="no batch normalisation"):
        Recalibration(case("deep_linear").problem())


def test_a_layer_that_runs_twice_is_refused():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.linear = nn.BatchNorm1d(3), nn.Linear(3, 2)

        def forward(self, x):
            return self.linear(self.norm(self.norm(x).tanh()))

    data = (torch.randn(20, 3), torch.randint(2, (20,)))
    problem = Problem(Twice(), nn.CrossEntropyLoss(), data)
    with pytest.raises(NotApplicableError, match="norm runs 2 times"):
        Recalibration(problem).buffers(problem.parameters)
