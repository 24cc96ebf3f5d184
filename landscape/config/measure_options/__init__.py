"""Settings that one measure alone has, one family a file: MEASURE_OPTIONS, name of the measure -> their class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import yaml

from landscape.config.measure_options import curvature, networks, perturbation
from landscape.config.measure_options.base import MeasureOptions
from landscape.config.recipe import validate
from landscape.errors import OptionError, near

__all__ = ["MEASURE_OPTIONS", "MeasureOptions", "own_options", "read_assignments"]

MEASURE_OPTIONS: Mapping[str, type[MeasureOptions]] = MappingProxyType(
    {
        **perturbation.OPTIONS,
        **curvature.OPTIONS,
        **networks.OPTIONS,
    }
)


def own_options(measure: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """All settings of one measure: those given, the others by default; empty for a measure that has none.

    Raises:
        OptionError: the measure has no such setting (near names are offered), or the value is none of its values.
    """
    kind = MEASURE_OPTIONS.get(measure, MeasureOptions)
    for name in given:
        if name not in kind.model_fields:
            offer = near(name, kind.model_fields) if kind.model_fields else " It has none of its own."
            raise OptionError(f"{measure} has no option {name!r}.{offer}")
    try:
        return validate(kind, given).model_dump()
    except OptionError as error:
        raise OptionError(f"{measure}.{error}") from error


def read_assignments(texts: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Read `MEASURE.OPTION=VALUE` texts, the values as YAML, into options by measure.

    Raises:
        OptionError: a text has another form, or sets an option that another one has set.
    """
    found: dict[str, dict[str, Any]] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        measure, dot, option = key.strip().partition(".")
        if not (equals and dot and measure and option):
            raise OptionError(f"--set: expected MEASURE.OPTION=VALUE, got {text!r}.")
        if option in found.setdefault(measure, {}):
            raise OptionError(f"--set: {key.strip()} is set twice.")
        try:
            found[measure][option] = yaml.safe_load(value)
        except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that there is not
            raise OptionError(f"--set: the value of {key.strip()} is no YAML: {value!r}; put it in quotes.") from error
    return found
