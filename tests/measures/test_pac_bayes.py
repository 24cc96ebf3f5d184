"""PAC-Bayes sigma where the mean drop is known: a linear classifier under Gaussian noise, and least squares.

The score w'x of a sample becomes Gaussian with the standard deviation of u'x, so its label is lost with the probability
Phi(-w'x / sd); the mean loss of least squares rises by sigma^2/2 tr A.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.optimize
import scipy.stats
import torch
from cases import case
from quadratics import Quadratic
from torch import nn

import landscape
from landscape import Problem
from landscape.errors import NotApplicableError, OptionError

NEAR = Quadratic.of(70, 8)
W = np.array([1.0, 2.0, -1.0, 0.5])
MEASURES = ("pac_bayes_sigma", "pac_bayes_sigma_magnitude")


class Two(nn.Module):
    """Logits (0, w'x): a label is 1 where w'x is positive."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.from_numpy(W.copy()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.stack([torch.zeros(len(x), dtype=x.dtype), x @ self.w], 1)


def classifier(n: int) -> tuple[Problem, np.ndarray]:
    """Every sample is right, some by little; and the samples."""
    x = np.random.default_rng(0).normal(size=(n, 4))
    x[x @ W < 0] *= -1
    data = torch.from_numpy(x), torch.ones(n, dtype=torch.long)
    return Problem(Two(), nn.CrossEntropyLoss(), data), x


def lost(x: np.ndarray, variance_of: Callable[[float], np.ndarray], sigma: float) -> np.ndarray:
    return np.asarray(scipy.stats.norm.cdf(-(x @ W) / np.sqrt(x**2 @ variance_of(sigma))))


def plain(s: float) -> np.ndarray:
    return np.full(4, s**2)


def relative(s: float) -> np.ndarray:
    return np.asarray(s**2 * W**2 + 1e-6)


def solved(x: np.ndarray, variance_of: Callable[[float], np.ndarray], target: float) -> float:
    return float(scipy.optimize.brentq(lambda s: lost(x, variance_of, s).mean() - target, 1e-3, 1e3))


@pytest.mark.parametrize(("name", "variance_of"), [(MEASURES[0], plain), (MEASURES[1], relative)])
@pytest.mark.parametrize("target", [0.1, 0.25])
def test_of_a_linear_classifier(name: str, variance_of: Callable[[float], np.ndarray], target: float) -> None:
    problem, x = classifier(150)
    record = getattr(landscape, name)(problem, target=target, m=16)
    truth = solved(x, variance_of, target)
    assert record.converged
    assert record.stderr <= 0.05 * record.value
    assert record.value == pytest.approx(truth, abs=4.5 * record.stderr)
    assert record.details["flatness"] == pytest.approx(record.value**-2)
    levels = record.details["levels"]
    for sigma, drop, error in zip(levels["sigma"], levels["drop"], levels["stderr"], strict=True):
        assert drop == pytest.approx(lost(x, variance_of, sigma).mean(), abs=4.5 * error)
    assert record.details["perturbed_accuracy"] == pytest.approx(1 - levels["drop"][1], rel=1e-9)


def test_sigma_is_a_standard_deviation_and_not_its_square() -> None:
    """A code in use draws with sigma^2 in its place, and would find the root of this sigma."""
    problem, x = classifier(150)
    record = landscape.pac_bayes_sigma(problem, m=16)
    truth = solved(x, plain, 0.1)
    assert abs(math.sqrt(truth) - truth) > 5 * record.stderr
    assert record.value == pytest.approx(truth, abs=4.5 * record.stderr)


def test_the_standard_error_covers_what_it_claims() -> None:
    """40 seeds of 17 draws. Error budget: the squared scores of 16 degrees of freedom have a mean of 16/14 and a spread
    of 2, over 40 that is 0.32: we allow 0.3 to 2.4; their mean is within 4/sqrt(40) and the bias of a root,
    of which a parabola over a tenth of sigma leaves little."""
    problem, x = classifier(60)
    truth = solved(x, plain, 0.1)
    records = [landscape.pac_bayes_sigma(problem, m=30, rtol=0.3, seed=seed) for seed in range(40)]
    assert all(r.converged for r in records)
    assert {r.details["draws"] for r in records} == {17}
    scores = [(r.value - truth) / r.stderr for r in records]
    assert abs(np.mean(scores)) < 4 * math.sqrt(1.2 / 40)
    assert 0.3 < np.mean(np.square(scores)) < 2.4


def test_of_the_loss_of_least_squares() -> None:
    record = landscape.pac_bayes_sigma(NEAR.problem(), of="loss", target=0.2, m=16)
    assert record.value == pytest.approx(math.sqrt(0.4 / np.trace(NEAR.A)), abs=4.5 * record.stderr)
    assert record.converged
    assert math.isnan(record.details["perturbed_accuracy"])


def test_the_sampling_error_is_that_of_the_drop_over_its_slope() -> None:
    """Error budget: 100 draws and more know a sample's own probability to some 4%, and the slope to 10%: a fifth."""
    problem, x = classifier(120)
    record = landscape.pac_bayes_sigma(problem.choose(torch.arange(60)), rtol=1e-9, budget=150, m=4)
    part = x[:60]
    sigma = solved(part, plain, 0.1)
    slope = (lost(part, plain, 1.01 * sigma).mean() - lost(part, plain, 0.99 * sigma).mean()) / (0.02 * sigma)
    wanted = lost(part, plain, sigma).std(ddof=1) / math.sqrt(60) * math.sqrt(0.5) / slope
    assert record.sampling_stderr == pytest.approx(wanted, rel=0.2)
    assert record.cost <= 150


@pytest.mark.parametrize("name", MEASURES)
@pytest.mark.parametrize("budget", [20.0, 60.0])
def test_the_budget_holds(name: str, budget: float) -> None:
    problem, _ = classifier(60)
    record = getattr(landscape, name)(problem, rtol=1e-9, budget=budget)
    assert budget - 2 < record.cost <= budget + 1e-9
    assert not record.converged


def constant() -> Problem:
    """The first class alone, whatever the noise: logits that do not depend on the weights' noise in sign."""

    class Squared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.ones(2, dtype=torch.float64))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.stack([(x @ self.w) ** 2 + 1, torch.zeros(len(x), dtype=x.dtype)], 1)

    return Problem(Squared(), nn.CrossEntropyLoss(), (torch.ones(6, 2, dtype=torch.float64), torch.zeros(6).long()))


def wrong() -> Problem:
    problem, _ = classifier(30)
    return Problem(problem.model, problem.loss, (problem.data[0], torch.zeros(30, dtype=torch.long)))


@pytest.mark.parametrize("name", MEASURES)
@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: case("linear_regression").problem(), "no accuracy to lose; set its option `of` to loss"),
        (constant, "the accuracy drops by less than 0.1 under any noise"),
        (wrong, "the accuracy, 0, is not above the target 0.1"),
    ],
)
def test_where_it_does_not_apply_it_says_why(name: str, build: Callable[[], Problem], words: str) -> None:
    with pytest.raises(NotApplicableError, match=words):
        getattr(landscape, name)(build())


def test_noise_that_costs_too_much_by_itself_is_told() -> None:
    problem, _ = classifier(60)
    with pytest.raises(NotApplicableError, match=r"drops by more than 0\.1 under any noise"):
        landscape.pac_bayes_sigma_magnitude(problem, epsilon=5.0)


@pytest.mark.parametrize("options", [{"target": 0.0}, {"epsilon": -1.0}])
def test_impossible_settings_are_refused(options: dict[str, Any]) -> None:
    problem, _ = classifier(30)
    with pytest.raises(OptionError, match=f"{next(iter(options))}: expected"):
        landscape.pac_bayes_sigma_magnitude(problem, **options)
