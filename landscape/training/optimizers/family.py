"""What the registry says of an optimizer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from torch import nn, optim


@dataclass(frozen=True)
class OptimizerFamily:
    """An optimizer by name.

    Attributes:
        name: what `--optimizer` takes.
        options: the settings that it takes, with their defaults and ranges; each field is one of `TrainConfig`.
        build: (parameters, options) -> the optimizer; `options` is an instance of the class above.
        about: the update in a line.
        reference: where it was published.
    """

    name: str
    options: type[BaseModel]
    build: Callable[[Iterable[nn.Parameter], Any], optim.Optimizer]
    about: str
    reference: str
