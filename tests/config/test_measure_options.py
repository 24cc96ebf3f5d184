"""Options that one measure alone has: what is read of the command line, defaults, bounds and near names."""

from __future__ import annotations

import inspect

import pytest
from pydantic import Field

from landscape.catalog import CATALOG
from landscape.config import measure_options
from landscape.config.measure_options import MEASURE_OPTIONS, MeasureOptions, own_options, read_assignments
from landscape.errors import OptionError
from landscape.measures import MEASURES


class Example(MeasureOptions):
    radius: float = Field(0.05, gt=0, description="The radius.")
    layers: tuple[str, ...] = Field((), description="The layers.")


@pytest.fixture
def _example(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure_options, "MEASURE_OPTIONS", {"margin": Example})


def test_every_option_is_of_a_measure_and_described() -> None:
    assert MEASURE_OPTIONS.keys() <= CATALOG.keys()
    for kind in MEASURE_OPTIONS.values():
        kind()  # every option has a default
        assert all(field.description for field in kind.model_fields.values())


def test_a_function_and_its_options_have_the_same_defaults() -> None:
    """They are written in both: a call from Python and one from the command line must measure the same."""
    for name, kind in MEASURE_OPTIONS.items():
        parameters = inspect.signature(MEASURES[name].function).parameters
        for option, field in kind.model_fields.items():
            assert parameters[option].default == field.default, f"{name}.{option}"


def test_assignments_are_yaml_by_measure_and_option() -> None:
    texts = ["sam.radius=0.1", "margin.layers=[a, b]", "margin.kind=input=x"]
    assert read_assignments(texts) == {"sam": {"radius": 0.1}, "margin": {"layers": ["a", "b"], "kind": "input=x"}}
    assert read_assignments([]) == {}


@pytest.mark.parametrize("text", ["", "margin", "margin=1", "margin.=1", ".layers=1", "margin.layers"])
def test_another_form_is_refused(text: str) -> None:
    with pytest.raises(OptionError, match=r"expected MEASURE\.OPTION=VALUE, got"):
        read_assignments([text])


def test_a_second_value_and_broken_yaml_are_refused() -> None:
    with pytest.raises(OptionError, match=r"margin\.a is set twice"):
        read_assignments(["margin.a=1", "margin.a=2"])
    with pytest.raises(OptionError, match="is no YAML"):
        read_assignments(["margin.a=[1"])


@pytest.mark.usefixtures("_example")
def test_what_is_not_given_has_its_default() -> None:
    assert own_options("margin", {}) == {"radius": 0.05, "layers": ()}
    assert own_options("margin", {"layers": ["a"]}) == {"radius": 0.05, "layers": ("a",)}
    assert own_options("connectivity", {}) == {}


@pytest.mark.usefixtures("_example")
@pytest.mark.parametrize(
    ("measure", "given", "words"),
    [
        ("margin", {"radiuss": 1}, "margin has no option 'radiuss'. Did you mean radius"),
        ("margin", {"radius": -1}, r"margin\.radius: expected a value greater than 0, got -1"),
        ("connectivity", {"radius": 1}, "connectivity has no option 'radius'. It has none of its own."),
    ],
)
def test_wrong_options_are_told(measure: str, given: dict[str, object], words: str) -> None:
    with pytest.raises(OptionError, match=words):
        own_options(measure, given)
