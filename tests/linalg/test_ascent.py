"""Ways up quadratic functions whose maxima are known, and the sets that they stay in."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from quadratics import Quadratic
from torch import Tensor

from landscape.linalg.ascent import Ascent, Function, Point, apgd, checkpoints, lbfgsb, linear_ascent
from landscape.linalg.ball import Ball

EVERY = Quadratic.of(30, 6)
ONES = np.ones(6)


def function_of(q: Quadratic) -> Function:
    def function(u: Tensor) -> Point:
        e = u.numpy()
        return Point(u, q.rise(e), torch.from_numpy(q.g + q.A @ e))

    return function


def origin(q: Quadratic) -> Point:
    return function_of(q)(torch.zeros(len(q.w), dtype=torch.float64))


Walk = Callable[[Function, Point, Ball], Ascent]
WALKS: dict[str, Walk] = {
    "linear": lambda f, start, ball: linear_ascent(f, start, ball, 60),
    "apgd": lambda f, start, ball: apgd(f, start, ball, 60),
    "l-bfgs-b": lambda f, start, ball: lbfgsb(f, start, ball, 30, 200),
}


@pytest.mark.parametrize("walk", ["linear", "apgd"])
@pytest.mark.parametrize("radius", [0.05, 1.0])
def test_the_maximum_of_a_quadratic_over_a_ball(walk: str, radius: float) -> None:
    """The gap is what the first order still offers: nothing at the maximum. Error budget: 60 steps contract by 1e-8."""
    ball = Ball(radius, 2)
    found = WALKS[walk](function_of(EVERY), origin(EVERY), ball)
    assert found.best.value == pytest.approx(EVERY.highest_in_ball(ONES, radius), rel=1e-6)
    assert float(found.best.u.norm()) <= radius * (1 + 1e-12)
    assert ball.gap(found.best.u, found.best.slope) <= 1e-3 * found.best.value
    assert found.values[0] == 0
    assert max(found.values) == found.best.value


@pytest.mark.parametrize("walk", WALKS)
def test_the_maximum_of_a_quadratic_over_a_box_is_a_corner(walk: str) -> None:
    ball = Ball(0.02, "inf")
    found = WALKS[walk](function_of(EVERY), origin(EVERY), ball)
    assert found.best.value == pytest.approx(EVERY.highest_in_box(0.02 * ONES), rel=1e-9)
    assert ball.gap(found.best.u, found.best.slope) <= 1e-9


@pytest.mark.parametrize("walk", ["apgd", "l-bfgs-b"])
def test_a_maximum_inside_is_found_too(walk: str) -> None:
    """-|u - c|^2 with c inside the box; the linear way only knows its border."""
    c = torch.tensor([0.3, -0.2, 0.1], dtype=torch.float64)

    def function(u: Tensor) -> Point:
        return Point(u, -float(((u - c) ** 2).sum()), -2 * (u - c))

    found = WALKS[walk](function, function(torch.zeros(3, dtype=torch.float64)), Ball(1.0, "inf"))
    assert found.best.value == pytest.approx(0, abs=1e-3)


def test_the_first_linear_step_is_the_steepest_and_its_start_is_no_candidate() -> None:
    found = linear_ascent(lambda u: Point(u, -1.0, u), origin(EVERY), Ball(0.05, 2), 1)
    assert found.best.value == -1
    assert found.best.u.numpy() == pytest.approx(0.05 * EVERY.g / np.linalg.norm(EVERY.g), rel=1e-12)


@pytest.mark.parametrize("norm", [2, "inf"])
def test_balls(norm: int | str) -> None:
    """steepest is the maximiser of a linear function (against 2,000 random points), the gap what it gains there."""
    ball = Ball(0.7, norm)  # type: ignore[arg-type]
    rng = np.random.default_rng(0)
    g, u = torch.from_numpy(rng.normal(size=(2, 4)))
    others = torch.from_numpy(rng.uniform(-0.7, 0.7, size=(2000, 4)))
    inside = torch.stack([ball.project(v) for v in others])
    size = torch.linalg.vector_norm(inside, 2.0 if norm == 2 else math.inf, dim=1)
    assert bool((size <= 0.7 * (1 + 1e-12)).all())
    best = 0.7 * ball.steepest(g)
    assert bool((inside @ g <= float(best @ g) + 1e-12).all())
    assert ball.gap(ball.project(u), g) == pytest.approx(float(g @ (best - ball.project(u))), rel=1e-12)
    assert ball.gap(best, g) == pytest.approx(0, abs=1e-12)
    assert torch.equal(ball.steepest(torch.zeros(4)), torch.zeros(4))
    point = ball.random(4, 3, 1, dtype=torch.float64, device="cpu")
    assert torch.equal(point, ball.random(4, 3, 1, dtype=torch.float64, device="cpu"))
    assert not torch.equal(point, ball.random(4, 3, 2, dtype=torch.float64, device="cpu"))
    assert torch.equal(ball.project(point), point) or norm == 2
    if norm == 2:
        assert float(point.norm()) == pytest.approx(0.7)


def test_the_checkpoints_of_auto_pgd() -> None:
    """Croce and Hein 2020, section 3.2: 22, 41, 57, 70, 80, 87, 93 and 99 percent."""
    assert sorted(checkpoints(100)) == [22, 41, 57, 70, 80, 87, 93, 99]


@pytest.mark.parametrize("walk", WALKS)
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_value_that_is_no_number_ends_a_way_and_is_what_it_gives(walk: str, value: float) -> None:
    calls = []

    def function(u: Tensor) -> Point:
        calls.append(u)
        return Point(u, value, torch.ones_like(u))

    found = WALKS[walk](function, origin(EVERY), Ball(0.1, "inf"))
    assert len(calls) <= 2
    assert not math.isfinite(found.best.value)


def test_l_bfgs_b_keeps_to_its_evaluations() -> None:
    """On Rosenbrock's valley, upside down, which it would follow for some forty."""

    def valley(u: Tensor) -> Point:
        x, y = u.tolist()
        slope = [400 * x * (y - x * x) + 2 * (1 - x), -200 * (y - x * x)]
        return Point(u, -(100 * (y - x * x) ** 2 + (1 - x) ** 2), torch.tensor(slope, dtype=torch.float64))

    start = valley(torch.tensor([-1.2, 1.0], dtype=torch.float64))
    assert len(lbfgsb(valley, start, Ball(2.0, "inf"), 100, 7).values) == 1 + 7
    free = lbfgsb(valley, start, Ball(2.0, "inf"), 100, 200)
    assert len(free.values) > 20
    assert free.best.value == pytest.approx(0, abs=1e-9)
