"""Per-sample gradients of a layer's parameters from its input and the gradient at its output.

A rule maps (module, input a, output gradient s) to pieces G_0, G_1, ... of each parameter's gradients: G_k (N, size) is
the gradient of sample n's value with respect to the k-th piece of the parameter, as the rule cuts it. A piece is one
contiguous product of matrices, small enough to be reduced while a core's cache still holds it: formed whole, the
gradients of a layer would go through the memory several times. The first dimension of a and s counts the samples;
samples do not depend on each other. A module of another kind that has no modules inside takes `vmap` of its own forward
pass alone.

Legend: N samples, T positions (pixels, tokens), I inputs, O outputs, C channels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

_ACTIVATIONS = 4  # what the forward pass of a module of unknown kind may hold, in sizes of its input and output
_LARGEST_PIECE = 2**18  # scalars; a linear layer's weight is cut by rows to at most that


def _whole(weight: Tensor) -> list[Tensor]:
    return [weight]


@dataclass(frozen=True)
class Rule:
    """How the per-sample gradients of a kind of layer are made.

    Attributes:
        weight: (module, a, s) -> the pieces of the weight's gradients, each (N, size of the piece).
        bias: (module, s) -> the bias's gradients (N, C), in one piece.
        cut: views of a tensor (..., *shape of the weight) that are the pieces, in the order of `weight`.
    """

    weight: Callable[[nn.Module, Tensor, Tensor], Iterator[Tensor]]
    bias: Callable[[nn.Module, Tensor], Tensor]
    cut: Callable[[Tensor], list[Tensor]] = _whole

    def pieces(self, module: nn.Module, leaf: str, a: Tensor, s: Tensor) -> Iterator[Tensor]:
        """The pieces of the gradients of `leaf`, `weight` or `bias`."""
        if leaf == "weight":
            yield from self.weight(module, a, s)
        else:
            yield self.bias(module, s)

    def views(self, leaf: str, tensor: Tensor) -> list[Tensor]:
        """The same pieces as views of a tensor (..., *shape of the leaf)."""
        return self.cut(tensor) if leaf == "weight" else [tensor]


def _linear(module: nn.Module, a: Tensor, s: Tensor) -> Iterator[Tensor]:
    n = s.shape[0]
    a_NTI, s_NOT = a.reshape(n, -1, a.shape[-1]), s.reshape(n, -1, s.shape[-1]).mT
    for part_NOT in torch.split(s_NOT, _rows(a.shape[-1]), dim=1):
        yield (part_NOT @ a_NTI).reshape(n, -1)


def _by_rows(weight: Tensor) -> list[Tensor]:
    return list(torch.split(weight, _rows(weight.shape[-1]), dim=-2))


def _rows(inputs: int) -> int:
    return max(1, _LARGEST_PIECE // max(1, inputs))


def _last(module: nn.Module, s: Tensor) -> Tensor:
    return s.reshape(s.shape[0], -1, s.shape[-1]).sum(1)


def _conv2d(module: nn.Module, a: Tensor, s: Tensor) -> Iterator[Tensor]:
    # one product for each kernel position: patches (im2col) would hold and copy the input k x k times
    assert isinstance(module, nn.Conv2d)
    n, groups = s.shape[0], module.groups
    (rows, columns), (down, right) = module.kernel_size, module.stride
    if any(module._reversed_padding_repeated_twice):
        mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
        a = F.pad(a, module._reversed_padding_repeated_twice, mode=mode)
    if (down, right) == (1, 1):
        yield from _windows(module, a, s)
        return
    s_NGOT = s.reshape(n, groups, s.shape[1] // groups, -1)
    height, width = (s.shape[2] - 1) * down + 1, (s.shape[3] - 1) * right + 1
    for i in range(rows):
        top = i * module.dilation[0]
        for j in range(columns):
            left = j * module.dilation[1]
            seen = a[:, :, top : top + height : down, left : left + width : right]
            seen_NGIT = seen.reshape(n, groups, a.shape[1] // groups, -1)
            yield (s_NGOT @ seen_NGIT.mT).reshape(n, -1)


def _windows(module: nn.Conv2d, a: Tensor, s: Tensor) -> Iterator[Tensor]:
    """The products of a convolution of stride 1 whose input is padded: what a position sees is a window of the pixels.

    The rows of s are filled up with zeros to those of a; then row after row of both lies in step, and the window of a
    position is a view of a that begins later.
    """
    n, groups, wide = s.shape[0], module.groups, a.shape[3]
    length = (s.shape[2] - 1) * wide + s.shape[3]
    s_NGOT = F.pad(s, (0, wide - s.shape[3])).reshape(n, groups, s.shape[1] // groups, -1)[..., :length]
    a_NGIT = a.reshape(n, groups, a.shape[1] // groups, -1)
    for i in range(module.kernel_size[0]):
        for j in range(module.kernel_size[1]):
            begin = i * module.dilation[0] * wide + j * module.dilation[1]
            yield (s_NGOT @ a_NGIT[..., begin : begin + length].mT).reshape(n, -1)


def _by_positions(weight: Tensor) -> list[Tensor]:
    return [weight[..., i, j] for i in range(weight.shape[-2]) for j in range(weight.shape[-1])]


def _channels(module: nn.Module, s: Tensor) -> Tensor:
    n, c = s.shape[:2]
    return s.reshape(n, c, -1).sum(2)


def _batch_norm(module: nn.Module, a: Tensor, s: Tensor) -> Iterator[Tensor]:
    assert isinstance(module, nn.modules.batchnorm._BatchNorm)
    normalised = F.batch_norm(a, module.running_mean, module.running_var, eps=module.eps)
    yield _channels(module, normalised.mul_(s))


def _group_norm(module: nn.Module, a: Tensor, s: Tensor) -> Iterator[Tensor]:
    assert isinstance(module, nn.GroupNorm)
    yield _channels(module, F.group_norm(a, module.num_groups, eps=module.eps).mul_(s))


def _layer_norm(module: nn.Module, a: Tensor, s: Tensor) -> Iterator[Tensor]:
    assert isinstance(module, nn.LayerNorm)
    yield _trailing(module, F.layer_norm(a, module.normalized_shape, eps=module.eps).mul_(s))


def _trailing(module: nn.Module, s: Tensor) -> Tensor:
    assert isinstance(module, nn.LayerNorm)
    return s.reshape(s.shape[0], -1, torch.Size(module.normalized_shape).numel()).sum(1)


def _no_weight(module: nn.Module, a: Tensor, s: Tensor) -> Iterator[Tensor]:
    raise AssertionError(f"{type(module).__name__} has no rule for its weight")


def _no_bias(module: nn.Module, s: Tensor) -> Tensor:
    raise AssertionError(f"{type(module).__name__} has no bias")


def _embedding(module: nn.Module, a: Tensor, s: Tensor) -> Iterator[Tensor]:
    assert isinstance(module, nn.Embedding)
    n, words, size = s.shape[0], module.num_embeddings, module.embedding_dim
    tokens, gradients = a.reshape(n, -1), s.reshape(n, -1, size)
    if module.padding_idx is not None:
        gradients = gradients * (tokens != module.padding_idx).unsqueeze(-1)
    rows = (tokens + words * torch.arange(n, device=a.device)[:, None]).reshape(-1)
    weight = torch.zeros(n * words, size, dtype=s.dtype, device=s.device)
    yield weight.index_add_(0, rows, gradients.reshape(-1, size)).reshape(n, -1)


# Exact types: a subclass may compute something else.
RULES: Mapping[type[nn.Module], Rule] = MappingProxyType(
    {
        nn.Linear: Rule(_linear, _last, _by_rows),
        nn.Conv2d: Rule(_conv2d, _channels, _by_positions),
        nn.BatchNorm1d: Rule(_batch_norm, _channels),
        nn.BatchNorm2d: Rule(_batch_norm, _channels),
        nn.BatchNorm3d: Rule(_batch_norm, _channels),
        nn.GroupNorm: Rule(_group_norm, _channels),
        nn.LayerNorm: Rule(_layer_norm, _trailing),
        nn.Embedding: Rule(_embedding, _no_bias),
    }
)


class _OwnForward(Rule):
    """The rule of a module that none is written for: the derivative of <module(a_n), s_n>, sample by sample."""

    def pieces(self, module: nn.Module, leaf: str, a: Tensor, s: Tensor) -> Iterator[Tensor]:
        """The gradients of the parameter `leaf`, whatever it is called, in one piece."""
        parameter = module._parameters[leaf]
        assert parameter is not None

        def value(moved: Tensor, one: Tensor, slope: Tensor) -> Tensor:
            output: Tensor = functional_call(module, {leaf: moved}, (one[None],))
            return (output[0] * slope).sum()

        found: Tensor = vmap(grad(value), in_dims=(None, 0, 0))(parameter.detach(), a, s)
        yield found.reshape(len(a), -1)

    def views(self, leaf: str, tensor: Tensor) -> list[Tensor]:
        """The tensor itself."""
        return [tensor]


_OTHERS = _OwnForward(_no_weight, _no_bias)


def rule_of(module: nn.Module) -> Rule | None:
    """The rule of a module; None where it has modules inside, which may use its parameters in any way."""
    known = RULES.get(type(module))
    return known if known is not None or len(module._modules) else _OTHERS


def ruled_leaves(module: nn.Module) -> Iterable[str]:
    """The names of the parameters that the rule of a module covers."""
    return ("weight", "bias") if type(module) in RULES else tuple(module._parameters)


def working_size(module: nn.Module, a: Tensor, s: Tensor) -> int:
    """The scalars that a rule holds for one sample, to choose how many samples go at once."""
    if type(module) not in RULES:
        parameters = sum(p.numel() for p in module._parameters.values() if p is not None)
        return parameters + _ACTIVATIONS * (a[0].numel() + s[0].numel())
    piece = max((view.numel() for view in RULES[type(module)].views("weight", _weight(module))), default=1)
    return piece + a[0].numel() + s[0].numel()


def _weight(module: nn.Module) -> Tensor:
    """The weight, also one that is computed from other parameters (spectral and weight normalisation by hooks)."""
    weight = getattr(module, "weight", None)
    return weight if isinstance(weight, Tensor) else torch.empty(0)
