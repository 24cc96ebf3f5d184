"""Squared norms of per-sample weight gradients from Gram matrices, where those are cheaper than the gradients.

A sample's gradient of a linear map's weight, applied at T positions to inputs a_t with output gradients s_t, is
G = sum_t s_t a_t', so that

    ||G||_F^2 = sum_{t,t'} (a_t'a_t') (s_t's_t') = <A A', S S'>.

For a convolution a_t is the patch that position t sees. The matrix of the inputs is the same for every cotangent of a
forward pass.

Legend: N samples, T positions, I inputs of a position (a patch's for a convolution), O outputs.

Reference: Goodfellow 2015, arXiv:1510.01799 (T = 1); Rochette et al. 2019, arXiv:1912.06015 (convolutions).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from landscape.linalg.precision import wide


class InputGrams:
    """The matrices A A' of a layer's inputs, one a sample, kept for several cotangents.

    Args:
        module: a layer that `grams_pay` for.
        a: its input.
        at_once: how many scalars to work on at once.

    Memory: N T^2 scalars.
    """

    def __init__(self, module: nn.Module, a: Tensor, at_once: int) -> None:
        self._at_once = at_once
        step = max(1, at_once // _patch_scalars(module, a))
        self._of_inputs_NTT = torch.cat([_gram(_inputs(module, some)) for some in torch.split(a, step)])

    def squared_norms(self, module: nn.Module, s: Tensor) -> Tensor:
        """||G_n||^2 (N,) for the gradients s at the layer's output, in the wide type."""
        s_NTO = _outputs(module, s)
        step = max(1, self._at_once // (s_NTO.shape[1] ** 2 + s_NTO[0].numel()))
        sums = [
            (_gram(some) * known).sum((1, 2), dtype=wide(s.device))
            for some, known in zip(torch.split(s_NTO, step), torch.split(self._of_inputs_NTT, step), strict=True)
        ]
        return torch.cat(sums).clamp_min(0)  # rounding alone takes it below


def grams_pay(module: nn.Module, a: Tensor, s: Tensor, cotangents: int) -> bool:
    """Whether the norms of the weight's gradients take less work so, for that many cotangents, and little memory."""
    if type(module) is nn.Linear:
        outputs, inputs = module.out_features, module.in_features
    elif type(module) is nn.Conv2d and module.groups == 1:
        outputs, inputs = module.out_channels, module.weight[0].numel()
    else:
        return False
    positions = s[0].numel() // outputs
    by_grams = positions**2 * (outputs + inputs / max(1, cotangents))
    # what is kept is to be no more than the layer's activations and what their gradients take
    return by_grams < positions * outputs * inputs and positions**2 <= 2 * (a[0].numel() + s[0].numel())


def _gram(rows_NTI: Tensor) -> Tensor:
    return rows_NTI @ rows_NTI.mT


def _inputs(module: nn.Module, a: Tensor) -> Tensor:
    if isinstance(module, nn.Conv2d):
        if any(module._reversed_padding_repeated_twice):
            mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
            a = F.pad(a, module._reversed_padding_repeated_twice, mode=mode)
        return F.unfold(a, module.kernel_size, module.dilation, stride=module.stride).mT
    return a.reshape(len(a), -1, a.shape[-1])


def _outputs(module: nn.Module, s: Tensor) -> Tensor:
    if isinstance(module, nn.Conv2d):
        return s.reshape(len(s), s.shape[1], -1).mT
    return s.reshape(len(s), -1, s.shape[-1])


def _patch_scalars(module: nn.Module, a: Tensor) -> int:
    if isinstance(module, nn.Conv2d):
        return int(a[0].numel() * module.kernel_size[0] * module.kernel_size[1])
    return a[0].numel()
