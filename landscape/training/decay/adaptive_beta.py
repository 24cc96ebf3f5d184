"""Adaptive beta decay: a normalisation layer's beta is decayed in the steps where it is the sharper of its pair.

    r_l = ||beta_l * g_beta_l||_1 / ||gamma_l * g_gamma_l||_1,     lambda_l = lambda_beta if r_l >= R else 0

with g the gradient of the step's mini-batch loss (before any decay is added to it) and * the elementwise product.
A ratio 0/0 is 0, and c/0 with c > 0 is infinite (*our reading*): a layer whose gamma contributes nothing has all its
sharpness in beta. Gamma is never decayed.

Legend: L normalisation layers.

Cost: four passes over the norm layers' parameters, some thousandths of a step; nothing is read from the device.

Reference: "Bias decay matters", section 4.2 and algorithm 1 (with r_l >= R, as in its text).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from landscape.parameters import ParameterInfo


@dataclass(frozen=True)
class NormLayer:
    """The names of a normalisation layer's gamma and beta."""

    gamma: str
    beta: str


def norm_layers(infos: Sequence[ParameterInfo]) -> tuple[NormLayer, ...]:
    """The normalisation layers of which both gamma and beta are trained, in the network's order."""
    gammas = {info.layer: info.name for info in infos if info.role == "norm.gamma"}
    return tuple(
        NormLayer(gammas[info.layer], info.name) for info in infos if info.role == "norm.beta" and info.layer in gammas
    )


def connectivities(tensors: Sequence[Tensor], gradients: Sequence[Tensor]) -> Tensor:
    """||t_l * g_l||_1 of each of L tensors, as (L,) on their device."""
    return torch.stack(torch._foreach_norm(torch._foreach_mul(list(tensors), list(gradients)), 1))


def ratios(c_beta_L: Tensor, c_gamma_L: Tensor) -> Tensor:
    """r_l (L,) from the two connectivities of each layer."""
    alone_L = torch.where(c_beta_L > 0, torch.full_like(c_beta_L, torch.inf), torch.zeros_like(c_beta_L))
    return torch.where(c_gamma_L > 0, c_beta_L / c_gamma_L, alone_L)


def chosen(r_L: Tensor, threshold: float) -> Tensor:
    """Which layers are decayed, (L,) bool: r_l >= R = `threshold`. A ratio that is NaN chooses none."""
    return r_L >= threshold
