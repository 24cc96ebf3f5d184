"""A measure's function refuses what `analyze` and the command line refuse."""

from __future__ import annotations

import inspect
import math
from typing import Any

import pytest
from cases import case

import landscape
from landscape.config.analysis import AnalysisSettings
from landscape.config.measure_options import MEASURE_OPTIONS
from landscape.errors import OptionError
from landscape.measures import MEASURES

BAD: dict[str, list[Any]] = {
    "rtol": [math.nan, 0, -0.1, 1, math.inf, "much"],
    "budget": [math.nan, math.inf, 0, -5],
    "top": [0, -1, 1.5],
    "seed": [-1, 0.5],
    "connectivity_batch": [0, -3],
    "hvp": ["fast"],
    "engine": ["hessian-eigenthings"],
}
PAIRS = [
    (name, key, value)
    for name, measure in MEASURES.items()
    for key in inspect.signature(measure.function).parameters
    for value in BAD.get(key, [])
]
OWN = [
    (name, key)
    for name, kind in MEASURE_OPTIONS.items()
    for key, field in kind.model_fields.items()
    if field.annotation in (int, float)
]


@pytest.mark.parametrize("name", sorted(MEASURES))
def test_bounds_that_measures_share(name: str) -> None:
    problem = case("logistic_regression").problem()
    for _, key, value in [pair for pair in PAIRS if pair[0] == name]:
        with pytest.raises(OptionError, match=f"^{name}: {key}"):
            MEASURES[name].function(problem, **{key: value})


@pytest.mark.parametrize(("name", "key"), OWN)
def test_bounds_that_one_measure_has(name: str, key: str) -> None:
    problem = case("logistic_regression").problem()
    with pytest.raises(OptionError, match=f"^{name}: {key}"):
        MEASURES[name].function(problem, **{key: math.nan})


def test_numbers_as_text_are_numbers_and_other_faults_are_pythons() -> None:
    problem = case("logistic_regression").problem()
    assert landscape.hessian_trace(problem, rtol="0.2").converged  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="rtoll"):
        landscape.hessian_trace(problem, rtoll=0.2)  # type: ignore[call-arg]
    assert set(BAD) <= set(AnalysisSettings.model_fields)
