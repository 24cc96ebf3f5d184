"""Per-sample gradients of a layer's parameters from its input and the gradient at its output.

A rule maps (module, input a, output gradient s) to {leaf: G} with G (N, size of the leaf) the gradient of sample n's
value with respect to that parameter. The first dimension of a and s counts the samples; samples do not depend on
each other.

Legend: N samples, T positions (pixels, tokens), I inputs, O outputs, C channels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Rule = Callable[[nn.Module, Tensor, Tensor], dict[str, Tensor]]


def _linear(module: nn.Module, a: Tensor, s: Tensor) -> dict[str, Tensor]:
    n = s.shape[0]
    a_NTI, s_NTO = a.reshape(n, -1, a.shape[-1]), s.reshape(n, -1, s.shape[-1])
    return {"weight": (s_NTO.mT @ a_NTI).reshape(n, -1), "bias": s_NTO.sum(1)}


def _conv2d(module: nn.Module, a: Tensor, s: Tensor) -> dict[str, Tensor]:
    # one product for each kernel position: patches (im2col) would hold and copy the input k x k times
    assert isinstance(module, nn.Conv2d)
    n, groups = s.shape[0], module.groups
    (rows, columns), (down, right) = module.kernel_size, module.stride
    if any(module._reversed_padding_repeated_twice):
        mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
        a = F.pad(a, module._reversed_padding_repeated_twice, mode=mode)
    s_NGOT = s.reshape(n, groups, s.shape[1] // groups, -1)
    weight = s.new_empty(n, groups, s_NGOT.shape[2], a.shape[1] // groups, rows, columns)
    height, width = (s.shape[2] - 1) * down + 1, (s.shape[3] - 1) * right + 1
    for i in range(rows):
        top = i * module.dilation[0]
        for j in range(columns):
            left = j * module.dilation[1]
            seen = a[:, :, top : top + height : down, left : left + width : right]
            seen_NGIT = seen.reshape(n, groups, a.shape[1] // groups, -1)
            weight[..., i, j] = s_NGOT @ seen_NGIT.mT
    return {"weight": weight.reshape(n, -1), "bias": s.flatten(2).sum(2)}


def _batch_norm(module: nn.Module, a: Tensor, s: Tensor) -> dict[str, Tensor]:
    assert isinstance(module, nn.modules.batchnorm._BatchNorm)
    normalised = F.batch_norm(a, module.running_mean, module.running_var, eps=module.eps)
    return _per_channel(normalised, s)


def _group_norm(module: nn.Module, a: Tensor, s: Tensor) -> dict[str, Tensor]:
    assert isinstance(module, nn.GroupNorm)
    return _per_channel(F.group_norm(a, module.num_groups, eps=module.eps), s)


def _per_channel(normalised: Tensor, s: Tensor) -> dict[str, Tensor]:
    n, c = s.shape[:2]
    return {"weight": (s * normalised).reshape(n, c, -1).sum(2), "bias": s.reshape(n, c, -1).sum(2)}


def _layer_norm(module: nn.Module, a: Tensor, s: Tensor) -> dict[str, Tensor]:
    assert isinstance(module, nn.LayerNorm)
    normalised = F.layer_norm(a, module.normalized_shape, eps=module.eps)
    size = int(torch.Size(module.normalized_shape).numel())
    n = s.shape[0]
    return {
        "weight": (s * normalised).reshape(n, -1, size).sum(1),
        "bias": s.reshape(n, -1, size).sum(1),
    }


def _embedding(module: nn.Module, a: Tensor, s: Tensor) -> dict[str, Tensor]:
    assert isinstance(module, nn.Embedding)
    n, words, size = s.shape[0], module.num_embeddings, module.embedding_dim
    tokens, gradients = a.reshape(n, -1), s.reshape(n, -1, size)
    if module.padding_idx is not None:
        gradients = gradients * (tokens != module.padding_idx).unsqueeze(-1)
    rows = (tokens + words * torch.arange(n, device=a.device)[:, None]).reshape(-1)
    weight = torch.zeros(n * words, size, dtype=s.dtype, device=s.device)
    return {"weight": weight.index_add_(0, rows, gradients.reshape(-1, size)).reshape(n, -1)}


# Exact types: a subclass may compute something else.
RULES: Mapping[type[nn.Module], Rule] = MappingProxyType(
    {
        nn.Linear: _linear,
        nn.Conv2d: _conv2d,
        nn.BatchNorm1d: _batch_norm,
        nn.BatchNorm2d: _batch_norm,
        nn.BatchNorm3d: _batch_norm,
        nn.GroupNorm: _group_norm,
        nn.LayerNorm: _layer_norm,
        nn.Embedding: _embedding,
    }
)


def working_size(module: nn.Module, a: Tensor, s: Tensor) -> int:
    """The scalars that a rule holds for one sample, to choose how many samples go at once."""
    weight = max((p.numel() for p in module.parameters(recurse=False)), default=1)
    return weight + a[0].numel() + s[0].numel()
