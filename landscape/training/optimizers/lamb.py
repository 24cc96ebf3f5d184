"""LAMB: Adam's direction, with a step of each tensor in proportion to the tensor's norm.

    m <- b1 m + (1 - b1) g,   v <- b2 v + (1 - b2) g^2
    r = m^ / (sqrt(v^) + eps),   u = r + lambda theta
    theta_l <- theta_l - eta (||theta_l|| / ||u_l||) u_l      for each tensor l; ratio 1 where either norm is 0

with m^ = m / (1 - b1^t), v^ = v / (1 - b2^t) at step t = 1, 2, ..., or m^ = m, v^ = v without bias correction.
The ratio is 1 where a norm is 0, otherwise a shift that starts at 0 would stay there. It applies to every tensor,
decayed or not: a ratio that is left out where lambda = 0 would be switched by a decay policy.

Ours, not pytorch_optimizer's `Lamb` (4.1): that cuts ||theta_l|| at 10, adds eps to ||u_l|| and corrects no bias but
the first moment's.
"""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field
from torch import Tensor, optim

from landscape.training.optimizers.family import OptimizerFamily, Options, Parameters


class LambOptions(Options):
    """eta = `lr`, lambda = `weight_decay`, b1 = `beta1`, b2 = `beta2`, eps = `eps`; `bias_correction`."""

    lr: float = Field(default=0.005, gt=0)
    weight_decay: float = Field(default=1e-2, ge=0)
    beta1: float = Field(default=0.9, ge=0, lt=1)
    beta2: float = Field(default=0.999, ge=0, lt=1)
    eps: float = Field(default=1e-6, gt=0)
    bias_correction: bool = True


def lamb_update(theta: Tensor, m: Tensor, v: Tensor, *, weight_decay: float, eps: float) -> Tensor:
    """What a step at eta = 1 subtracts from a tensor `theta`: (||theta|| / ||u||) u, from its corrected moments."""
    u = m / (v.sqrt() + eps) + weight_decay * theta
    return trust_ratio(theta, u) * u


def trust_ratio(theta: Tensor, u: Tensor) -> Tensor:
    """||theta|| / ||u|| as a tensor without axes; 1 where either is 0."""
    theta_norm, u_norm = torch.linalg.vector_norm(theta), torch.linalg.vector_norm(u)
    return torch.where((theta_norm > 0) & (u_norm > 0), theta_norm / u_norm, 1.0)


class Lamb(optim.Optimizer):
    """LAMB over `parameters`; state of two moments and a step count a parameter."""

    def __init__(self, parameters: Parameters, options: LambOptions) -> None:
        super().__init__(parameters, options.model_dump())

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Take a step along `.grad`; tensors without one stay."""
        assert closure is None, "the gradient is computed before the step"
        for group in self.param_groups:
            beta1, beta2 = group["beta1"], group["beta2"]
            for theta in group["params"]:
                if theta.grad is None:
                    continue
                state = self.state[theta]
                if not state:
                    state.update(step=0, m=torch.zeros_like(theta), v=torch.zeros_like(theta))
                state["step"] += 1
                m = state["m"].mul_(beta1).add_(theta.grad, alpha=1 - beta1)
                v = state["v"].mul_(beta2).addcmul_(theta.grad, theta.grad, value=1 - beta2)
                if group["bias_correction"]:
                    m, v = m / (1 - beta1 ** state["step"]), v / (1 - beta2 ** state["step"])
                update = lamb_update(theta, m, v, weight_decay=group["weight_decay"], eps=group["eps"])
                theta.sub_(update, alpha=group["lr"])


LAMB = OptimizerFamily(
    name="lamb",
    options=LambOptions,
    build=Lamb,
    about="Adam's direction, each tensor's step in proportion to its norm",
    reference="You et al., Large batch optimization for deep learning, ICLR 2020, algorithm 2",
)
