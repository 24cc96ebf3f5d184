"""Adam, with coupled (L2) weight decay.

    d = g + lambda theta
    m <- b1 m + (1 - b1) d,   v <- b2 v + (1 - b2) d^2
    theta <- theta - eta (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)

at step t = 1, 2, ... with b1 = 0.9, b2 = 0.999, eps = 1e-8 if not given otherwise. The paper has no decay: lambda is
0 by default.
"""

from __future__ import annotations

from pydantic import Field
from torch import optim

from landscape.training.optimizers.family import OptimizerFamily, Options, Parameters


class AdamOptions(Options):
    """eta = `lr`, lambda = `weight_decay`, b1 = `beta1`, b2 = `beta2`, eps = `eps`."""

    lr: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    beta1: float = Field(default=0.9, ge=0, lt=1)
    beta2: float = Field(default=0.999, ge=0, lt=1)
    eps: float = Field(default=1e-8, gt=0)


def build_adam(parameters: Parameters, options: AdamOptions) -> optim.Adam:
    """Adam over `parameters`; state of two moments and a step count a parameter."""
    return optim.Adam(
        parameters,
        lr=options.lr,
        betas=(options.beta1, options.beta2),
        eps=options.eps,
        weight_decay=options.weight_decay,
    )


ADAM = OptimizerFamily(
    name="adam",
    options=AdamOptions,
    build=build_adam,
    about="moments of the gradient, L2 weight decay in the gradient",
    reference="Kingma and Ba, Adam: a method for stochastic optimization, ICLR 2015, algorithm 1",
)
