"""Counting passes in gradient-equivalents."""

from __future__ import annotations

import threading

import pytest

from landscape.work import WEIGHTS, charge, count_work, through_part


def test_the_convention() -> None:
    assert WEIGHTS == {"forward": 1 / 3, "backward": 2 / 3, "gradient": 1, "jvp": 2 / 3, "hessian_product": 2.4}
    assert WEIGHTS["forward"] + WEIGHTS["backward"] == WEIGHTS["gradient"]
    for kind, weight in WEIGHTS.items():
        with count_work() as work:
            charge(kind, 30)
            charge(kind, 20)
        assert work.gradient_equivalents(100) == pytest.approx(weight / 2)


def test_counters_nest_and_close() -> None:
    with count_work() as outer:
        charge("gradient", 10)
        with count_work() as inner:
            charge("forward", 30)
        charge("gradient", 10)
    charge("gradient", 1000)
    assert outer.gradient_equivalents(10) == pytest.approx(3)
    assert inner.gradient_equivalents(10) == pytest.approx(1)


def test_a_pass_through_a_part_counts_as_its_share() -> None:
    with count_work() as work, through_part(0.5):
        charge("gradient", 10)
        with through_part(0.5):
            charge("gradient", 10)
    assert work.gradient_equivalents(10) == 0.75
    with count_work() as work:
        charge("gradient", 10)
    assert work.gradient_equivalents(10) == 1


def test_a_counter_closes_on_an_error() -> None:
    with pytest.raises(RuntimeError), count_work() as work:  # noqa: PT012
        charge("gradient", 1)
        raise RuntimeError
    charge("gradient", 1)
    assert work.samples["gradient"] == 1


def test_the_listener_hears_of_each_pass() -> None:
    heard: list[float] = []
    with count_work(lambda work: heard.append(work.gradient_equivalents(10))):
        charge("gradient", 5)
        charge("gradient", 5)
    assert heard == [0.5, 1.0]


def test_another_thread_is_not_counted() -> None:
    with count_work() as work:
        thread = threading.Thread(target=charge, args=("gradient", 5))
        thread.start()
        thread.join()
    assert not any(work.samples.values())


def test_an_unknown_kind_is_a_mistake_of_ours() -> None:
    with pytest.raises(AssertionError, match="'hessian'"):
        charge("hessian", 1)
