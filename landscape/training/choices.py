"""How the settings of a run choose one of several families (a decay policy, a schedule) and its options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, TypeVar

from pydantic import BaseModel

from landscape.config.recipe import validate
from landscape.config.training import TrainConfig
from landscape.errors import OptionError, near


class Family(Protocol):
    """What a registry's entry says: its `name`, and the class of its `options`, each a field of `TrainConfig`."""

    @property
    def name(self) -> str:
        """What the option takes."""

    @property
    def options(self) -> type[BaseModel]:
        """The options that this family takes, with their defaults and ranges."""


Entry = TypeVar("Entry", bound=Family)


def choose(what: str, name: str, registry: Mapping[str, Entry]) -> Entry:
    """The entry `name` of `registry`; `what` is the setting, as the user spells it.

    Raises:
        OptionError: there is none; near names are offered.
    """
    if name not in registry:
        raise OptionError(f"unknown {what} {name!r}.{near(name, registry)}")
    return registry[name]


def options_of(what: str, family: Family, registry: Mapping[str, Entry], config: TrainConfig) -> BaseModel:
    """The options of `family` as `config` sets them, defaults in place of those left out.

    Raises:
        OptionError: one is out of range, or `config` sets an option that only other families of `registry` take.
    """
    known = {option for other in registry.values() for option in other.options.model_fields}
    given: dict[str, Any] = {name: getattr(config, name) for name in sorted(known) if getattr(config, name) is not None}
    for name in sorted(given.keys() - family.options.model_fields.keys()):
        takers = ", ".join(other.name for other in registry.values() if name in other.options.model_fields)
        raise OptionError(
            f"{what} {family.name} takes no {name}; it takes {', '.join(family.options.model_fields) or 'no options'}. "
            f"Leave {name} out or choose {takers}."
        )
    return validate(family.options, given)
