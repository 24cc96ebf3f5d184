"""Every setting that is a number is a finite one, whichever command it belongs to."""

from __future__ import annotations

import importlib
import pkgutil
import typing
from collections.abc import Iterator

import pytest
from pydantic import ValidationError

import landscape.config
from landscape.config.settings import Settings

for module in pkgutil.walk_packages(landscape.config.__path__, "landscape.config."):
    importlib.import_module(module.name)


def classes(base: type[Settings] = Settings) -> Iterator[type[Settings]]:
    for one in base.__subclasses__():
        yield one
        yield from classes(one)


NUMBERS = [
    (one, name)
    for one in classes()
    for name, field in one.model_fields.items()
    if float in (field.annotation, *typing.get_args(field.annotation)) and str not in typing.get_args(field.annotation)
]


def test_there_are_many() -> None:
    assert len(NUMBERS) > 30
    assert {one.__name__ for one, _ in NUMBERS} >= {"AnalysisSettings", "TrainConfig", "BatchScalingSettings"}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), "nan", "inf"])
@pytest.mark.parametrize(("one", "name"), NUMBERS, ids=lambda x: x if isinstance(x, str) else x.__name__)
def test_nothing_but_finite_numbers_is_taken(one: type[Settings], name: str, value: float | str) -> None:
    alias = one.model_fields[name].alias or name
    with pytest.raises(ValidationError) as caught:
        one.model_validate({alias: value})
    assert any(error["loc"][0] == alias for error in caught.value.errors())
