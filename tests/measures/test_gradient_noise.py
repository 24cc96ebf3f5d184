"""The gradient noise scale as a measure, against the definitions over single samples."""

from __future__ import annotations

import numpy as np
import oracles
import pytest
import torch
from cases import case
from torch import nn

from landscape import Problem
from landscape.errors import NotApplicableError
from landscape.measures.gradient_noise import gradient_noise_scale


def test_blocks_of_one_sample_give_the_covariance_itself() -> None:
    """With blocks of one sample S is the trace of the sample covariance, |G|^2 its unbiased companion."""
    small = case("linear_regression")
    gradients = oracles.per_sample_gradients(small.function)
    n, mean = len(gradients), gradients.mean(0)
    noise = ((gradients - mean) ** 2).sum() / (n - 1)
    signal = mean @ mean - noise / n
    assert signal > 0
    record = gradient_noise_scale(small.problem(), size=1)
    assert record.value == pytest.approx(noise / signal, rel=1e-10)
    assert record.details["noise"] == pytest.approx(noise, rel=1e-10)
    assert record.details["signal"] == pytest.approx(signal, rel=1e-10)
    assert record.details["blocks"] == n


def linear(x: np.ndarray) -> Problem:
    """l = -theta.x: the gradient of a sample is -x."""
    data = (torch.from_numpy(x), torch.zeros(len(x)))
    return Problem(nn.Linear(x.shape[1], 1, bias=False).double(), lambda f, y: -f[:, 0], data)


def test_a_linear_model_with_known_noise() -> None:
    """x with mean 2 and variance 1 in each of 5 directions: S = 5, |G|^2 = 20."""
    record = gradient_noise_scale(linear(np.random.default_rng(0).normal(2.0, 1.0, (4096, 5))), size=16)
    assert abs(record.value - 5 / 20) < 4 * record.stderr
    assert record.stderr < 0.02
    assert record.converged


def test_batch_size_and_repetition_change_nothing() -> None:
    x = np.random.default_rng(2).normal(0.5, 1.0, (101, 5))
    first = gradient_noise_scale(linear(x), size=8)
    for problem in (linear(x), linear(x).choose(batch_size=7), linear(x).choose(batch_size=1)):
        again = gradient_noise_scale(problem, size=8)
        assert again.value == pytest.approx(first.value, rel=1e-10)
        assert again.stderr == pytest.approx(first.stderr, rel=1e-8)
        assert again.cost == first.cost


def test_too_few_samples_and_hidden_signals_are_told() -> None:
    with pytest.raises(NotApplicableError, match="three blocks of 32"):
        gradient_noise_scale(case("frozen").problem())
    with pytest.raises(NotApplicableError, match="size=128"):
        gradient_noise_scale(case("batch_norm").problem(bn="train"), size=8)
    x = np.random.default_rng(1).normal(0.0, 1.0, (64, 5))
    with pytest.raises(NotApplicableError, match="hides the mean gradient"):
        gradient_noise_scale(linear(x - x.mean(0)), size=4)
