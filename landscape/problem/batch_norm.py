"""Batch normalisation by running statistics as the affine map that it is, alone or within the convolution before it.

    norm(conv(x; w, b)) = conv(x; s w, s (b - mean) + beta),   s = gamma / sqrt(var + eps)

PyTorch's own kernel has a second derivative that makes a dozen passes over the activations, a quarter of a Hessian
product's time; an affine map has a cheap one, and folded into the convolution it has none: s w is a function of two
small tensors. All derivatives, with respect to w, gamma and beta too, are those of the same function.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

_CONVOLUTIONS = (torch.conv1d, torch.conv2d, torch.conv3d)
# what asks for the form of a tensor and not for its values, as a normalisation does of its input
_QUESTIONS = {Tensor.dim, Tensor.size, Tensor.numel} | {
    vars(torch._C.TensorBase)[name].__get__ for name in ("shape", "ndim", "dtype", "device")
}


class NotFoldedError(Exception):
    """A forward pass went another way than the one that the folds were found on."""


@dataclass(frozen=True)
class Fold:
    """A convolution whose output goes into one normalisation and nowhere else, by the names of tensors.

    Attributes:
        convolution: the name of its weight.
        mean, var: the names of the running statistics.
        gamma, beta: the names of the normalisation's parameters; None without.
        eps: added to the variance.
    """

    convolution: str
    mean: str
    var: str
    gamma: str | None
    beta: str | None
    eps: float


class Watch(TorchFunctionMode):
    """Finds the folds of the forward pass that runs inside the block.

    Args:
        tensors: the parameters and buffers that the network is run with, by name.
        linear: whether linear layers on vectors count as convolutions.
    """

    def __init__(self, tensors: Mapping[str, Tensor], *, linear: bool = False) -> None:
        super().__init__()
        self._products = (*_CONVOLUTIONS, F.linear) if linear else _CONVOLUTIONS
        self._names = {id(tensor): name for name, tensor in tensors.items()}
        self._outputs: dict[int, tuple[Tensor, str | None]] = {}  # of convolutions, with the names of their weights
        self._uses: Counter[int] = Counter()
        self._weights: Counter[str | None] = Counter()
        self._means: Counter[str | None] = Counter()
        self._found: list[tuple[int, Fold]] = []

    def folds(self, outputs: Any) -> tuple[Fold, ...]:
        """The folds, once the pass has given `outputs`."""
        self._uses.update(id(leaf) for leaf in tree_leaves(outputs))
        return tuple(
            fold
            for output, fold in self._found
            if self._uses[output] == 1 and self._weights[fold.convolution] == 1 and self._means[fold.mean] == 1
        )

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = dict(kwargs or {})
        if function not in _QUESTIONS:
            self._uses.update(id(leaf) for leaf in tree_leaves((args, given)) if id(leaf) in self._outputs)
        result = function(*args, **given)
        if function in self._products:
            weight = _weight(args, given)
            # Of samples without a batch axis, or of sequences, the normalisation's channels are not the layer's.
            name = self._names.get(id(weight)) if result.ndim == weight.ndim else None
            self._outputs[id(result)] = result, name
            self._weights[name] += 1
        elif function is F.batch_norm:
            norm = NormCall.of(*args, **given)
            self._means[self._names.get(id(norm.mean))] += 1
            _, weight = self._outputs.get(id(norm.x), (None, None))
            fold = self._fold(weight, norm)
            if fold is not None:
                self._found.append((id(norm.x), fold))
        return result

    def _fold(self, convolution: str | None, norm: NormCall) -> Fold | None:
        named = {key: self._names.get(id(getattr(norm, key))) for key in ("mean", "var", "gamma", "beta")}
        missing = [key for key in ("gamma", "beta") if getattr(norm, key) is not None and named[key] is None]
        if norm.training or convolution is None or missing or named["mean"] is None or named["var"] is None:
            return None
        return Fold(convolution, named["mean"], named["var"], named["gamma"], named["beta"], norm.eps)


class AffineBatchNorm(TorchFunctionMode):
    """Computes normalisation by running statistics as an affine map of each channel, and `folds` within convolutions.

    Args:
        folds: as `Watch` found them; none by default.
        tensors: the parameters and buffers that the network is run with, by name.

    Raises:
        NotFoldedError: inside the block, where a folded convolution's output is used otherwise than when it was
            found, and at its end, where it was not normalised.
    """

    def __init__(self, folds: Sequence[Fold] = (), tensors: Mapping[str, Tensor] | None = None) -> None:
        super().__init__()
        self._tensors = tensors or {}
        self._folds = {id(self._tensors[fold.convolution]): fold for fold in folds}
        self._means = {id(self._tensors[fold.mean]) for fold in folds}
        self._folded: dict[
            int, tuple[Tensor, Fold]
        ] = {}  # outputs of folded convolutions, kept so that ids stay theirs
        self._normalised: set[int] = set()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        if error[0] is None and self._normalised != self._folded.keys():
            raise NotFoldedError

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = dict(kwargs or {})
        if function is F.batch_norm:
            norm = NormCall.of(*args, **given)
            folded, fold = self._folded.get(id(norm.x), (None, None))
            if folded is None or fold is None:
                if id(norm.mean) in self._means:
                    raise NotFoldedError
                return norm.affine()
            if norm.mean is not self._tensors[fold.mean] or id(folded) in self._normalised:
                raise NotFoldedError
            self._normalised.add(id(folded))
            return folded.view_as(folded)  # another object: whoever uses the convolution's output later is found out
        if function in _QUESTIONS:
            return function(*args, **given)
        if self._folded and any(id(leaf) in self._folded for leaf in tree_leaves((args, given))):
            raise NotFoldedError
        if function in _CONVOLUTIONS and id(_weight(args, given)) in self._folds:
            fold = self._folds[id(_weight(args, given))]
            result = self._convolve(fold, function, *args, **given)
            self._folded[id(result)] = result, fold
            return result
        return function(*args, **given)

    def _convolve(
        self,
        fold: Fold,
        convolution: Callable[..., Tensor],
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        *others: Any,
        **given: Any,
    ) -> Tensor:
        mean, var = self._tensors[fold.mean], self._tensors[fold.var]
        gamma = None if fold.gamma is None else self._tensors[fold.gamma]
        beta = None if fold.beta is None else self._tensors[fold.beta]
        scale, shift = scale_and_shift(mean if bias is None else mean - bias, var, gamma, beta, fold.eps)
        scaled = weight * scale.view(-1, *[1] * (weight.ndim - 1))
        return convolution(x, scaled, shift, *others, **given)


@dataclass(frozen=True)
class NormCall:
    """The arguments of a call of `torch.nn.functional.batch_norm`."""

    x: Tensor
    mean: Tensor | None
    var: Tensor | None
    gamma: Tensor | None
    beta: Tensor | None
    training: bool
    momentum: float
    eps: float

    @classmethod
    def of(
        cls,
        input: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> NormCall:
        """As the function is called."""
        return cls(input, running_mean, running_var, weight, bias, training, momentum, eps)

    def affine(self) -> Tensor:
        """The normalisation, by running statistics as an affine map."""
        if self.training or self.mean is None or self.var is None:
            return F.batch_norm(
                self.x, self.mean, self.var, self.gamma, self.beta, self.training, self.momentum, self.eps
            )
        scale, shift = scale_and_shift(self.mean, self.var, self.gamma, self.beta, self.eps)
        shape = [1, -1] + [1] * (self.x.ndim - 2)
        return self.x * scale.view(shape) + shift.view(shape)


def scale_and_shift(
    mean: Tensor, var: Tensor, gamma: Tensor | None, beta: Tensor | None, eps: float
) -> tuple[Tensor, Tensor]:
    """The affine map of normalisation by running statistics, gamma (x - mean) / sqrt(var + eps) + beta, both (C,)."""
    scale = (var + eps).rsqrt()
    if gamma is not None:
        scale = scale * gamma
    shift = -mean * scale
    return scale, shift if beta is None else shift + beta


def _weight(args: tuple[Any, ...], given: Mapping[str, Any]) -> Any:
    return given["weight"] if "weight" in given else args[1]
