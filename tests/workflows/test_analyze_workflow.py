"""`analyze`: names, settings, skips, what is shared, what is told while it works, and how it stops."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import pytest
import torch
from cases import CASES, N, case

import landscape
from landscape import Analysis, Problem, Record
from landscape.catalog import CATALOG, PRESETS
from landscape.errors import NonFiniteError, OptionError, OutOfMemoryError
from landscape.measures import MEASURES
from landscape.workflows.analyze import analyze
from landscape.workflows.events import Interrupted, MeasureFinished, MeasureProgress, MeasureStarted
from landscape.workflows.out_of_memory import memory_errors


@pytest.fixture(scope="module")
def problem() -> Problem:
    return case("batch_norm").problem()


@pytest.fixture(scope="module")
def whole(problem: Problem) -> Analysis:
    return analyze(problem, budget=120, seed=4)


def test_the_registry_is_the_catalog() -> None:
    assert list(MEASURES) == list(CATALOG)
    assert all(entry.about is CATALOG[name] for name, entry in MEASURES.items())


def test_without_names_the_default_ones_are_measured(whole: Analysis) -> None:
    assert tuple(whole.measures) == PRESETS["default"] == tuple(whole.settings["measures"])
    assert all(record.skipped is None for record in whole.measures.values())


def test_a_preset_stands_for_its_measures(problem: Problem) -> None:
    analysis = analyze(problem, ["quick"])
    assert tuple(analysis.measures) == PRESETS["quick"]


def test_options_of_a_measure_are_checked(problem: Problem) -> None:
    for options, words in (
        ({"marginn": {}}, "unknown measure 'marginn'. Did you mean margin"),
        ({"margin": {"layer": 1}}, "margin has no option 'layer'"),
        ({"fisher_rao": {}}, "fisher_rao, which is not measured"),
    ):
        with pytest.raises(OptionError, match=words):
            analyze(problem, ["margin"], options=options)


def test_names_are_measured_in_the_order_asked_and_once(problem: Problem) -> None:
    analysis = analyze(problem, ["margin", "connectivity", "margin"])
    assert list(analysis.measures) == ["margin", "connectivity"]
    assert analysis.settings["measures"] == ["margin", "connectivity"]


def test_each_measure_gives_what_its_function_gives(problem: Problem, whole: Analysis) -> None:
    for name in ("hessian_trace", "fisher_rao", "connectivity", "connectivity_batch", "margin", "jacobian_norm"):
        options = {key: whole.settings[key] for key in MEASURES[name].options}
        alone = getattr(landscape, name)(problem, **options)
        told = whole.measures[name]
        same = dataclasses.replace(alone, seconds=told.seconds, peak_memory=told.peak_memory)
        assert same.to_dict() == told.to_dict(), name


def test_the_krylov_run_is_made_once_and_its_cost_is_told_by_each_that_uses_it(
    problem: Problem, whole: Analysis
) -> None:
    top, density = whole.measures["top_eigenvalues"], whole.measures["spectral_density"]
    run = 2.4 * top.details["products"]
    assert top.cost == pytest.approx(run)
    assert density.cost > run
    others = sum(record.cost for name, record in whole.measures.items() if name != "top_eigenvalues")
    others -= whole.measures["hessian_trace"].cost  # the density tells it too, as its mean
    evaluation = 1 / 3
    assert whole.total["cost"] == pytest.approx(others + evaluation)
    assert density.cost <= whole.settings["budget"] * (1 + 1e-9)
    alone = analyze(problem, ["top_eigenvalues"], budget=120, seed=4)
    assert alone.measures["top_eigenvalues"].details["products"] <= top.details["products"]


def test_settings_and_problem_are_recorded(problem: Problem, whole: Analysis) -> None:
    defaults = {"rtol": 0.05, "top": 3, "connectivity_batch": 128, "by": "role", "engine": "landscape"}
    assert defaults.items() <= whole.settings.items()
    assert (whole.settings["seed"], whole.settings["budget"]) == (4, 120)
    assert (whole.settings["bn"], whole.settings["dtype"], whole.settings["samples"]) == ("eval", "float64", str(N))
    described = whole.problem
    assert (described["samples"], described["available"], described["parameters"]) == (N, N, problem.size)
    assert (described["bn_mode"], described["dtype"], described["block"]) == ("eval", "float64", 32)
    assert (described["model"], described["loss_name"], described["classes"]) == ("Sequential", "cross-entropy", 3)
    assert 0 <= described["accuracy"] <= 1
    assert [t["name"] for t in described["tensors"]] == [info.name for info in problem.infos]
    assert math.fsum(t["size"] for t in described["tensors"]) == problem.size
    assert whole.provenance["torch"] == torch.__version__
    assert whole.checkpoint == {}


@pytest.mark.parametrize("name", CASES)
def test_every_case_gives_a_document_with_the_skips_that_were_expected(name: str) -> None:
    small = case(name)
    analysis = analyze(small.problem(), budget=7.2, connectivity_batch=8)
    assert {n for n, record in analysis.measures.items() if record.skipped} == small.skipped & analysis.measures.keys()
    document = json.loads(analysis.to_json())
    assert document["schema"] == "landscape.analysis/1"
    for n, values in document["measures"].items():
        assert values.keys() == {"value", "skipped"} if n in small.skipped else values["value"] is not None
    assert Analysis.from_dict(document).to_dict() == document


def test_half_the_precision_is_recorded_and_near(problem: Problem, whole: Analysis) -> None:
    single = analyze(problem.choose(dtype=torch.float32), ["connectivity", "margin"])
    assert single.settings["dtype"] == single.problem["dtype"] == "float32"
    for name, record in single.measures.items():
        assert record.value == pytest.approx(whole.measures[name].value, rel=1e-4)
        assert record.value != whole.measures[name].value


def test_the_second_engine_takes_its_own_measures_and_says_which_it_cannot(problem: Problem) -> None:
    names = ["hessian_trace", "top_eigenvalues", "spectral_density", "connectivity"]
    analysis = analyze(problem, names, engine="pyhessian", budget=24)
    assert analysis.measures["hessian_trace"].details["engine"] == "pyhessian"
    assert analysis.measures["top_eigenvalues"].details["engine"] == "pyhessian"
    assert "--engine landscape" in str(analysis.measures["spectral_density"].skipped)
    assert analysis.measures["connectivity"].value > 0


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "a measure": ({"measures": ["margins"]}, "unknown measure 'margins'. Did you mean margin"),
    "no measure at all": ({"measures": ["xyz"]}, "unknown measure 'xyz'. Known: all, asam_sharpness,"),
    "a setting": ({"rtoll": 0.1}, "unknown setting 'rtoll'. Did you mean rtol"),
    "rtol 0": ({"rtol": 0}, "rtol: expected a value greater than 0, got 0"),
    "rtol 1": ({"rtol": 1}, "rtol: expected a value less than 1, got 1"),
    "a word for a number": ({"budget": "much"}, "budget: expected .* got 'much'"),
    "no budget": ({"budget": -1}, "budget: expected a value greater than 0, got -1"),
    "top 0": ({"top": 0}, "top: expected .* got 0"),
    "m 0": ({"connectivity_batch": 0}, "connectivity_batch: expected .* got 0"),
    "an engine": ({"engine": "pyhesian"}, "engine: expected .* got 'pyhesian'. Did you mean pyhessian"),
    "a group": ({"by": "rolle"}, "--by 'rolle' is neither .* Did you mean role"),
    "a pattern": ({"by": "0.weight,conv*"}, r"--by 'conv\*'"),
    "what belongs to the problem": ({"samples": "10"}, "samples belong to the problem"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_names_and_values_are_told_before_anything_is_computed(name: str, problem: Problem) -> None:
    options, words = WRONG[name]
    events: list[Any] = []
    with pytest.raises(OptionError, match=words) as caught:
        analyze(problem, on_event=events.append, **options)
    assert events == []
    assert str(caught.value).count("\n") <= 1


def test_events_come_in_order_and_cost_never_falls(problem: Problem) -> None:
    events: list[Any] = []
    names = ["hessian_trace", "spectral_density", "connectivity"]
    analysis = analyze(problem, names, budget=60, on_event=events.append)
    frames = [event for event in events if not isinstance(event, MeasureProgress)]
    expected: list[Any] = []
    for index, name in enumerate(names):
        expected += [MeasureStarted(name, index, 3), MeasureFinished(name, analysis.measures[name])]
    assert frames == expected
    for index, name in enumerate(names):
        low, high = events.index(frames[2 * index]), events.index(frames[2 * index + 1])
        inside = events[low + 1 : high]
        assert inside, name
        assert {event.name for event in inside} == {name}
        done = [event.done for event in inside]
        assert done == sorted(done)
        assert done[-1] == pytest.approx(analysis.measures[name].cost)
    assert any("±" in event.message for event in events if isinstance(event, MeasureProgress))


def replace_measure(monkeypatch: pytest.MonkeyPatch, name: str, error: BaseException) -> None:
    def fail(*_: Any, **__: Any) -> Record:
        raise error

    changed = {**MEASURES, name: dataclasses.replace(MEASURES[name], function=fail)}
    monkeypatch.setattr("landscape.workflows.analyze.MEASURES", changed)


def test_an_interruption_keeps_what_was_finished(monkeypatch: pytest.MonkeyPatch, problem: Problem) -> None:
    replace_measure(monkeypatch, "margin", KeyboardInterrupt())
    with pytest.raises(Interrupted) as caught:
        analyze(problem, ["connectivity", "margin", "fisher_rao"])
    partial = caught.value.partial
    assert list(partial.measures) == ["connectivity"]
    assert partial.measures["connectivity"].value == landscape.connectivity(problem).value
    assert json.loads(partial.to_json())["settings"]["measures"] == ["connectivity", "margin", "fisher_rao"]
    assert isinstance(caught.value, KeyboardInterrupt)


def test_an_interruption_from_the_listener_is_one(problem: Problem) -> None:
    def stop(event: Any) -> None:
        if isinstance(event, MeasureProgress) and event.name == "fisher_rao":
            raise KeyboardInterrupt

    with pytest.raises(Interrupted) as caught:
        analyze(problem, ["connectivity", "fisher_rao"], on_event=stop)
    assert list(caught.value.partial.measures) == ["connectivity"]


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory: you tried ..."),
        MemoryError(),
    ],
)
def test_memory_that_ran_out_names_a_batch_size(
    monkeypatch: pytest.MonkeyPatch, problem: Problem, error: Exception
) -> None:
    replace_measure(monkeypatch, "margin", error)
    with pytest.raises(OutOfMemoryError, match=r"try --batch-size 32, or another --device") as caught:
        analyze(problem.choose(batch_size=64), ["margin"])
    assert caught.value.exit_code == 2
    with pytest.raises(OutOfMemoryError, match="fewer --samples"):
        analyze(problem.choose(batch_size=1), ["margin"])


def test_other_errors_are_not_taken_for_memory(monkeypatch: pytest.MonkeyPatch, problem: Problem) -> None:
    for error in (RuntimeError("shapes do not fit"), NonFiniteError("out of memory is not what this is")):
        replace_measure(monkeypatch, "margin", error)
        with pytest.raises(type(error)) as caught:
            analyze(problem, ["margin"])
        assert caught.value is error
    with memory_errors(8):
        pass


def test_three_lines_in_a_notebook(problem: Problem) -> None:
    analysis = landscape.analyze(problem, measures=["connectivity", "margin"], rtol=0.1)
    record = analysis.measures["margin"]
    assert (record.value, record.stderr, record.converged) == (record.details["median"], 0, True)
    assert landscape.margin(problem).value == record.value


def test_an_unknown_callable_is_analyzed_like_the_loss_that_it_wraps() -> None:
    torch.manual_seed(0)
    model, x, y = torch.nn.Linear(6, 3), torch.randn(20, 6), torch.randint(0, 3, (20,))
    measures = ["connectivity", "margin"]
    wrapped = landscape.analyze(
        landscape.Problem(model, lambda f, t: torch.nn.functional.cross_entropy(f, t), (x, y)), measures
    )
    known = landscape.analyze(landscape.Problem(model, torch.nn.CrossEntropyLoss(), (x, y)), measures)
    assert wrapped.problem["accuracy"] == known.problem["accuracy"]
    assert wrapped.measures["connectivity"].value == pytest.approx(known.measures["connectivity"].value)


@pytest.mark.parametrize("scale", [math.nan, 1e38])
def test_outputs_that_are_no_numbers_name_the_sample(scale: float) -> None:
    model, x = torch.nn.Linear(6, 3), torch.ones(4, 6)
    x[2] *= scale
    with torch.no_grad():
        model.weight.fill_(100.0)
    with pytest.raises(NonFiniteError, match="sample 2"):
        landscape.Problem(model, torch.nn.CrossEntropyLoss(), (x, torch.zeros(4, dtype=torch.long)))


def test_no_measure_depends_on_what_else_is_measured() -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(12, 16), torch.nn.Tanh(), torch.nn.Linear(16, 4)).double()
    data = (torch.randn(64, 12, dtype=torch.float64), torch.randint(0, 4, (64,)))
    problem = landscape.Problem(model, torch.nn.CrossEntropyLoss(), data, population=100)
    together = landscape.analyze(problem, ["top_eigenvalues", "spectral_density"]).measures
    for name, record in together.items():
        alone = landscape.analyze(problem, [name]).measures[name]
        assert (alone.value, alone.cost) == pytest.approx((record.value, record.cost), rel=1e-12)
        assert record.cost <= 200
