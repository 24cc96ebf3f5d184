"""The same function by other parameters, as a problem to measure; that it is the same is seen on all samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from landscape.errors import ModelError
from landscape.problem import Problem
from landscape.problem.batch_norm import Fold
from landscape.problem.folding import fold_in, folded_tensors, pairs_of
from landscape.problem.running import duplicate
from landscape.reparameterisation.structure import Structure, rescaled
from landscape.work import charge


@dataclass(frozen=True)
class Variant:
    """A problem whose network computes the function of another one.

    Attributes:
        problem: the same loss and samples; a network of its own.
        change: the largest change of an output on any sample.
        size: the largest output of the other network, in absolute value.
    """

    problem: Problem
    change: float
    size: float


def rescaled_variant(problem: Problem, structure: Structure, factors: np.ndarray) -> Variant:
    """The problem with the units of its network multiplied by `factors` (U,).

    Cost: 2/3 gradient-equivalents, to compare the outputs.

    Raises:
        ModelError: the outputs changed by more than rounding.
    """
    return _variant(problem, _copied(problem.model), rescaled(problem.tensors, structure, factors))


def folded_variant(problem: Problem, folds: Sequence[Fold]) -> Variant:
    """The problem with normalisations folded into the layers before them.

    Cost: 2/3 gradient-equivalents, to compare the outputs.

    Raises:
        ModelError: the outputs changed by more than rounding.
    """
    model = _copied(problem.model)
    fold_in(model, pairs_of(folds))
    try:
        return _variant(problem, model, folded_tensors(problem.tensors, folds))
    except AttributeError as error:
        raise ModelError(f"the network looks into a normalisation that is folded: {error}.") from error


def rounding(dtype: torch.dtype) -> float:
    """The relative difference that two ways to compute one number may have: the square root of the precision."""
    return float(torch.finfo(dtype).eps ** 0.5)


def put_tensors(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Copy named tensors into the parameters and buffers of `model`, each in its own dtype."""
    named = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    assert named.keys() == tensors.keys(), "a variant has every tensor of its network"
    with torch.no_grad():
        for name, tensor in named.items():
            tensor.copy_(tensors[name])


def _variant(problem: Problem, model: nn.Module, tensors: Mapping[str, Tensor]) -> Variant:
    model.to(device=problem.device, dtype=problem.dtype)
    put_tensors(model, tensors)
    other = problem.choose(model=model)
    change, size = largest_change(problem, other)
    allowed = rounding(problem.dtype) * max(size, 1.0)
    if not change <= allowed:
        raise ModelError(
            f"the rescaled network is another function: an output of size {size:.3g} changed by {change:.3g}, more "
            f"than the rounding of {str(problem.dtype).removeprefix('torch.')} ({allowed:.2g}); take other units or "
            "another factor."
        )
    return Variant(other, change, size)


def _copied(model: nn.Module) -> nn.Module:
    try:
        return duplicate(model)
    except Exception as error:  # a user's module may fail to be copied in any way
        raise ModelError(f"the network cannot be copied: {type(error).__name__}: {error}.") from error


def largest_change(one: Problem, other: Problem) -> tuple[float, float]:
    """The largest difference of an output over all samples, and the largest output; of two problems on one data set.

    Cost: 2/3 gradient-equivalents.
    """
    change, size = 0.0, 0.0
    for batch in one.batches():
        with torch.no_grad():
            before, after = (
                [leaf for leaf in tree_leaves(p.outputs(p.parameters, batch.inputs, plain=True)) if _counts(leaf)]
                for p in (one, other)
            )
        charge("forward", 2 * len(batch))
        for a, b in zip(before, after, strict=True):
            difference = float((a - b).abs().max())
            change = difference if not difference <= change else change  # a NaN stays
            size = max(size, float(a.abs().max()))
    group = one.group
    mine = np.zeros((group.size, 2))
    mine[group.rank] = change, size
    of_all = group.sum_array(mine)
    return float(np.max(of_all[:, 0])), float(of_all[:, 1].max())


def _counts(leaf: object) -> bool:
    return isinstance(leaf, Tensor) and leaf.is_floating_point() and leaf.numel() > 0
