"""SAM's, ASAM's, worst-case and Keskar's sharpness of least squares, whose maxima are known."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from cases import case
from quadratics import Quadratic
from torch import nn

import landscape
from landscape import Problem, Record
from landscape.errors import NonFiniteError, NotApplicableError, OptionError

NEAR = Quadratic.of(40, 6)
LEAST = Quadratic.of(40, 6, minimum=True)
ONES = np.ones(6)


class TestSam:
    @pytest.mark.parametrize("rho", [0.05, 0.5])
    def test_one_step_is_that_of_the_gradient(self, rho: float) -> None:
        record = landscape.sam_sharpness(NEAR.problem(), rho=rho)
        assert record.value == pytest.approx(NEAR.rise(rho * NEAR.g / np.linalg.norm(NEAR.g)), rel=1e-10)
        assert (record.stderr, record.sampling_stderr, record.converged) == (0, 0, True)
        assert record.cost == pytest.approx(4 / 3)
        assert record.details["perturbed_loss"] == pytest.approx(NEAR.loss + record.value, rel=1e-12)

    def test_more_steps_come_to_the_maximum_and_say_so(self) -> None:
        record = landscape.sam_sharpness(NEAR.problem(), rho=0.3, steps=40, restarts=2)
        assert record.value == pytest.approx(NEAR.highest_in_ball(ONES, 0.3), rel=1e-6)
        assert record.converged
        assert math.isnan(record.stderr), "a lower bound: what is missing is not known"
        assert record.details["starts"] == pytest.approx([record.value] * 3, rel=1e-3)
        once = landscape.sam_sharpness(NEAR.problem(), rho=0.3).value
        assert once < record.value

    def test_random_starts_leave_a_point_without_a_slope(self) -> None:
        """At the minimum to rounding the gradient points anywhere; largest is rho^2 lambda_1 / 2."""
        record = landscape.sam_sharpness(LEAST.problem(), rho=0.1, steps=60, restarts=1)
        assert record.value == pytest.approx(0.1**2 * np.linalg.eigvalsh(LEAST.A)[-1] / 2, rel=1e-6)

    def test_groups_of_samples_have_perturbations_of_their_own(self) -> None:
        """40 samples in 16, 16 and a ragged 8, weighted by their number."""
        record = landscape.sam_sharpness(NEAR.problem(), rho=0.1, m=16)
        parts = [NEAR.part(low, min(low + 16, 40)) for low in (0, 16, 32)]
        rises = [p.rise(0.1 * p.g / np.linalg.norm(p.g)) for p in parts]
        assert record.value == pytest.approx(np.average(rises, weights=[16, 16, 8]), rel=1e-10)
        assert record.value > landscape.sam_sharpness(NEAR.problem(), rho=0.1).value

    def test_a_subset_has_the_sampling_error_of_its_samples_differences(self) -> None:
        problem = NEAR.problem().choose(torch.arange(30))
        q = NEAR.part(0, 30)
        record = landscape.sam_sharpness(problem, rho=0.1)
        moved = q.w + 0.1 * q.g / np.linalg.norm(q.g)
        rises = (q.x @ moved - q.y) ** 2 - (q.x @ q.w - q.y) ** 2
        wanted = rises.std(ddof=1) / math.sqrt(30) * math.sqrt(1 - 30 / 40)
        assert record.sampling_stderr == pytest.approx(wanted, rel=1e-9)

    def test_asam_has_distances_relative_to_weights_and_not_to_biases(self) -> None:
        rng = np.random.default_rng(1)
        x, y = rng.normal(size=(30, 3)), rng.normal(size=(30, 1))
        model = nn.Linear(3, 1).double()
        w = np.append(model.weight.detach().numpy()[0], model.bias.detach().numpy())
        q = Quadratic(np.c_[x, np.ones(30)], y[:, 0], w)
        problem = Problem(model, nn.MSELoss(), (torch.from_numpy(x), torch.from_numpy(y)))
        T = np.append(np.abs(w[:3]) + 0.05, 1)
        step = 0.4 * T**2 * q.g / np.linalg.norm(T * q.g)
        assert landscape.asam_sharpness(problem, rho=0.4, eta=0.05).value == pytest.approx(q.rise(step), rel=1e-10)
        best = landscape.asam_sharpness(problem, rho=0.4, eta=0.05, steps=40)
        assert best.value == pytest.approx(q.highest_in_ball(T, 0.4), rel=1e-6)


class TestWorst:
    @pytest.mark.parametrize("adaptive", [True, False])
    def test_a_box_has_its_maximum_at_a_corner(self, adaptive: bool) -> None:
        record = landscape.worst_sharpness(NEAR.problem(), rho=0.05, adaptive=adaptive)
        half = 0.05 * (np.abs(NEAR.w) if adaptive else ONES)
        assert record.value == pytest.approx(NEAR.highest_in_box(half), rel=1e-9)
        assert record.converged
        assert math.isnan(record.stderr)

    @pytest.mark.parametrize("adaptive", [True, False])
    def test_an_ellipsoid_and_a_ball(self, adaptive: bool) -> None:
        record = landscape.worst_sharpness(NEAR.problem(), rho=0.3, norm=2, adaptive=adaptive, steps=60)
        scale = np.abs(NEAR.w) if adaptive else ONES
        assert record.value == pytest.approx(NEAR.highest_in_ball(scale, 0.3), rel=1e-5)

    def test_groups_of_samples(self) -> None:
        record = landscape.worst_sharpness(NEAR.problem(), rho=0.05, m=16)
        rises = [NEAR.part(low, min(low + 16, 40)).highest_in_box(0.05 * np.abs(NEAR.w)) for low in (0, 16, 32)]
        assert record.value == pytest.approx(np.average(rises, weights=[16, 16, 8]), rel=1e-6)
        assert record.details["group_quantiles"][0] == pytest.approx(min(rises), rel=1e-6)
        assert record.details["group_quantiles"][-1] == pytest.approx(max(rises), rel=1e-6)

    def test_a_weight_of_zero_stays_where_shifts_are_relative(self) -> None:
        w = NEAR.w.copy()
        w[2] = 0
        q = Quadratic(NEAR.x, NEAR.y, w)
        assert landscape.worst_sharpness(q.problem(), rho=0.05).value == pytest.approx(
            q.highest_in_box(0.05 * np.abs(w)), rel=1e-9
        )

    def test_the_radius_follows_the_norm(self) -> None:
        found = [landscape.worst_sharpness(NEAR.problem(), norm=n, steps=1).details["rho"] for n in (2, "inf")]  # type: ignore[arg-type]
        assert found == [0.5, 0.002]


class TestKeskar:
    @pytest.mark.parametrize("solver", ["l-bfgs-b", "apgd"])
    @pytest.mark.parametrize("epsilon", [1e-3, 0.05])
    def test_percent_of_one_plus_the_loss_over_the_box(self, solver: Any, epsilon: float) -> None:
        record = landscape.keskar_sharpness(NEAR.problem(), epsilon=epsilon, solver=solver)
        best = NEAR.highest_in_box(epsilon * (np.abs(NEAR.w) + 1))
        assert record.value == pytest.approx(100 * best / (1 + NEAR.loss), rel=1e-7)
        assert record.details["increase"] == pytest.approx(best, rel=1e-7)
        assert record.converged

    def test_a_loss_below_minus_one_has_no_relative_increase(self) -> None:
        class Below(nn.MSELoss):
            def forward(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
                return super().forward(outputs, targets) - 10

        q = NEAR.problem()
        problem = Problem(q.model, Below(), q.data)
        with pytest.raises(NotApplicableError, match=r"1 \+ L > 0, and the loss is -9"):
            landscape.keskar_sharpness(problem)


ALL: dict[str, dict[str, Any]] = {
    "sam_sharpness": {"steps": 30, "restarts": 5},
    "asam_sharpness": {"steps": 30, "restarts": 5},
    "worst_sharpness": {"steps": 30, "restarts": 5},
    "keskar_sharpness": {"steps": 30, "restarts": 5},
}


def measured(name: str, problem: Problem, **options: Any) -> Record:
    record: Record = getattr(landscape, name)(problem, **options)
    return record


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("budget", [2, 9, 33.5])
def test_the_budget_holds(name: str, budget: float) -> None:
    record = measured(name, case("batch_norm").problem(), budget=budget, **ALL[name])
    assert record.cost <= budget + 1e-9
    assert record.value > 0


@pytest.mark.parametrize("name", ALL)
def test_no_lower_bound_is_above_the_maximum(name: str) -> None:
    """Few steps from random starts stay below; a bound that shares what it is bounded by would be no bound."""
    record = measured(name, NEAR.problem(), steps=1, restarts=3)
    rho = record.details.get("rho", record.details.get("epsilon"))
    whole = {
        "sam_sharpness": NEAR.highest_in_ball(ONES, rho),
        "asam_sharpness": NEAR.highest_in_ball(np.abs(NEAR.w) + 0.01, rho),
        "worst_sharpness": NEAR.highest_in_box(rho * np.abs(NEAR.w)),
        "keskar_sharpness": 100 / (1 + NEAR.loss) * NEAR.highest_in_box(rho * (np.abs(NEAR.w) + 1)),
    }[name]
    assert 0 < record.value <= whole * (1 + 1e-9)


@pytest.mark.parametrize("name", ALL)
def test_a_loss_that_overflows_is_told(name: str) -> None:
    class Wild(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.tensor([1.0, 1.0]))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.exp(88 * (x @ self.w))

    problem = Problem(Wild(), nn.L1Loss(), (torch.full((4, 2), 0.5), torch.zeros(4)))
    with pytest.raises(NonFiniteError, match="float64"):
        measured(name, problem, **({"epsilon": 0.5} if name == "keskar_sharpness" else {"rho": 1.0}))


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("options", [{"steps": 0}, {"restarts": -1}])
def test_impossible_settings_are_refused(name: str, options: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=f"{next(iter(options))}: expected"):
        measured(name, NEAR.problem(), **options)


def test_groups_that_cut_batch_statistics_are_refused() -> None:
    problem = case("batch_norm").problem(bn="train")
    with pytest.raises(NotApplicableError, match="multiple of 128"):
        landscape.worst_sharpness(problem, m=8)
    assert landscape.worst_sharpness(problem, steps=1, restarts=0).value > 0
