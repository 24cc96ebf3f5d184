"""Which optimizer a run takes: `NAME` or `NAME:key=value,...` and the settings `lr`, `momentum`, `weight_decay`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import optim

from landscape.config.recipe import validate
from landscape.config.training import TrainConfig
from landscape.errors import OptionError, near
from landscape.training.optimizers.family import (
    SETTINGS,
    OptimizerFamily,
    Options,
    Parameters,
    WrapperFamily,
    WrapperOptions,
)


@dataclass(frozen=True)
class Choice:
    """An optimizer with all its options.

    Attributes:
        family: the optimizer that takes the step.
        options: of the class `family.options`.
        wrapper: the method around it, if any.
        wrapper_options: of the class `wrapper.options`; None without a wrapper.
    """

    family: OptimizerFamily
    options: Options
    wrapper: WrapperFamily | None = None
    wrapper_options: WrapperOptions | None = None

    def __str__(self) -> str:
        """The canonical `NAME:key=value,...`: sorted, without the options that have their defaults."""
        parts = [options for options in (self.options, self.wrapper_options) if options is not None]
        given = {
            key: value
            for options in parts
            for key, value in options.model_dump().items()
            if key not in SETTINGS and value != type(options).model_fields[key].default
        }
        name = self.family.name if self.wrapper is None else self.wrapper.name
        return f"{name}:{','.join(f'{key}={_text(given[key])}' for key in sorted(given))}" if given else name

    @property
    def settings(self) -> dict[str, Any]:
        """The values of `SETTINGS`; None for those that the optimizer does not take."""
        return {name: getattr(self.options, name, None) for name in SETTINGS}

    def build(self, parameters: Parameters) -> optim.Optimizer:
        """Make the optimizer over `parameters`."""
        optimizer = self.family.build(parameters, self.options)
        return optimizer if self.wrapper is None else self.wrapper.wrap(optimizer, self.wrapper_options)


def choose(
    config: TrainConfig, families: Mapping[str, OptimizerFamily], wrappers: Mapping[str, WrapperFamily]
) -> Choice:
    """Read the optimizer of `config`.

    Raises:
        OptionError: a name or an option is unknown (near names are offered), given twice, out of range, or not
            one of this optimizer's.
    """
    name, colon, rest = config.optimizer.strip().partition(":")
    if name not in families and name not in wrappers:
        raise OptionError(f"unknown optimizer {name!r}.{near(name, [*families, *wrappers])}")
    if colon and not rest:
        raise OptionError(f"{config.optimizer!r}: expected options after the colon, as in adam:beta1=0.8, got none.")
    given = _parse(name, rest)
    if name in families:
        return Choice(families[name], _options(config, families[name], given, families.values()))
    wrapper = wrappers[name]
    own = {key: given.pop(key) for key in wrapper.options.model_fields if key in given}
    wrapper_options = validate(wrapper.options, own)
    if wrapper_options.base not in families:
        raise OptionError(
            f"{name}: unknown base optimizer {wrapper_options.base!r}.{near(wrapper_options.base, families)}"
        )
    family = families[wrapper_options.base]
    options = _options(config, family, given, families.values(), wrapper)
    return Choice(family, options, wrapper, wrapper_options)


def _parse(name: str, text: str) -> dict[str, str]:
    given: dict[str, str] = {}
    for part in text.split(",") if text else ():
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals:
            raise OptionError(f"{name}: expected key=value, got {part!r}.")
        if key in given:
            raise OptionError(f"{name}: the option {key!r} is given twice; give it once.")
        given[key] = value
    return given


def _options(
    config: TrainConfig,
    family: OptimizerFamily,
    given: Mapping[str, str],
    families: Iterable[OptimizerFamily],
    wrapper: WrapperFamily | None = None,
) -> Options:
    """The options of `family` from the settings of `config` and from those `given` with the name."""
    own = [key for key in family.options.model_fields if key not in SETTINGS]
    wrapped = list(wrapper.options.model_fields) if wrapper is not None else []
    title = family.name if wrapper is None else f"{wrapper.name} with base {family.name}"
    for key in given:
        if key in SETTINGS:
            raise OptionError(f"{key} is a setting of its own; give it as --{key.replace('_', '-')} or in the recipe.")
        if key not in own:
            known = [*wrapped, *own]
            raise OptionError(f"{title} has no option {key!r}.{near(key, known) if known else ' It has none.'}")
    settings = {key: getattr(config, key) for key in SETTINGS if getattr(config, key) is not None}
    for key in settings:
        if key not in family.options.model_fields:
            takers = ", ".join(other.name for other in families if key in other.options.model_fields)
            takes = ", ".join(key for key in SETTINGS if key in family.options.model_fields)
            raise OptionError(
                f"optimizer {family.name} takes no {key}; it takes {takes}. Leave {key} out or choose {takers}."
            )
    return validate(family.options, {**given, **settings})


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
