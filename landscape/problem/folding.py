"""Batch normalisation by running statistics, folded into the layer before it: a weight and a bias in its place.

    norm(layer(x; w, b)) = layer(x; s w, s (b - mean) + beta),   s = gamma / sqrt(var + eps)

The layer gets a bias where it had none, the normalisation becomes the identity, and the names of its tensors go. It is
the same function of the inputs in eval mode, with fewer parameters.

Reference: Bias Decay Matters, eq. 12 and the lines after it; the formula is the usual one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.utils._pytree import tree_leaves

from landscape.errors import ModelError
from landscape.problem.batch_norm import Fold, Watch, scale_and_shift
from landscape.problem.problem import Problem

Pair = tuple[str, str]
"""A layer and the normalisation that is folded into it, by the names of the modules."""


def find_folds(problem: Problem) -> tuple[Fold, ...]:
    """The normalisations that can be folded: their input is one layer's output, which goes nowhere else.

    That is found by watching a forward pass; layers and normalisations are PyTorch's own modules.

    Cost: a forward pass of two samples.
    """
    tensors = problem.tensors
    inputs = next(problem.batches(0, min(2, len(problem)))).inputs
    watch = Watch(tensors, linear=True)
    with torch.random.fork_rng(), torch.no_grad(), watch:
        outputs = problem.outputs(tensors, inputs, plain=True)
    return tuple(fold for fold in watch.folds(tuple(tree_leaves(outputs))) if _foldable(problem.model, fold))


def pairs_of(folds: Iterable[Fold]) -> tuple[Pair, ...]:
    """The modules of `folds`."""
    return tuple((_owner(fold.convolution), _owner(fold.mean)) for fold in folds)


def folded_tensors(tensors: Mapping[str, Tensor], folds: Sequence[Fold]) -> dict[str, Tensor]:
    """The tensors of the network that `fold_in` makes. None of `tensors` is changed."""
    result = dict(tensors)
    for fold in folds:
        layer, norm = _owner(fold.convolution), _owner(fold.mean)
        weight, bias = result[fold.convolution], result.get(f"{layer}.bias")
        gamma = None if fold.gamma is None else result[fold.gamma]
        beta = None if fold.beta is None else result[fold.beta]
        mean = result[fold.mean] if bias is None else result[fold.mean] - bias
        scale, shift = scale_and_shift(mean, result[fold.var], gamma, beta, fold.eps)
        result[fold.convolution] = weight * scale.view(-1, *[1] * (weight.ndim - 1))
        result[f"{layer}.bias"] = shift
        for name in [name for name in result if _owner(name) == norm]:
            del result[name]
    return result


def fold_in(model: nn.Module, pairs: Iterable[Sequence[str]]) -> None:
    """Make the normalisation of each pair the identity and give the layer a bias; the weights stay as they are.

    Raises:
        ModelError: there is no such layer or normalisation.
    """
    for layer_name, norm_name in pairs:
        try:
            layer, norm = model.get_submodule(layer_name), model.get_submodule(norm_name)
        except AttributeError as error:
            raise ModelError(f"the network has no {layer_name} or no {norm_name} to fold; {error}.") from error
        if not isinstance(layer, _ConvNd | nn.Linear) or not isinstance(norm, _BatchNorm):
            raise ModelError(f"cannot fold {norm_name} into {layer_name}: expected a batch normalisation and a layer.")
        if layer.bias is None:
            layer.bias = nn.Parameter(layer.weight.detach().new_zeros(len(layer.weight)))
        parent, _, leaf = norm_name.rpartition(".")
        setattr(model.get_submodule(parent), leaf, nn.Identity())


def _foldable(model: nn.Module, fold: Fold) -> bool:
    owner, norm = (model.get_submodule(_owner(name)) for name in (fold.convolution, fold.mean))
    return (
        isinstance(owner, _ConvNd | nn.Linear)
        and fold.convolution.rpartition(".")[2] == "weight"
        and isinstance(norm, _BatchNorm)
        and norm.num_features == len(owner.weight)
    )


def _owner(name: str) -> str:
    return name.rpartition(".")[0]
