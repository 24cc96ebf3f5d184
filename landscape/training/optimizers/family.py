"""What the registry says of an optimizer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict
from torch import Tensor, optim

# What `build` takes: parameters, or groups of them as in torch.optim, each with a weight_decay of its own.
Parameters = Iterable[Tensor] | Iterable[dict[str, Any]]

# The options that are settings of a run (`--lr`, ...); all others are given with the name: `adam:beta1=0.8`.
SETTINGS = ("lr", "momentum", "weight_decay")


class Options(BaseModel):
    """Base of the options of an optimizer: unknown names, NaN and infinity are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


@dataclass(frozen=True)
class OptimizerFamily:
    """An optimizer by name.

    Attributes:
        name: what `--optimizer` takes.
        options: what it takes, with defaults and ranges; those in `SETTINGS` are fields of `TrainConfig`.
        build: (parameters, options) -> the optimizer; `options` is an instance of the class above.
        about: the update in a line.
        reference: where it was published.
    """

    name: str
    options: type[Options]
    build: Callable[[Parameters, Any], optim.Optimizer]
    about: str
    reference: str


@dataclass(frozen=True)
class WrapperFamily:
    """A method around the step of another optimizer, by name: `sam:base=lamb,rho=0.1`.

    Attributes:
        name: what `--optimizer` takes.
        options: of the method itself; those of the base may be given beside them.
        wrap: (base, options) -> the optimizer; `options` is an instance of the class above.
        about: the update in a line.
        reference: where it was published.
    """

    name: str
    options: type[WrapperOptions]
    wrap: Callable[[optim.Optimizer, Any], optim.Optimizer]
    about: str
    reference: str


class WrapperOptions(Options):
    """What all wrappers take: `base`, the name of the optimizer that takes the step."""

    base: str = "sgd"
