"""Following labels of channels through a forward pass: which weights make a channel, and which take it in.

Every tensor of the pass that knows a factor has a shadow, an integer tensor of its shape with a label at each place
(`landscape.reparameterisation.labels`): if the places of label u are multiplied by c_u > 0, for all u, then they are
so at every later place too. What a function does to shadows:

- layers (convolutions, linear layers, embeddings, the affine part of normalisations) take in the labels of their
  input, and give new ones to their output;
- positively homogeneous functions of one place (ReLU and its kin) leave them as they are;
- functions that move values (flatten, slices, padding by zeros, concatenation) do the same to the shadow;
- means and poolings want one label in a window, sums one label in both terms;
- every other function makes them fixed: it is not known to be homogeneous.

So a channel of which something is not known is never rescaled; and what is found is still seen on outputs, by
`landscape.reparameterisation.structure`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

from landscape.problem.batch_norm import NormCall
from landscape.reparameterisation.labels import FIXED, FREE, Labels


@dataclass(frozen=True)
class Entry:
    """A tensor of the network along one axis: channel k of `labels` is multiplied (`power` 1) or divided (-1).

    Of a grouped convolution's inputs `labels` has all channels, those of each of the `groups` in turn.
    """

    name: str
    labels: Tensor
    axis: int
    power: int
    groups: int = 1


@dataclass(frozen=True)
class Statistics:
    """The running statistics of a normalisation, which take in the channels of `labels`."""

    mean: str
    var: str
    labels: Tensor
    eps: float


@dataclass
class Call:
    """A call of a function, with its result."""

    name: str
    function: Callable[..., Any]
    args: tuple[Any, ...]
    given: dict[str, Any]
    result: Any

    def argument(self, place: int, name: str, default: Any = None) -> Any:
        """The argument at `place`, or of that name."""
        return self.args[place] if len(self.args) > place else self.given.get(name, default)


@dataclass
class Follow(TorchFunctionMode):
    """Follows the labels of the forward pass that runs inside the block.

    Args:
        tensors: the parameters and buffers that the network is run with, by name; each its own object.
    """

    tensors: Mapping[str, Tensor]
    labels: Labels = field(default_factory=Labels)
    entries: list[Entry] = field(default_factory=list)
    statistics: list[Statistics] = field(default_factory=list)
    uses: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        super().__init__()
        self._names = {id(tensor): name for name, tensor in self.tensors.items()}
        self._shadows: dict[int, tuple[Tensor, Tensor]] = {}  # with the tensors, so that ids stay theirs

    def name(self, tensor: Any) -> str | None:
        """The name of a tensor of the network."""
        return self._names.get(id(tensor))

    def shadow(self, value: Any) -> Tensor | None:
        """The labels of a tensor; None where it has none."""
        found = self._shadows.get(id(value))
        return None if found is None else found[1]

    def fix(self, value: Any, why: str) -> None:
        """Let no channel of the tensors in `value` be scaled."""
        for leaf in tree_leaves(value):
            shadow = self.shadow(leaf)
            if shadow is not None:
                self.labels.fix(shadow, why)

    def make(self, result: Tensor, axis: int, count: int, names: Sequence[str | None]) -> Tensor | tuple[()]:
        """New labels for the channels of a layer's output, which axis 0 of the tensors `names` makes.

        None, that is fixed ones, where one of the tensors is not the network's own but computed.
        """
        known = [name for name in names if name is not None]
        if len(known) < len(names):
            return ()
        fresh = self.labels.new(count)
        self.entries += [Entry(name, fresh, 0, 1) for name in known]
        return along(fresh, axis, result)

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = dict(kwargs or {})
        name = getattr(function, "__name__", "")
        result = function(*args, **given)
        if name in _QUESTIONS or (name == "__get__" and not isinstance(result, Tensor)):
            return result
        for leaf in tree_leaves((args, given)):
            if id(leaf) in self._names:
                self.uses[self._names[id(leaf)]] += 1
        if name in _ZEROS and isinstance(result, Tensor):
            self._note(result, torch.tensor(FREE).expand(result.shape))
            return result
        call = Call(name, function, args, given, result)
        if name in LAYERS or any(self.shadow(leaf) is not None for leaf in tree_leaves((args, given))):
            rule = RULES.get(name)
            found = None if rule is None else rule(self, call)
            if found is None:
                self.fix((args, given), name)
            self._note(result, found)
        return result

    def _note(self, result: Any, shadows: Any) -> None:
        leaves = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        found = [leaf for leaf in tree_leaves(shadows) if isinstance(leaf, Tensor)]
        for leaf in leaves:
            self._shadows.pop(id(leaf), None)
        if [leaf.shape for leaf in leaves] == [shadow.shape for shadow in found]:
            for leaf, shadow in zip(leaves, found, strict=True):
                self._shadows[id(leaf)] = leaf, shadow
        elif found:
            for shadow in found:
                self.labels.fix(shadow, "a function of unknown form")


Rule = Callable[[Follow, Call], Any]  # the shadows of the result; None: what goes in is fixed


def along(labels: Tensor, axis: int, like: Tensor) -> Tensor:
    """Labels (C,) of the axis `axis` of `like`, at every place of it; takes no memory."""
    shape = [1] * like.ndim
    shape[axis] = len(labels)
    return labels.view(shape).expand(like.shape)


def channels(follow: Follow, x: Tensor, axis: int, why: str) -> Tensor | None:
    """The labels (C,) of the channels of `x` along `axis`, united where a channel has several; None without any."""
    shadow = follow.shadow(x)
    if shadow is None:
        return None
    axis %= x.ndim
    for dim in range(x.ndim):
        if dim != axis:
            shadow = _one_label(follow, shadow, dim, why)
    return shadow.reshape(-1).clone()


def _one_label(follow: Follow, shadow: Tensor, dim: int, why: str) -> Tensor:
    """The shadow with one place along `dim`, whose label all of them have now."""
    if shadow.shape[dim] == 0:
        return shadow
    if shadow.stride(dim) == 0 or shadow.shape[dim] == 1:
        return shadow.narrow(dim, 0, 1)
    one = shadow.amax(dim, keepdim=True)  # FREE only where all are
    follow.labels.unite(shadow, one, why)
    return one


# -- layers ----------------------------------------------------------------------------------------------------------


def _weighted(follow: Follow, call: Call, x: Any, weight: Any, bias: Any, axis: int, groups: int) -> Any:
    """A layer whose weight is (outputs, inputs / groups, ...) and whose channels lie along `axis` of the input."""
    name = follow.name(weight)
    taken = channels(follow, x, axis, call.name)
    if taken is not None:
        if name is None:
            follow.labels.fix(taken, "a weight that is computed")
        else:
            follow.entries.append(Entry(name, taken, 1, -1, groups))
    names = [follow.name(part) for part in (weight, bias) if part is not None]
    return follow.make(call.result, axis, len(weight), names)


def _linear(follow: Follow, call: Call) -> Any:
    x, weight, bias = (call.argument(i, name) for i, name in enumerate(("input", "weight", "bias")))
    return None if weight.ndim != 2 else _weighted(follow, call, x, weight, bias, -1, 1)


def _convolution(follow: Follow, call: Call) -> Any:
    x, weight, bias = (call.argument(i, name) for i, name in enumerate(("input", "weight", "bias")))
    return _weighted(follow, call, x, weight, bias, x.ndim - weight.ndim + 1, call.argument(6, "groups", 1))


def _embedding(follow: Follow, call: Call) -> Any:
    weight = call.argument(1, "weight")
    name = follow.name(weight)
    if name is None or call.argument(3, "max_norm") is not None:
        return ()
    fresh = follow.labels.new(weight.shape[1])
    follow.entries.append(Entry(name, fresh, 1, 1))
    return along(fresh, -1, call.result)


def _affine(follow: Follow, call: Call, axis: int, weight: Any, bias: Any) -> Any:
    """Multiplied by `weight` and shifted by `bias` along `axis`; without them, or where they are computed, fixed."""
    parts = [part for part in (weight, bias) if part is not None]
    if weight is None or any(part.ndim != 1 for part in parts):
        return ()
    return follow.make(call.result, axis, len(weight), [follow.name(part) for part in parts])


def _batch_norm(follow: Follow, call: Call) -> Any:
    norm = NormCall.of(*call.args, **call.given)
    mean, var = follow.name(norm.mean), follow.name(norm.var)
    taken = channels(follow, norm.x, 1, call.name)
    if taken is not None:
        if norm.training or mean is None or var is None:
            follow.labels.fix(taken, call.name)
        else:
            follow.statistics.append(Statistics(mean, var, taken, norm.eps))
    return _affine(follow, call, 1, norm.gamma, norm.beta)


def _normalised(axis: int, weight: int, bias: int | None) -> Rule:
    """A normalisation over several channels, of arguments `weight` and `bias`: what goes in is fixed."""

    def rule(follow: Follow, call: Call) -> Any:
        follow.fix(call.argument(0, "input"), call.name)
        shift = None if bias is None else call.argument(bias, "bias")
        return _affine(follow, call, axis, call.argument(weight, "weight"), shift)

    return rule


# -- functions without parameters ------------------------------------------------------------------------------------


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
            shadow = _one_label(follow, shadow, dim, call.name)
        return shadow.expand(call.result.shape)

    return rule


def _reduced(follow: Follow, call: Call) -> Any:
    x, dims = call.argument(0, "input"), call.argument(1, "dim")
    shadow = follow.shadow(x)
    if shadow is None or not isinstance(call.result, Tensor):
        return None
    every = range(x.ndim) if dims is None else [dims] if isinstance(dims, int) else dims
    for dim in every:
        shadow = _one_label(follow, shadow, dim % x.ndim, call.name)
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


_QUESTIONS = {
    "dim", "size", "numel", "ndimension", "nelement", "stride", "storage_offset", "element_size", "get_device",
    "is_floating_point", "is_complex", "is_contiguous", "__len__", "__hash__", "__repr__",
}  # fmt: skip
"""What asks for a tensor's form and not for its values."""

_ZEROS = {"zeros", "zeros_like", "new_zeros"}

LAYERS: Mapping[str, Rule] = {
    "linear": _linear,
    "conv1d": _convolution,
    "conv2d": _convolution,
    "conv3d": _convolution,
    "embedding": _embedding,
    "batch_norm": _batch_norm,
    "layer_norm": _normalised(-1, 2, 3),
    "rms_norm": _normalised(-1, 2, None),
    "group_norm": _normalised(1, 2, 3),
    "instance_norm": _normalised(1, 3, 4),
}
"""Functions with parameters, by the name that PyTorch gives them."""

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

RULES: Mapping[str, Rule] = {
    **LAYERS,
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
"""What is known of functions, by the name that PyTorch gives them."""
