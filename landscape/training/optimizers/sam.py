"""SAM and ASAM: the step of a base optimizer, with the gradient at the worst weights nearby.

    e = rho g / ||g||_2                        SAM; the norm over all tensors
    e = rho T^2 g / ||T g||_2                  ASAM; T_i = |theta_i| + eta on weights, 1 on other parameters
    theta <- base step from theta with the gradient of the same batch at theta + e

e = 0 where the norm is 0. Weights are tensors of two axes and more; biases and the scale and shift of a
normalisation have one (*our reading* of "weights"). Decay is the base's, at theta. Batch normalisation uses the
batch's statistics in both passes; its running statistics follow the first pass, at theta, alone.

Ours, not pytorch_optimizer's `SAM` (4.1): its adaptive form takes T = |theta| without eta and for biases too, it has
the norm in float32 only, and it leaves the running statistics to the caller.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, optim

from landscape.training.optimizers.family import WrapperFamily, WrapperOptions
from landscape.training.passes import MultiPassOptimizer, Passes, take_step


class SamOptions(WrapperOptions):
    """`rho`: the radius of the neighbourhood."""

    rho: float = Field(default=0.05, gt=0)


class AsamOptions(WrapperOptions):
    """`rho`: the radius in units of T; `eta`: added to |theta|."""

    rho: float = Field(default=0.5, gt=0)
    eta: float = Field(default=0.01, ge=0)


def sam_perturbation(gradients: Sequence[Tensor], rho: float) -> list[Tensor]:
    """rho g / ||g||_2 over all tensors; 0 where the norm is 0."""
    scale = rho * _inverse_norm(gradients)
    return [scale * g for g in gradients]


def asam_perturbation(thetas: Sequence[Tensor], gradients: Sequence[Tensor], rho: float, eta: float) -> list[Tensor]:
    """rho T^2 g / ||T g||_2 over all tensors; 0 where the norm is 0."""
    scales = [theta.abs() + eta if theta.ndim > 1 else torch.ones_like(theta) for theta in thetas]
    scaled = [t * g for t, g in zip(scales, gradients, strict=True)]
    factor = rho * _inverse_norm(scaled)
    return [factor * t * tg for t, tg in zip(scales, scaled, strict=True)]


def _inverse_norm(tensors: Sequence[Tensor]) -> Tensor:
    norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(tensor) for tensor in tensors]))
    return torch.where(norm > 0, 1 / norm, 0.0)


class SharpnessAware(MultiPassOptimizer):
    """SAM or ASAM around `base`, with its groups and its state; no state of its own.

    Args:
        base: takes the step; it may need passes itself, which are then at theta.
        options: `SamOptions` or `AsamOptions`.
    """

    def __init__(self, base: optim.Optimizer, options: SamOptions | AsamOptions) -> None:
        super().__init__(base.param_groups, base.defaults)
        self._base = base
        self._options = options
        self._share()

    replaces_gradient = True

    def _share(self) -> None:
        self.param_groups, self.state = self._base.param_groups, self._base.state

    @torch.no_grad()
    def step_with(self, passes: Passes) -> None:
        """Take a step. Cost: one gradient, and what the base asks for."""
        thetas = [theta for group in self.param_groups for theta in group["params"] if theta.grad is not None]
        if not thetas:
            return
        gradients = [theta.grad for theta in thetas]
        if isinstance(self._options, AsamOptions):
            perturbation = asam_perturbation(thetas, gradients, self._options.rho, self._options.eta)
        else:
            perturbation = sam_perturbation(gradients, self._options.rho)
        before = [theta.clone() for theta in thetas]
        try:
            for theta, e in zip(thetas, perturbation, strict=True):
                theta.add_(e)
            with torch.enable_grad():
                passes.gradient_again()
        finally:
            for theta, value in zip(thetas, before, strict=True):
                theta.copy_(value)
        take_step(self._base, passes)

    def state_dict(self) -> dict[str, Any]:
        """The base's."""
        return self._base.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        self._base.load_state_dict(state_dict)
        self._share()


SAM = WrapperFamily(
    name="sam",
    options=SamOptions,
    wrap=SharpnessAware,
    about="a base optimizer's step with the gradient at the worst weights within a distance rho",
    reference="Foret et al., Sharpness-aware minimization, ICLR 2021, algorithm 1 and equation 2",
)

ASAM = WrapperFamily(
    name="asam",
    options=AsamOptions,
    wrap=SharpnessAware,
    about="SAM with distances relative to each weight's size",
    reference="Kwon et al., ASAM, ICML 2021, algorithm 1",
)
