"""The settings of an analysis."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, field_validator

from landscape.config.settings import Settings


class AnalysisSettings(Settings):
    """What decides the values of an analysis; a change of any field may change a number.

    `measures` are names of measures and of presets (`landscape.catalog.PRESETS`); empty means the default ones.
    `options` are those that one measure alone has, by its name (`landscape.config.measure_options`). `samples` is a
    count (a fixed, seeded subset), `first:N` or `all`; None takes 2,048 samples, or all where the split has fewer. `by`
    groups parameters by `role`, `layer`, `tensor`, or comma-separated name patterns.
    """

    measures: tuple[str, ...] = ()
    split: str = "train"
    samples: str | None = None
    rtol: float = Field(0.05, gt=0, lt=1)
    budget: float = Field(200.0, gt=0)
    top: int = Field(3, ge=1)
    connectivity_batch: int = Field(128, ge=1)
    bn: Literal["eval", "train"] = "eval"
    dtype: Literal["float32", "float64"] = "float32"
    seed: int = Field(0, ge=0)
    by: str = "role"
    engine: Literal["landscape", "pyhessian"] = "landscape"
    hvp: Literal["exact", "forward", "finite-difference"] = "exact"
    options: Mapping[str, Mapping[str, Any]] = Field(default_factory=dict)

    @field_validator("samples")
    @classmethod
    def _samples_form(cls, text: str | None) -> str | None:
        number = (text or "").removeprefix("first:")
        if text is None or text == "all" or (number.isdigit() and int(number) > 0):
            return text
        raise ValueError("expected a positive count, first:N or all")


class AnalysisRun(Settings):
    """What only runs an analysis: it decides how fast, never which value."""

    batch_size: int | None = Field(None, ge=1)
    devices: str = "auto"
