"""Average-case sharpness of least squares: rho^2/2 tr(C A C) for Gaussian noise, a third of it for uniform noise."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from cases import case
from quadratics import Quadratic

import landscape
from landscape.errors import OptionError

NEAR = Quadratic.of(70, 8)


def exact(q: Quadratic, rho: float, norm: Any, adaptive: bool) -> float:
    c = np.abs(q.w) if adaptive else np.ones(len(q.w))
    return float(rho**2 * (c**2 * np.diag(q.A)).sum() / (2 if norm == 2 else 6))


@pytest.mark.parametrize("norm", [2, "inf"])
@pytest.mark.parametrize("adaptive", [True, False])
@pytest.mark.parametrize("m", [None, 16])
def test_the_trace(norm: Any, adaptive: bool, m: int | None) -> None:
    """The gradient is far from 0: pairs of opposite shifts take it out."""
    record = landscape.average_sharpness(NEAR.problem(), rho=0.3, norm=norm, adaptive=adaptive, m=m)
    assert record.converged
    assert record.stderr <= 0.05 * record.value
    assert record.value == pytest.approx(exact(NEAR, 0.3, norm, adaptive), abs=4.5 * record.stderr)
    assert record.sampling_stderr == 0


def test_the_standard_error_covers_what_it_claims() -> None:
    """100 seeds of 17 pairs. Error budget: 16 degrees of freedom and a chi-squared-like form; the squared scores have a
    mean of about 16/14 and a spread below 2, over 100 that is 0.2: four of these make 0.35 to 1.95."""
    problem, truth = NEAR.problem(), exact(NEAR, 0.1, 2, True)
    scores = []
    for seed in range(100):
        record = landscape.average_sharpness(problem, rtol=0.9, m=16, seed=seed)
        assert record.details["pairs"] == 17
        scores.append((record.value - truth) / record.stderr)
    assert abs(np.mean(scores)) < 4 * math.sqrt(1.2 / 100)
    assert 0.35 < np.mean(np.square(scores)) < 1.95


def test_the_sampling_error_is_that_of_the_samples_own_sharpness() -> None:
    """Sample n alone has (x_n . c)^2-like values rho^2 sum_i c_i^2 x_ni^2; many pairs leave no noise of their own.

    Error budget: of 300 pairs 1/sqrt(300), 6%, of a difference whose noise is taken out: 10%.
    """
    q = NEAR.part(0, 35)
    record = landscape.average_sharpness(NEAR.problem().choose(torch.arange(35)), rho=0.2, rtol=1e-9, budget=200)
    own = 0.2**2 * (q.w**2 * q.x**2).sum(1)
    assert record.value == pytest.approx(own.mean(), abs=4.5 * record.stderr)
    wanted = own.std(ddof=1) / math.sqrt(35) * math.sqrt(0.5)
    assert record.sampling_stderr == pytest.approx(wanted, rel=0.1)


@pytest.mark.parametrize("budget", [0.5, 1.1, 5.0, 20.0])
def test_the_budget_holds(budget: float) -> None:
    record = landscape.average_sharpness(NEAR.problem(), rtol=1e-9, budget=budget)
    assert record.cost <= max(budget, 1) + 1e-9  # one pair is always taken
    assert record.details["pairs"] == max(1, int((budget - 1 / 3) * 1.5 + 1e-9))
    assert math.isnan(record.stderr) == (record.details["pairs"] < 2)
    assert not record.converged


def test_samples_count_by_their_labels_and_the_accuracy_is_that_under_noise() -> None:
    """Against a plain loop with another generator, within the two errors."""
    small = case("weighted_and_ignored")
    record = landscape.average_sharpness(small.problem(), rho=0.5, adaptive=False, rtol=0.03)
    f, kept = small.function, small.targets != 255
    rng = np.random.default_rng(0)
    rises, right = [], []
    for _ in range(2000):
        theta = f.theta + torch.from_numpy(0.5 * rng.normal(size=len(f.theta)))
        rises.append(float(f.mean_loss(theta) - f.mean_loss(f.theta)))
        right.append(float((f.outputs(theta, small.inputs).argmax(1) == small.targets)[kept].double().mean()))
    error = math.hypot(record.stderr, np.std(rises) / math.sqrt(2000))
    assert record.value == pytest.approx(np.mean(rises), abs=4.5 * error)
    spread = np.std(right) * math.sqrt(1 / 2000 + 1 / record.details["pairs"])
    assert record.details["perturbed_accuracy"] == pytest.approx(np.mean(right), abs=4.5 * spread)
    assert record.details["perturbed_loss"] == pytest.approx(float(f.mean_loss(f.theta)) + record.value, rel=1e-12)
    assert np.mean(record.details["increases"]) == pytest.approx(record.value, rel=1e-12)


def test_a_radius_that_is_none_is_refused() -> None:
    with pytest.raises(OptionError, match="rho: expected a value greater than 0, got 0"):
        landscape.average_sharpness(NEAR.problem(), rho=0)
