"""What functions without parameters do to the labels of channels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from landscape.reparameterisation.following import Call, Follow, Rule, one_label
from landscape.reparameterisation.labels import FIXED, FREE


def _same(follow: Follow, call: Call) -> Any:
    return follow.shadow(call.argument(0, "input"))


def _clamp(follow: Follow, call: Call) -> Any:
    """ReLU by another name: from below at 0."""
    low, high = call.argument(1, "min"), call.argument(2, "max")
    return _same(follow, call) if isinstance(low, int | float) and low == 0 and high is None else None


def _moved(follow: Follow, call: Call) -> Any:
    """The same move of the labels; what has none and is no index has fixed ones."""

    def shadow(value: Any) -> Any:
        if not isinstance(value, Tensor) or not value.is_floating_point():
            return value
        found = follow.shadow(value)
        return torch.tensor(FIXED).expand(value.shape) if found is None else found

    try:
        return call.function(*tree_map(shadow, call.args), **tree_map(shadow, call.given))
    except (RuntimeError, TypeError, ValueError):  # a form of the call that suits floating values alone
        return None


def _padded(follow: Follow, call: Call) -> Any:
    x, pad = call.argument(0, "input"), call.argument(1, "pad")
    mode, value = call.argument(2, "mode", "constant"), call.argument(3, "value")
    if mode != "constant":
        return _window(len(pad) // 2)(follow, call)
    shadow = follow.shadow(x)
    return None if value or shadow is None else torch.nn.functional.pad(shadow, pad, value=FREE)


def _window(dims: int | None) -> Rule:
    """A value is made of places that differ in the last `dims` dimensions only (None: in all but two)."""

    def rule(follow: Follow, call: Call) -> Any:
        x = call.argument(0, "input")
        shadow = follow.shadow(x)
        kept = 2 if dims is None else x.ndim - dims
        if shadow is None or not isinstance(call.result, Tensor) or call.result.shape[:kept] != x.shape[:kept]:
            return None
        for dim in range(kept, x.ndim):
            shadow = one_label(follow, shadow, dim, call.name)
        return shadow.expand(call.result.shape)

    return rule


def _reduced(follow: Follow, call: Call) -> Any:
    x, dims = call.argument(0, "input"), call.argument(1, "dim")
    shadow = follow.shadow(x)
    if shadow is None or not isinstance(call.result, Tensor):
        return None
    every = range(x.ndim) if dims is None else [dims] if isinstance(dims, int) else dims
    for dim in every:
        shadow = one_label(follow, shadow, dim % x.ndim, call.name)
    return shadow.reshape(call.result.shape)


def _added(follow: Follow, call: Call) -> Any:
    found = [_operand(follow, value, call) for value in call.args[:2]]
    shadows = [shadow for shadow in found if shadow is not None]
    if len(shadows) < 2 or call.given.keys() - {"alpha"}:
        return None
    one, other = shadows
    follow.labels.unite(one, other, f"{call.name.strip('_')} of something that is not scaled")
    zero = one == FREE
    if not zero.any():
        return one
    return other if zero.all() else torch.where(zero, other, one)


def _multiplied(follow: Follow, call: Call) -> Any:
    """One factor has a label: the product has it too. Where both have one they would have to go with the product's."""
    found = [_operand(follow, value, call, number=True) for value in call.args[:2]]
    shadows = [shadow for shadow in found if shadow is not None]
    if len(shadows) < 2 or call.given:
        return None
    one, other = shadows
    zero = (one == FREE) | (other == FREE)
    both = (one != FIXED) & (other != FIXED) & ~zero
    if both.any():
        follow.labels.fix(one[both], call.name)
        follow.labels.fix(other[both], call.name)
    if not one.any():
        return other
    return one if not other.any() else torch.where(zero, FREE, torch.where(one == FIXED, other, one))


def _divided(follow: Follow, call: Call) -> Any:
    """By something that has no label."""
    divisor = call.argument(1, "other")
    return None if follow.shadow(divisor) is not None or call.given else _same(follow, call)


def _operand(follow: Follow, value: Any, call: Call, *, number: bool = False) -> Tensor | None:
    """The labels of a term or a factor, in the shape of the result; None where it has no form that is known."""
    if isinstance(value, Tensor):
        found = follow.shadow(value)
        shadow = torch.tensor(FIXED).expand(value.shape) if found is None else found
        return shadow.expand(call.result.shape) if isinstance(call.result, Tensor) else None
    if isinstance(value, int | float) and isinstance(call.result, Tensor):
        zero = value == 0 and not number  # nothing is added
        return torch.tensor(FREE if zero else FIXED).expand(call.result.shape)
    return None


_HOMOGENEOUS = (
    "relu", "relu_", "leaky_relu", "leaky_relu_", "prelu", "abs", "absolute", "neg", "negative",
    "dropout", "dropout_", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout",
    "contiguous", "clone", "detach", "float", "double", "half", "bfloat16", "to", "type", "type_as",
)  # fmt: skip
_MOVES = (
    "view", "reshape", "view_as", "reshape_as", "flatten", "unflatten", "permute", "transpose", "swapaxes", "movedim",
    "mT", "t", "squeeze", "unsqueeze", "expand", "expand_as", "__getitem__", "narrow", "select", "chunk", "split",
    "tensor_split", "unbind", "cat", "concat", "concatenate", "stack", "hstack", "vstack", "repeat", "flip", "roll",
    "channel_shuffle", "pixel_shuffle", "pixel_unshuffle", "index_select", "__get__",
)  # fmt: skip

FUNCTIONS: Mapping[str, Rule] = {
    **dict.fromkeys(_HOMOGENEOUS, _same),
    **dict.fromkeys(_MOVES, _moved),
    **{f"{kind}_pool{n}d": _window(n) for kind in ("max", "avg", "adaptive_max", "adaptive_avg") for n in (1, 2, 3)},
    **dict.fromkeys(("interpolate", "upsample"), _window(None)),
    **dict.fromkeys(("mean", "sum", "amax", "amin"), _reduced),
    **dict.fromkeys(("add", "add_", "__add__", "__radd__", "__iadd__", "sub", "sub_", "__sub__", "__isub__"), _added),
    **dict.fromkeys(("mul", "mul_", "__mul__", "__rmul__", "__imul__", "multiply"), _multiplied),
    **dict.fromkeys(("div", "div_", "divide", "true_divide", "__truediv__"), _divided),
    "maximum": _added,
    "minimum": _added,
    "pad": _padded,
    "clamp": _clamp,
    "clamp_min": _clamp,
}
"""Functions without parameters, by the name that PyTorch gives them."""
