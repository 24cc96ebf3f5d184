"""Stochastic gradient descent with heavy-ball momentum and coupled (L2) weight decay.

    d = g + lambda theta,   v <- mu v + d  (v = d at the first step),   theta <- theta - eta v

with g the gradient of the mini-batch mean loss. The learning rate is outside the velocity (PyTorch's form):
a change of eta acts on the whole velocity at once.
"""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict, Field
from torch import nn, optim

from landscape.training.optimizers.family import OptimizerFamily


class SgdOptions(BaseModel):
    """eta = `lr`, mu = `momentum`, lambda = `weight_decay`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    lr: float = Field(default=0.1, gt=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=5e-4, ge=0)


def build_sgd(parameters: Iterable[nn.Parameter], options: SgdOptions) -> optim.SGD:
    """SGD over `parameters`; state of one velocity a parameter."""
    return optim.SGD(parameters, lr=options.lr, momentum=options.momentum, weight_decay=options.weight_decay)


SGD = OptimizerFamily(
    name="sgd",
    options=SgdOptions,
    build=build_sgd,
    about="heavy-ball momentum, L2 weight decay in the gradient",
    reference="Sutskever et al., On the importance of initialization and momentum in deep learning, ICML 2013",
)
