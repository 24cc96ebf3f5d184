"""Adam with decoupled weight decay.

    theta <- (1 - eta lambda) theta
    m <- b1 m + (1 - b1) g,   v <- b2 v + (1 - b2) g^2
    theta <- theta - eta (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)

at step t = 1, 2, ... with b1 = 0.9, b2 = 0.999, eps = 1e-8 if not given otherwise. The decay is multiplied by the
learning rate, as in PyTorch; the paper's own lambda is eta lambda here.
"""

from __future__ import annotations

from pydantic import Field
from torch import optim

from landscape.training.optimizers.adam import AdamOptions
from landscape.training.optimizers.family import OptimizerFamily, Parameters


class AdamwOptions(AdamOptions):
    """As Adam's, with a decay by default."""

    weight_decay: float = Field(default=1e-2, ge=0)


def build_adamw(parameters: Parameters, options: AdamwOptions) -> optim.AdamW:
    """AdamW over `parameters`; state of two moments and a step count a parameter."""
    return optim.AdamW(
        parameters,
        lr=options.lr,
        betas=(options.beta1, options.beta2),
        eps=options.eps,
        weight_decay=options.weight_decay,
    )


ADAMW = OptimizerFamily(
    name="adamw",
    options=AdamwOptions,
    build=build_adamw,
    about="Adam with decoupled weight decay",
    reference="Loshchilov and Hutter, Decoupled weight decay regularization, ICLR 2019, algorithm 2",
)
