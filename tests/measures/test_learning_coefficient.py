"""The local learning coefficient of a regular model, in closed form, and of a singular one, by quadrature.

Least squares at its minimum, L - L* = x'A x/2 with eigenvalues a_i, has Gaussian posteriors: at a finite gamma

    n beta E [L - L*] = sum_i n beta a_i / (2 (n beta a_i + gamma)),

which tends to d/2; a step eps makes the variance of a direction of curvature h = n beta a + gamma larger by a factor
1/(1 - eps h/4), exactly. L = (w_1 w_2)^2 has the learning coefficient 1/2 with multiplicity 2.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import scipy.integrate
import torch
from quadratics import Quadratic
from torch import nn

import landscape
from landscape import Problem
from landscape.errors import NonFiniteError, NotApplicableError, OptionError

LEAST = Quadratic.of(48, 5, minimum=True)


def regular(gamma: float, nbeta: float, eps: float = 0.0) -> float:
    a = nbeta * np.linalg.eigvalsh(LEAST.A)
    h = a + gamma
    return float((a / (2 * h * (1 - eps * h / 4))).sum())


class Product(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(2, dtype=torch.float64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.w[0] * self.w[1]


def singular() -> Problem:
    ones = torch.ones(4, 1, dtype=torch.float64)
    return Problem(Product(), nn.MSELoss(), (ones, 0 * ones))


def product_expectation(gamma: float, nbeta: float) -> float:
    """n beta E[(w_1 w_2)^2]: w_2 given w_1 is Gaussian of precision 2 n beta w_1^2 + gamma, so one integral is left."""

    def density(a: float) -> float:
        return math.exp(-gamma * a * a / 2) / math.sqrt(2 * nbeta * a * a + gamma)

    def moment(a: float) -> float:
        return density(a) * nbeta * a * a / (2 * nbeta * a * a + gamma)

    limit = 10 / math.sqrt(gamma)
    marks = {"points": [1 / math.sqrt(nbeta), 0.1 * limit], "limit": 200}
    return float(
        scipy.integrate.quad(moment, 0, limit, **marks)[0] / scipy.integrate.quad(density, 0, limit, **marks)[0]
    )


def test_the_quadrature_tends_to_the_learning_coefficient() -> None:
    """1/2, slowly: the multiplicity makes the rest fall with 1/log n only."""
    found = [product_expectation(1.0, 10.0**k) for k in (2, 4, 8, 12)]
    assert found == sorted(found)
    assert 0.45 < found[-1] < 0.5


@pytest.mark.parametrize(("gamma", "nbeta"), [(1.0, None), (20.0, None), (20.0, 3000.0)])
def test_of_a_regular_model(gamma: float, nbeta: float | None) -> None:
    """Whole batches, so that nothing but the step is between the chains and the closed form."""
    temperature = nbeta or 48 / math.log(48)
    eps = 0.8 / (temperature * np.linalg.eigvalsh(LEAST.A)[-1] + gamma)
    record = landscape.local_learning_coefficient(
        LEAST.problem(), gamma=gamma, nbeta=nbeta, step_size=eps, chains=8, steps=300, burn_in=0.3, budget=1e5
    )
    assert record.value == pytest.approx(regular(gamma, temperature, eps), abs=4.5 * record.stderr)
    assert 0 < record.stderr < 0.15 * record.value
    excess = regular(gamma, temperature, eps) / regular(gamma, temperature) - 1
    assert record.details["step_bias"] == pytest.approx(excess, rel=0.25), "to first order"
    assert record.details["left"] == record.details["negative"] == []
    assert record.details["nbeta"] == pytest.approx(temperature)
    assert np.mean(record.details["chain_values"]) == pytest.approx(record.value)
    assert record.details["perturbed_loss"] == pytest.approx(LEAST.loss + record.value / temperature, rel=1e-9)
    if nbeta is not None:
        assert regular(gamma, nbeta) == pytest.approx(5 / 2, rel=0.05), "d/2 in the limit"


def test_mini_batches_give_the_same_within_their_errors() -> None:
    record = landscape.local_learning_coefficient(
        LEAST.problem(), gamma=5.0, step_size=1e-3, chains=8, steps=600, burn_in=0.3, m=20, budget=1e5
    )
    assert record.details["m"] == 20  # 20, 20 and a ragged 8
    slack = record.details["step_bias"] * record.value
    assert record.value == pytest.approx(regular(5.0, 48 / math.log(48)), abs=4.5 * record.stderr + slack)


def test_of_a_singular_model() -> None:
    record = landscape.local_learning_coefficient(
        singular(), gamma=10.0, nbeta=145.0, step_size=4e-3, chains=6, steps=1200, burn_in=0.2, budget=1e5
    )
    slack = record.details["step_bias"] * record.value
    assert slack < 0.02
    assert record.value == pytest.approx(product_expectation(10.0, 145.0), abs=4.5 * record.stderr + slack)
    assert record.value < 0.5 < 2 / 2, "fewer than the two parameters of a regular model"


def test_the_bias_that_it_tells_is_that_of_the_step() -> None:
    """A long step in one dimension of curvature h: the variance is 1/(h (1 - eps h/4)), the excess eps h/4 of it.

    Error budget: 6 chains of 700 steps know the mean of a square to about 3%, a tenth of what the step adds.
    """
    x = np.ones((4, 1))
    q = Quadratic(x, np.zeros(4), np.zeros(1))
    h = 10 * 2 + 1.0
    eps = 0.8 / h
    record = landscape.local_learning_coefficient(
        q.problem(), gamma=1.0, nbeta=10.0, step_size=eps, chains=6, steps=700, burn_in=0.1, budget=1e6
    )
    truth = 10 / h
    assert record.details["step_bias"] == pytest.approx(eps * h / 4, rel=1e-9)
    assert record.value == pytest.approx(truth / (1 - eps * h / 4), abs=4.5 * record.stderr)
    assert record.value - truth > 4.5 * record.stderr
    assert not record.converged, "a bias of a fifth is no convergence"


def test_chains_that_leave_are_told_and_left_out() -> None:
    record = landscape.local_learning_coefficient(
        singular(), gamma=1.0, nbeta=145.0, step_size=0.016, chains=8, steps=500, budget=1e6
    )
    left = record.details["left"]
    values = record.details["chain_values"]
    assert 0 < len(left) < 7
    assert all(not math.isfinite(values[c]) or values[c] > 2 for c in left)
    stayed = [v for c, v in enumerate(values) if c not in left]
    assert record.value == pytest.approx(np.mean(stayed))
    assert record.stderr == pytest.approx(np.std(stayed, ddof=1) / math.sqrt(len(stayed)))
    assert not record.converged


def test_where_all_leave_the_step_is_named() -> None:
    with pytest.raises(NonFiniteError, match=r"every chain left .* set step_size below 5"):
        landscape.local_learning_coefficient(LEAST.problem(), step_size=5.0, steps=400, chains=2, budget=1e5)


def test_weights_that_are_no_minimum_are_told() -> None:
    near = Quadratic(LEAST.x, LEAST.y, LEAST.w + 1.0)
    record = landscape.local_learning_coefficient(
        near.problem(), gamma=1.0, step_size=2e-3, chains=2, steps=600, budget=1e5
    )
    assert record.value < 0
    assert record.details["negative"] == [0, 1]
    assert not record.converged


def test_a_step_size_is_found_that_does_little_harm() -> None:
    record = landscape.local_learning_coefficient(LEAST.problem(), gamma=1.0, chains=4, steps=400, budget=4000)
    assert 0 < record.details["step_size"] <= 0.02
    assert record.details["step_bias"] < 0.1
    assert record.details["left"] == []


@pytest.mark.parametrize("step_size", [None, 1e-4])
@pytest.mark.parametrize("budget", [30.0, 100.0])
def test_the_budget_holds(step_size: float | None, budget: float) -> None:
    record = landscape.local_learning_coefficient(LEAST.problem(), step_size=step_size, m=16, budget=budget)
    assert record.cost <= budget + 1e-9
    assert record.cost > budget - 2
    assert len(record.details["traces"]) == 4
    assert record.details["steps"] < 1000


@pytest.mark.parametrize("options", [{"gamma": 0.0}, {"steps": 1}, {"burn_in": 1.0}, {"m": 0}, {"chains": 0}])
def test_impossible_settings_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=f"{next(iter(options))}: expected"):
        landscape.local_learning_coefficient(LEAST.problem(), **options)


def test_one_sample_has_no_temperature() -> None:
    with pytest.raises(NotApplicableError, match="at least two samples"):
        landscape.local_learning_coefficient(LEAST.part(0, 1).problem())


def test_one_chain_has_no_error_and_a_subset_no_sampling_error() -> None:
    part = LEAST.problem().choose(torch.arange(20))
    record = landscape.local_learning_coefficient(part, step_size=1e-4, chains=1, steps=8)
    assert math.isnan(record.stderr)
    assert math.isnan(record.sampling_stderr)
    assert not record.converged
