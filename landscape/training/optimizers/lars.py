"""LARS: momentum SGD with a rate of each tensor in proportion to the tensor's norm over its gradient's.

    local_l = trust ||theta_l|| / (||g_l|| + lambda ||theta_l||)     1 where either norm is 0
    v_l <- mu v_l + eta local_l (g_l + lambda theta_l)
    theta_l <- theta_l - v_l                                         for each tensor l

As in the paper the learning rate is inside the velocity: a change of eta acts on later gradients only.

Ours, not pytorch_optimizer's `LARS` (4.1): that takes tensors of one axis at the plain rate and without decay, which a
decay policy could not change.
"""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field
from torch import Tensor, optim

from landscape.training.optimizers.family import OptimizerFamily, Options, Parameters


class LarsOptions(Options):
    """eta = `lr`, mu = `momentum`, lambda = `weight_decay`, `trust` the trust coefficient."""

    lr: float = Field(default=1.0, gt=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=5e-4, ge=0)
    trust: float = Field(default=1e-3, gt=0)


def lars_update(theta: Tensor, g: Tensor, *, weight_decay: float, trust: float) -> Tensor:
    """The scaled gradient of a tensor `theta` with gradient `g`: local (g + lambda theta)."""
    theta_norm, g_norm = torch.linalg.vector_norm(theta), torch.linalg.vector_norm(g)
    ratio = trust * theta_norm / (g_norm + weight_decay * theta_norm)
    return torch.where((theta_norm > 0) & (g_norm > 0), ratio, 1.0) * (g + weight_decay * theta)


class Lars(optim.Optimizer):
    """LARS over `parameters`; state of one velocity a parameter."""

    def __init__(self, parameters: Parameters, options: LarsOptions) -> None:
        super().__init__(parameters, options.model_dump())

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Take a step along `.grad`; tensors without one stay."""
        assert closure is None, "the gradient is computed before the step"
        for group in self.param_groups:
            for theta in group["params"]:
                if theta.grad is None:
                    continue
                state = self.state[theta]
                if not state:
                    state["velocity"] = torch.zeros_like(theta)
                update = lars_update(theta, theta.grad, weight_decay=group["weight_decay"], trust=group["trust"])
                theta.sub_(state["velocity"].mul_(group["momentum"]).add_(update, alpha=group["lr"]))


LARS = OptimizerFamily(
    name="lars",
    options=LarsOptions,
    build=Lars,
    about="momentum SGD, each tensor's rate in proportion to its norm over its gradient's",
    reference="You, Gitman and Ginsburg, Large batch training of convolutional networks, arXiv:1708.03888, algorithm 1",
)
