"""The settings of a measure's function, held to their bounds also where it is called by itself."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from landscape.config.analysis import AnalysisSettings
from landscape.config.measure_options import MEASURE_OPTIONS, MeasureOptions
from landscape.config.recipe import validate
from landscape.errors import OptionError


def checked(measure: Callable[..., Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The keywords `given` to a measure, after their bounds have been looked at; numbers given as text are numbers.

    Those that `landscape.analyze` and the command line bound: what all measures share
    (`landscape.config.analysis.AnalysisSettings`) and what this one alone has (`landscape.config.measure_options`).

    Raises:
        OptionError: a value is of another type or out of its bounds.
    """
    name = getattr(measure, "__name__", "the measure")
    taken = inspect.signature(measure).parameters
    shared = {key: given[key] for key in given if key in taken and key in AnalysisSettings.model_fields}
    own_kind = MEASURE_OPTIONS.get(name, MeasureOptions)
    own = {key: value for key, value in given.items() if key in own_kind.model_fields}
    try:
        settings = validate(AnalysisSettings, shared)
        validate(own_kind, own)
    except OptionError as error:
        raise OptionError(f"{name}: {error}") from error
    return {**given, **{key: getattr(settings, key) for key in shared}}
