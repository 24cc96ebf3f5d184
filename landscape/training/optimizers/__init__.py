"""The optimizers by name, and how the settings of a run choose one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn, optim

from landscape.config.recipe import validate
from landscape.config.training import TrainConfig
from landscape.errors import OptionError, near
from landscape.training.optimizers.adamw import ADAMW
from landscape.training.optimizers.family import OptimizerFamily
from landscape.training.optimizers.sgd import SGD

__all__ = ["OPTIMIZERS", "OptimizerFamily", "build_optimizer", "fill_options"]

OPTIMIZERS: dict[str, OptimizerFamily] = {family.name: family for family in (SGD, ADAMW)}


def fill_options(config: TrainConfig) -> TrainConfig:
    """Return `config` with the optimizer's defaults in place of the options left out; those not its own stay None.

    Raises:
        OptionError: the optimizer is unknown, or an option is given that it does not take.
    """
    family = _family(config)
    return config.model_copy(update=validate(family.options, _given(config, family)).model_dump())


def build_optimizer(config: TrainConfig, parameters: Iterable[nn.Parameter]) -> optim.Optimizer:
    """Make the optimizer that `config` names over `parameters`.

    Raises:
        OptionError: as `fill_options`.
    """
    family = _family(config)
    return family.build(parameters, validate(family.options, _given(config, family)))


def _family(config: TrainConfig) -> OptimizerFamily:
    if config.optimizer not in OPTIMIZERS:
        raise OptionError(f"unknown optimizer {config.optimizer!r}.{near(config.optimizer, OPTIMIZERS)}")
    return OPTIMIZERS[config.optimizer]


def _given(config: TrainConfig, family: OptimizerFamily) -> Mapping[str, Any]:
    """The optimizer options that `config` sets."""
    options = {option for other in OPTIMIZERS.values() for option in other.options.model_fields}
    given = {name: getattr(config, name) for name in sorted(options) if getattr(config, name) is not None}
    for name in given.keys() - family.options.model_fields.keys():
        takers = ", ".join(other.name for other in OPTIMIZERS.values() if name in other.options.model_fields)
        raise OptionError(
            f"optimizer {family.name} takes no {name}; it takes {', '.join(family.options.model_fields)}. "
            f"Leave {name} out or choose {takers}."
        )
    return given
