"""Each optimizer against its formula in NumPy float64, and what the registry promises of all of them."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

from landscape.config.training import TrainConfig
from landscape.errors import OptionError
from landscape.training.optimizers import OPTIMIZERS, build_optimizer, fill_options

START = np.array([1.0, -2.0, 0.5, 0.0])
GRADIENTS = np.array([[0.3, -0.1, 2.0, 1e-3], [-0.7, 0.4, 0.0, 1e-3], [0.1, 0.1, -5.0, 1e-3]])


def sgd_by_hand(lr, momentum, weight_decay):
    theta, velocity = START.copy(), np.zeros(4)
    for gradient in GRADIENTS:
        velocity = momentum * velocity + gradient + weight_decay * theta
        theta = theta - lr * velocity
    return theta


def adamw_by_hand(lr, weight_decay):
    theta, m, v = START.copy(), np.zeros(4), np.zeros(4)
    for t, gradient in enumerate(GRADIENTS, start=1):
        theta = theta * (1 - lr * weight_decay)
        m = 0.9 * m + 0.1 * gradient
        v = 0.999 * v + 0.001 * gradient**2
        theta = theta - lr * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
    return theta


CASES = [
    ("sgd", {"lr": 0.2, "momentum": 0.8, "weight_decay": 0.1}, sgd_by_hand),
    ("sgd", {"lr": 0.2, "momentum": 0.0, "weight_decay": 0.0}, sgd_by_hand),
    ("adamw", {"lr": 0.05, "weight_decay": 0.3}, adamw_by_hand),
]


@pytest.mark.parametrize(("name", "options", "by_hand"), CASES)
def test_three_steps_by_hand(name, options, by_hand):
    theta = nn.Parameter(torch.tensor(START))
    optimizer = build_optimizer(TrainConfig(optimizer=name, **options), [theta])
    for gradient in GRADIENTS:
        theta.grad = torch.tensor(gradient)
        optimizer.step()
    np.testing.assert_allclose(theta.detach().numpy(), by_hand(**options), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_state_goes_on_after_a_round_trip(name):
    def step(theta, optimizer, gradient):
        theta.grad = torch.tensor(gradient)
        optimizer.step()

    config = TrainConfig(optimizer=name)
    theta = nn.Parameter(torch.tensor(START))
    optimizer = build_optimizer(config, [theta])
    step(theta, optimizer, GRADIENTS[0])
    again = nn.Parameter(theta.detach().clone())
    second = build_optimizer(config, [again])
    second.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for gradient in GRADIENTS[1:]:
        step(theta, optimizer, gradient)
        step(again, second, gradient)
    assert torch.equal(theta, again)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_defaults_are_filled_in_and_settings_keep_theirs(name):
    filled = fill_options(TrainConfig(optimizer=name))
    for option, field in OPTIMIZERS[name].options.model_fields.items():
        assert getattr(filled, option) == field.default
    assert fill_options(filled) == filled
    assert fill_options(TrainConfig(optimizer=name, lr=0.25)).lr == 0.25


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_options_are_settings_of_a_run(name):
    assert OPTIMIZERS[name].name == name
    assert OPTIMIZERS[name].options.model_fields.keys() <= TrainConfig.model_fields.keys()


def test_an_option_of_another_optimizer_is_refused_with_the_reason():
    with pytest.raises(OptionError, match=r"adamw takes no momentum; it takes lr, weight_decay\. .* choose sgd"):
        fill_options(TrainConfig(optimizer="adamw", momentum=0.9))


def test_an_unknown_optimizer_offers_near_names():
    with pytest.raises(OptionError, match="Did you mean adamw"):
        build_optimizer(TrainConfig(optimizer="adamv"), [nn.Parameter(torch.zeros(1))])


def test_sgd_on_a_quadratic_converges_at_the_rate_of_theory():
    # L = h/2 theta^2 without momentum contracts by |1 - eta h| a step.
    theta = nn.Parameter(torch.tensor([1.0], dtype=torch.float64))
    optimizer = build_optimizer(TrainConfig(lr=0.1, momentum=0, weight_decay=0), [theta])
    for _ in range(10):
        optimizer.zero_grad()
        (1.5 * theta**2).sum().backward()
        optimizer.step()
    assert math.isclose(theta.item(), (1 - 0.1 * 3) ** 10, rel_tol=1e-12)
