"""The optimizers by name, and how the settings of a run choose one."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from torch import optim

from landscape.config.training import TrainConfig
from landscape.training.optimizers.adam import ADAM
from landscape.training.optimizers.adamw import ADAMW
from landscape.training.optimizers.cblr import CBLR
from landscape.training.optimizers.choice import choose
from landscape.training.optimizers.family import OptimizerFamily, Parameters, WrapperFamily
from landscape.training.optimizers.kfac import KFAC_F, KFAC_G
from landscape.training.optimizers.lamb import LAMB
from landscape.training.optimizers.lars import LARS
from landscape.training.optimizers.mclr import MCLR
from landscape.training.optimizers.percent_delta import PERCENT_DELTA
from landscape.training.optimizers.sam import ASAM, SAM
from landscape.training.optimizers.sgd import SGD

__all__ = ["OPTIMIZERS", "WRAPPERS", "OptimizerFamily", "WrapperFamily", "build_optimizer", "fill_options"]

OPTIMIZERS: Mapping[str, OptimizerFamily] = MappingProxyType(
    {family.name: family for family in (SGD, ADAM, ADAMW, LAMB, LARS, PERCENT_DELTA, MCLR, CBLR, KFAC_F, KFAC_G)}
)

WRAPPERS: Mapping[str, WrapperFamily] = MappingProxyType({family.name: family for family in (SAM, ASAM)})


def fill_options(config: TrainConfig) -> TrainConfig:
    """Return `config` with the optimizer in its canonical form and its defaults in place of the settings left out.

    The settings that are not the optimizer's own stay None.

    Raises:
        OptionError: the optimizer is unknown, or an option is given that it does not take.
    """
    choice = choose(config, OPTIMIZERS, WRAPPERS)
    return config.model_copy(update={"optimizer": str(choice), **choice.settings})


def build_optimizer(config: TrainConfig, parameters: Parameters) -> optim.Optimizer:
    """Make the optimizer that `config` names over `parameters` or, as in torch.optim, groups of them.

    Raises:
        OptionError: as `fill_options`.
    """
    return choose(config, OPTIMIZERS, WRAPPERS).build(parameters)
