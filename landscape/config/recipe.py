"""Settings from files and from the command line: recipes in YAML, `key=value` overrides, validation, digests.

A recipe is a YAML mapping from the names of settings to values:

    model: resnet20:width=2
    data: cifar10:/data/cifar10
    lr: 0.1
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from landscape.errors import OptionError, near

Settings = TypeVar("Settings", bound=BaseModel)

_SHOWN = 100  # characters of a value in an error


def read_recipe(path: Path) -> dict[str, Any]:
    """Read a YAML file of settings; an empty file holds none.

    Raises:
        OptionError: the file is not there, is no YAML (the message names the line), names a setting twice or
            is not a mapping from names to values.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise OptionError(f"no recipe at {path}; expected a YAML file of settings.") from error
    except IsADirectoryError as error:
        raise OptionError(f"cannot read the recipe {path}: it is a folder; of a run take its config.yaml.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise OptionError(f"cannot read the recipe {path}: {error}.") from error
    return parse_recipe(text, str(path))


def apply_overrides(values: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Return `values` with each `key=value` of `overrides` set, the values read as YAML; the last one of a key wins.

    Which keys there are is for `validate` to say.

    Raises:
        OptionError: an override has no `=`, no key, or a value that is no YAML.
    """
    changed = dict(values)
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key.strip():
            raise OptionError(f"expected key=value to set, got {override!r}.")
        try:
            changed[key.strip()] = yaml.safe_load(text)
        except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that there is not
            raise OptionError(f"the value of {key.strip()} is no YAML: {text!r}; put it in quotes.") from error
    return changed


def validate(kind: type[Settings], values: Mapping[str, Any]) -> Settings:
    """Make an instance of the settings class `kind` from `values`; fields that are not there take their defaults.

    Raises:
        OptionError: a field is unknown (near names are offered), missing, of another type or out of range; the
            message has one sentence a fault, with what was expected and what came.
    """
    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        raise OptionError(" ".join(_sentence(kind, fault) for fault in error.errors())) from error


def digest(values: Mapping[str, Any]) -> str:
    """The SHA-256 of plain `values` as hexadecimal text, the same whatever the order of the keys."""
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


class _Loader(yaml.SafeLoader):
    """`yaml.SafeLoader` that refuses a key given twice, where YAML's own rule of the last one hides a mistake."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if str(key.value) in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} is set twice", key.start_mark)
            seen.add(str(key.value))
        return super().construct_mapping(node, deep=deep)


def parse_recipe(text: str, where: str) -> dict[str, Any]:
    """Read YAML `text` as `read_recipe` reads a file; `where` names it in errors.

    Raises:
        OptionError: as `read_recipe`.
    """
    try:
        # A safe loader: it makes plain values only and runs nothing.
        values = yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        line = f" line {error.problem_mark.line + 1}" if error.problem_mark is not None else ""
        raise OptionError(f"{where}{line} is no valid recipe: {error.problem or 'not YAML'}.") from error
    except (yaml.YAMLError, ValueError) as error:
        raise OptionError(f"{where} is no YAML: {str(error).splitlines()[0]}.") from error
    if values is None:
        return {}
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise OptionError(f"{where} must hold lines 'setting: value', got {type(values).__name__}.")
    return values


def _sentence(kind: type[BaseModel], fault: ErrorDetails) -> str:
    name = ".".join(str(part) for part in fault["loc"])
    got = fault["input"]
    if fault["type"] == "extra_forbidden":
        return f"unknown setting {name!r}.{near(str(fault['loc'][-1]), _fields_at(kind, fault['loc'][:-1]))}"
    if fault["type"] == "missing":
        return f"the setting {name} is missing."
    wanted = fault["msg"].removeprefix("Input should be ").removeprefix("Value error, ").removeprefix("expected ")
    if wanted.startswith(("greater", "less")):
        wanted = f"a value {wanted}"
    offer = near(got, _quoted(wanted)) if fault["type"] == "literal_error" and isinstance(got, str) else ""
    # `Known: ...` would repeat what is expected.
    return f"{name}: expected {wanted}, got {_short(got)}.{'' if offer.startswith(' Known') else offer}"


def _short(value: Any) -> str:
    """The value on one line, cut where it is long."""
    text = " ".join(repr(value).split())
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


def _fields_at(kind: type[BaseModel], place: Sequence[int | str]) -> list[str]:
    """The fields of the settings that lie at `place` in settings of `kind`: through fields and mappings."""
    found: Any = kind
    for step in place:
        fields = getattr(found, "model_fields", {})
        if step in fields:
            found = fields[step].annotation
        else:  # a key of a mapping, or a place in a sequence: the kind of its values
            found = next((part for part in reversed(get_args(found)) if part is not Ellipsis), found)
    return list(getattr(found, "model_fields", {}))


def _quoted(text: str) -> list[str]:
    """The words in single quotes: pydantic lists a literal's values so."""
    return text.split("'")[1::2]
