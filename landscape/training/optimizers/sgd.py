"""Stochastic gradient descent with heavy-ball or Nesterov momentum and coupled (L2) weight decay.

    d = g + lambda theta,   v <- mu v + d  (v = d at the first step)
    theta <- theta - eta v              heavy ball
    theta <- theta - eta (d + mu v)     Nesterov

with g the gradient of the mini-batch mean loss. The learning rate is outside the velocity (PyTorch's form):
a change of eta acts on the whole velocity at once.
"""

from __future__ import annotations

from pydantic import Field, ValidationInfo, field_validator
from torch import optim

from landscape.training.optimizers.family import OptimizerFamily, Options, Parameters


class SgdOptions(Options):
    """eta = `lr`, mu = `momentum`, lambda = `weight_decay`; Nesterov's step if `nesterov`."""

    lr: float = Field(default=0.1, gt=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=5e-4, ge=0)
    nesterov: bool = False

    @field_validator("nesterov")
    @classmethod
    def _has_momentum(cls, nesterov: bool, info: ValidationInfo) -> bool:
        if nesterov and info.data.get("momentum") == 0:
            raise ValueError("false where the momentum is 0")
        return nesterov


def build_sgd(parameters: Parameters, options: SgdOptions) -> optim.SGD:
    """SGD over `parameters`; state of one velocity a parameter."""
    return optim.SGD(
        parameters,
        lr=options.lr,
        momentum=options.momentum,
        weight_decay=options.weight_decay,
        nesterov=options.nesterov,
    )


SGD = OptimizerFamily(
    name="sgd",
    options=SgdOptions,
    build=build_sgd,
    about="heavy-ball or Nesterov momentum, L2 weight decay in the gradient",
    reference="Sutskever et al., On the importance of initialization and momentum in deep learning, "
    "ICML 2013, section 2",
)
