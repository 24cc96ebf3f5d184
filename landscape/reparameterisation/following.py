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
from torch.utils._pytree import tree_leaves

from landscape.reparameterisation.labels import FREE, Labels


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


_QUESTIONS = {
    "dim", "size", "numel", "ndimension", "nelement", "stride", "storage_offset", "element_size", "get_device",
    "is_floating_point", "is_complex", "is_contiguous", "__len__", "__hash__", "__repr__",
}  # fmt: skip
"""What asks for a tensor's form and not for its values."""

_ZEROS = {"zeros", "zeros_like", "new_zeros"}


@dataclass
class Follow(TorchFunctionMode):
    """Follows the labels of the forward pass that runs inside the block.

    Args:
        tensors: the parameters and buffers that the network is run with, by name; each its own object.
        layers: what is known of functions with parameters, by the name that PyTorch gives them.
        functions: and of those without.
    """

    tensors: Mapping[str, Tensor]
    layers: Mapping[str, Rule]
    functions: Mapping[str, Rule]
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
        if name in self.layers or any(self.shadow(leaf) is not None for leaf in tree_leaves((args, given))):
            rule = self.layers.get(name) or self.functions.get(name)
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
            shadow = one_label(follow, shadow, dim, why)
    return shadow.reshape(-1).clone()


def one_label(follow: Follow, shadow: Tensor, dim: int, why: str) -> Tensor:
    """The shadow with one place along `dim`, whose label all of them have now."""
    if shadow.shape[dim] == 0:
        return shadow
    if shadow.stride(dim) == 0 or shadow.shape[dim] == 1:
        return shadow.narrow(dim, 0, 1)
    one = shadow.amax(dim, keepdim=True)  # FREE only where all are
    follow.labels.unite(shadow, one, why)
    return one
