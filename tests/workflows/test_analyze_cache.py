"""`analyze` with a cache: what is computed, what is taken, and that the numbers are the same."""

from __future__ import annotations

import dataclasses
import json
import math
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from cases import case
from torch import Tensor, nn

import landscape
from landscape import Analysis, Problem, Record
from landscape.catalog import PRESETS
from landscape.errors import NonFiniteError
from landscape.measures import MEASURES
from landscape.workflows.analyze import analyze
from landscape.workflows.events import MeasureFinished, MeasureProgress, NotKept

NAMES = ["connectivity", "margin", "top_eigenvalues", "spectral_density"]
SETTINGS: dict[str, Any] = {"budget": 60, "seed": 2}


@pytest.fixture
def problem() -> Problem:
    return case("batch_norm").problem()


def cached(analysis: Analysis) -> list[str]:
    return list(analysis.total["cached"])


def values(analysis: Analysis) -> Any:
    """All that a fresh run says again: not the clock and the memory."""
    document = json.loads(analysis.to_json())
    for record in document["measures"].values():
        record.pop("seconds", None), record.pop("peak_memory", None)
    return document["measures"], document["problem"]


def test_a_second_run_computes_nothing_and_says_the_same(problem: Problem, cache: Path) -> None:
    first = analyze(problem, NAMES, cache=True, **SETTINGS)
    assert cached(first) == []
    assert first.total["cost"] > 1
    assert cache.is_dir()
    events: list[Any] = []
    second = analyze(case("batch_norm").problem(), NAMES, cache=True, on_event=events.append, **SETTINGS)
    assert second.to_dict()["measures"] == first.to_dict()["measures"]
    assert second.problem == first.problem
    assert cached(second) == NAMES
    assert second.total["cost"] == 0
    assert not [event for event in events if isinstance(event, MeasureProgress)]
    assert [event.cached for event in events if isinstance(event, MeasureFinished)] == [True] * 4
    assert Analysis.from_dict(json.loads(second.to_json())).to_dict() == json.loads(second.to_json())
    assert values(analyze(problem, NAMES, **SETTINGS)) == values(first)


def test_python_keeps_nothing_unless_asked(problem: Problem, cache: Path, tmp_path: Path) -> None:
    landscape.analyze(problem, ["margin"])
    assert not cache.exists()
    landscape.analyze(problem, ["margin"], cache=tmp_path / "mine")
    assert not cache.exists()
    assert cached(landscape.analyze(problem, ["margin"], cache=tmp_path / "mine")) == ["margin"]
    assert cached(landscape.analyze(problem, ["margin"], cache=False)) == []


def test_other_measures_take_what_is_known(problem: Problem) -> None:
    analyze(problem, ["margin", "top_eigenvalues"], cache=True, **SETTINGS)
    more = analyze(problem, NAMES, cache=True, **SETTINGS)
    assert cached(more) == ["margin", "top_eigenvalues"]
    fresh = analyze(problem, NAMES, **SETTINGS)
    for name in NAMES:
        assert more.measures[name].value == pytest.approx(fresh.measures[name].value, rel=1e-12), name


CHANGES: dict[str, tuple[dict[str, Any], set[str]]] = {
    "none": ({}, set()),
    "rtol": ({"rtol": 0.1}, {"hessian_trace", "jacobian_norm"}),
    "the batch size of connectivity": ({"connectivity_batch": 8}, {"connectivity_batch"}),
    "groups": ({"by": "layer"}, {"hessian_trace", "fisher_rao", "connectivity", "connectivity_batch"}),
    "the seed": ({"seed": 3}, {"hessian_trace", "margin", "jacobian_norm"}),
}


@pytest.mark.parametrize("name", CHANGES)
def test_only_what_a_setting_decides_is_computed_anew(name: str, problem: Problem) -> None:
    names = [n for n in PRESETS["default"] if MEASURES[n].krylov is None]
    analyze(problem, names, budget=12, cache=True)
    change, anew = CHANGES[name]
    again = analyze(problem, names, budget=12, cache=True, **change)
    assert set(names) - set(cached(again)) == anew


def test_batch_size_is_no_part_of_it_the_samples_and_the_weights_are(problem: Problem) -> None:
    names = ["connectivity", "margin"]
    analyze(problem, names, cache=True)
    assert cached(analyze(problem.choose(batch_size=7), names, cache=True)) == names
    assert cached(analyze(problem.choose(torch.arange(36)), names, cache=True)) == []
    assert cached(analyze(problem.choose(dtype=torch.float32), names, cache=True)) == []
    with torch.no_grad():
        next(problem.model.parameters())[0].mul_(1 + 1e-9)
    assert cached(analyze(problem, names, cache=True)) == []


def failing(name: str, error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> Record:
        raise error

    changed = {**MEASURES, name: dataclasses.replace(MEASURES[name], function=fail)}
    monkeypatch.setattr("landscape.workflows.analyze.MEASURES", changed)


@pytest.mark.parametrize("error", [NonFiniteError("x"), KeyboardInterrupt(), RuntimeError("x")])
def test_an_error_loses_nothing_of_what_was_before(error: BaseException, problem: Problem) -> None:
    names = ["connectivity", "fisher_rao", "margin"]
    with pytest.MonkeyPatch.context() as patch:
        failing("margin", error, patch)
        with pytest.raises(type(error)):
            analyze(problem, names, cache=True)
    assert cached(analyze(problem, names, cache=True)) == ["connectivity", "fisher_rao"]


def test_a_loss_without_classes_and_a_skip_come_back(cache: Path) -> None:
    regression = case("linear_regression").problem()
    first = analyze(regression, ["connectivity", "margin"], cache=True)
    again = analyze(regression, ["connectivity", "margin"], cache=True)
    assert cached(again) == ["connectivity"], "why a measure does not apply is found out again"
    assert math.isnan(again.problem["accuracy"])
    assert again.to_dict()["problem"] == first.to_dict()["problem"]
    assert again.measures["margin"].skipped == first.measures["margin"].skipped


def test_damage_is_computed_anew_and_replaced(problem: Problem, cache: Path) -> None:
    first = analyze(problem, ["connectivity"], cache=True)
    for path in cache.rglob("*.json"):
        path.write_bytes(path.read_bytes()[:50])
    second = analyze(problem, ["connectivity"], cache=True)
    assert cached(second) == []
    assert values(second) == values(first)
    assert cached(analyze(problem, ["connectivity"], cache=True)) == ["connectivity"]


def test_why_nothing_can_be_kept_is_told_once(problem: Problem, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    lock = threading.Lock()

    def locked(outputs: Tensor, targets: Tensor) -> Tensor:
        with lock:
            return nn.functional.cross_entropy(outputs, targets)

    small = case("batch_norm")
    secret = Problem(small.model, locked, (small.inputs, small.targets))

    class Rude:
        __module__ = None  # type: ignore[assignment]

    rude = Problem(case("batch_norm").model, nn.CrossEntropyLoss(), (small.inputs, small.targets))
    rude.model.something = Rude()  # type: ignore[assignment]
    for given, folder, words in (
        (problem, tmp_path / "file" / "x", "file"),
        (secret, tmp_path / "y", "lock"),
        (rude, tmp_path / "y", "failed"),
    ):
        events: list[Any] = []
        analysis = analyze(given, ["connectivity", "margin"], cache=folder, on_event=events.append)
        assert list(analysis.measures) == ["connectivity", "margin"]
        (told,) = [event for event in events if isinstance(event, NotKept)]
        assert words in told.reason
    assert not (tmp_path / "y").exists()


def test_peak_memory_is_in_every_record(problem: Problem) -> None:
    analysis = analyze(problem, NAMES, **SETTINGS)
    for record in analysis.measures.values():
        assert record.peak_memory is None or record.peak_memory > 1_000_000
    assert landscape.connectivity(problem).to_dict().keys() == analysis.measures["connectivity"].to_dict().keys()
