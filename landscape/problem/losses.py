"""Losses as weighted means of per-sample values.

Everything in this project is a mean over samples, L = sum_n w_n l_n / sum_n w_n. This file turns what a user hands in
(a torch loss module, a function, mean-reduced or not) into l_n and w_n, and refuses what is no such mean.
A sequence or an image of labels is one sample: l_n is the mean over its unignored labels and w_n their number (or
the sum of their class weights), so that L is the mean that PyTorch's own reduction gives.

Legend: N samples, K classes, T labels a sample.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from landscape.errors import ProblemError

LossLike = Callable[[Any, Any], Tensor]


@dataclass(frozen=True)
class CurvatureFactor:
    """A factor S_n of a matrix in the outputs, S_n S_n' (positive semidefinite): the Hessian of l_n, d^2 l_n / df^2, or
    the Fisher information of the model's own labels.

    Attributes:
        times: (outputs, targets, e) -> S_n e_n for every sample; e and the result have the outputs' shape (N, K, ...).
        transposed: the same with S_n'.
        exists: targets -> whether the matrix is positive semidefinite with all of them.
    """

    times: Callable[[Tensor, Any, Tensor], Tensor]
    transposed: Callable[[Tensor, Any, Tensor], Tensor]
    exists: Callable[[Any], bool]


@dataclass(frozen=True)
class PerSampleLoss:
    """A loss as per-sample values and weights.

    Attributes:
        name: for people.
        values: (outputs, targets) -> l_N, differentiable.
        weights: targets -> w_N.
        fisher_form: (outputs, u) -> the form u_n' F_f u_n (N,), with F_f the Fisher information of the model's own
            label distribution with respect to the outputs and u of the outputs' shape, averaged over a sample's labels;
            None where the loss defines no label distribution. It takes the targets too, to know ignored labels.
        factor: of the Hessian in the outputs, None where none is known.
        fisher_factor: of F_f; `factor` itself where F_f is the Hessian, None where `fisher_form` is None.
        ignored: the label that does not count, if the loss has one.
        classes: whether the outputs are one row of logits a sample, (N, K), with integer labels (N,).
    """

    name: str
    values: Callable[[Any, Any], Tensor]
    weights: Callable[[Any], Tensor]
    fisher_form: Callable[[Any, Any, Tensor], Tensor] | None = None
    factor: CurvatureFactor | None = None
    fisher_factor: CurvatureFactor | None = None
    classes: bool = False
    ignored: int | None = None


def per_sample_loss(loss: LossLike, outputs: Any, targets: Any) -> PerSampleLoss:
    """Read `loss` as a weighted mean of per-sample values, and check that reading on one batch.

    Args:
        loss: a torch loss module, `torch.nn.functional.cross_entropy`, or any callable (outputs, targets) ->
            scalar mean or one value a sample.
        outputs: the model's outputs on a batch of at least one sample.
        targets: the batch's targets.

    Raises:
        ProblemError: the loss fails on the batch, sums instead of averaging, or is no mean over samples.
    """
    loss = _in_precision_of(loss, outputs)
    _refuse_broadcasting(loss, outputs, targets)
    try:
        given = loss(outputs, _cast(targets, outputs))
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ProblemError(
            f"the loss {_name(loss)} fails on outputs {_shape(outputs)} and targets {_shape(targets)}: {first}"
        ) from error
    if not isinstance(given, Tensor):
        raise ProblemError(f"the loss must return a tensor, got {type(given).__name__}.")
    if isinstance(loss, nn.Module) and getattr(loss, "reduction", "mean") == "sum":
        raise ProblemError(f"{_name(loss)} sums over the batch; use reduction='mean' or 'none'.")
    n = _count(targets)
    result = _known(loss) or _unknown(loss, given, n)
    _check(result, loss, given, outputs, targets)
    if result.factor is not None and result.fisher_factor is not None and not targets.is_floating_point():
        # labels are no part of the Hessian of a cross-entropy; class probabilities need not add up to 1
        result = replace(result, fisher_factor=result.factor)
    return replace(result, classes=_is_classification(outputs, targets))


def _refuse_broadcasting(loss: LossLike, outputs: Any, targets: Any) -> None:
    """(N, 1) outputs beside (N,) targets broadcast to (N, N): torch only warns, and the loss compares all with all."""
    elementwise = (nn.MSELoss, nn.L1Loss, nn.SmoothL1Loss, nn.HuberLoss, nn.BCEWithLogitsLoss, nn.BCELoss)
    if isinstance(loss, elementwise) and _shape(outputs) != _shape(targets):
        raise ProblemError(
            f"{_name(loss)} compares value by value, but the outputs are {_shape(outputs)} and the targets "
            f"{_shape(targets)}; give both the same shape."
        )


def _in_precision_of(loss: LossLike, outputs: Any) -> LossLike:
    """A twin of a torch loss whose weights are in the outputs' dtype and on their device; others as they are."""
    if isinstance(loss, nn.modules.loss._Loss) and isinstance(outputs, Tensor) and outputs.is_floating_point():
        return copy.deepcopy(loss).to(outputs)
    return loss


def _cast(targets: Any, outputs: Any) -> Any:
    if isinstance(targets, Tensor) and isinstance(outputs, Tensor) and targets.is_floating_point():
        return targets.to(outputs.dtype)
    return targets


def _known(loss: LossLike) -> PerSampleLoss | None:
    """The exact reading of the losses whose weights and label distribution are known."""
    if loss is F.cross_entropy:
        return _cross_entropy(nn.CrossEntropyLoss())
    kind = type(loss)
    if kind is nn.CrossEntropyLoss:
        assert isinstance(loss, nn.CrossEntropyLoss)
        return _cross_entropy(loss)
    if kind is nn.NLLLoss:
        assert isinstance(loss, nn.NLLLoss)
        return _nll(loss)
    if kind is nn.MSELoss:
        squared_error = _diagonal(lambda outputs, targets: torch.full_like(outputs, 2.0), lambda targets: True)
        return PerSampleLoss(
            "mean squared error",
            _unreduced(nn.MSELoss(reduction="none")),
            _ones,
            _squared_error_form,
            squared_error,
            squared_error,
        )
    if kind is nn.BCEWithLogitsLoss:
        assert isinstance(loss, nn.BCEWithLogitsLoss)
        elementwise = copy.copy(loss)
        elementwise.reduction = "none"
        plain = loss.weight is None and loss.pos_weight is None

        def scale(targets: Tensor) -> Tensor:
            positive = 1.0 if elementwise.pos_weight is None else elementwise.pos_weight.to(targets)
            weight = 1.0 if elementwise.weight is None else elementwise.weight.to(targets)
            return weight * (positive * targets + 1 - targets)

        def curvature(outputs: Tensor, targets: Tensor) -> Tensor:
            p = outputs.sigmoid()
            return scale(targets) * p * (1 - p)

        factor = _diagonal(curvature, lambda targets: bool((scale(targets.double()) >= 0).all()))
        return PerSampleLoss(
            "binary cross-entropy",
            _unreduced(elementwise),
            _ones,
            _bernoulli_form if plain else None,
            factor,
            factor if plain else None,
        )
    if isinstance(loss, nn.modules.loss._Loss) and kind in (nn.L1Loss, nn.SmoothL1Loss, nn.HuberLoss):
        elementwise_loss = copy.copy(loss)
        elementwise_loss.reduction = "none"
        return PerSampleLoss(kind.__name__, _unreduced(elementwise_loss), _ones)
    return None


def _cross_entropy(loss: nn.CrossEntropyLoss) -> PerSampleLoss:
    def label_weights(targets: Tensor) -> Tensor:
        """Weight of each label, in the shape of the labels (N, ...)."""
        if targets.is_floating_point():  # class probabilities, (N, K, ...): PyTorch averages over labels alone
            return torch.ones_like(targets.select(1, 0))
        kept = targets != loss.ignore_index
        if loss.weight is None:
            return kept.to(torch.get_default_dtype())
        weight = loss.weight.to(targets.device)
        return weight[torch.where(kept, targets, 0)] * kept

    def values(outputs: Tensor, targets: Tensor) -> Tensor:
        weight = None if loss.weight is None else loss.weight.to(outputs)
        if targets.is_floating_point():
            targets = targets.to(outputs.dtype)
        unreduced = F.cross_entropy(
            outputs,
            targets,
            weight=weight,
            ignore_index=loss.ignore_index,
            reduction="none",
            label_smoothing=loss.label_smoothing,
        )
        return _weighted(unreduced, label_weights(targets), divide_only=True)

    def fisher_form(outputs: Tensor, targets: Tensor, u: Tensor) -> Tensor:
        p = outputs.softmax(1)
        mean = (p * u).sum(1, keepdim=True)
        variance = (p * (u - mean) ** 2).sum(1)  # (N, ...): Var_p(u) for each label
        return _weighted(variance, label_weights(targets), divide_only=False)

    def weights(targets: Tensor) -> Tensor:
        return label_weights(targets).reshape(targets.shape[0], -1).sum(1)

    def share_of_label(outputs: Tensor, targets: Tensor) -> Tensor:
        """Each label's weight in the mean of its sample, (N, ...)."""
        weight = label_weights(targets).to(outputs)
        total = weight.reshape(len(weight), -1).sum(1)
        return weight / torch.where(total > 0, total, 1.0).view(-1, *[1] * (weight.ndim - 1))

    def fisher_scale(outputs: Tensor, targets: Tensor) -> Tensor:
        """The square root of what stands before diag(p) - p p' in the Fisher information, (N, 1, ...)."""
        return share_of_label(outputs, targets).sqrt().unsqueeze(1)

    def scale(outputs: Tensor, targets: Tensor) -> Tensor:
        """The square root of what stands before diag(p) - p p' in the Hessian, (N, 1, ...)."""
        share = share_of_label(outputs, targets)
        if targets.is_floating_point():
            per_class = targets.to(outputs)
            if loss.weight is not None:
                per_class = per_class * loss.weight.to(outputs).view(-1, *[1] * (outputs.ndim - 2))
            share = share * ((1 - loss.label_smoothing) * per_class.sum(1) + loss.label_smoothing)
        return share.sqrt().unsqueeze(1)

    def positive(targets: Tensor) -> bool:
        return loss.weight is None or bool((loss.weight >= 0).all())

    def exists(targets: Tensor) -> bool:
        negative = targets.is_floating_point() and bool((targets < 0).any())
        return not negative and positive(targets)

    # a label's Hessian is diag(p) - p p' whatever the label, unless smoothing mixes classes of different weights
    mixed = loss.weight is not None and loss.label_smoothing > 0
    factor = None if mixed else _softmax_factor(scale, exists)
    fisher_factor = _softmax_factor(fisher_scale, positive)
    return PerSampleLoss(
        "cross-entropy", values, weights, fisher_form, factor, fisher_factor, ignored=loss.ignore_index
    )


def _softmax_factor(scale: Callable[[Tensor, Tensor], Tensor], exists: Callable[[Any], bool]) -> CurvatureFactor:
    """The factor of diag(p) - p p' times a square scale."""

    def times(outputs: Tensor, targets: Tensor, e: Tensor) -> Tensor:
        p = outputs.softmax(1)
        root = p.sqrt()
        return scale(outputs, targets) * (root * e - p * (root * e).sum(1, keepdim=True))

    def transposed(outputs: Tensor, targets: Tensor, c: Tensor) -> Tensor:
        p = outputs.softmax(1)
        return scale(outputs, targets) * p.sqrt() * (c - (p * c).sum(1, keepdim=True))

    return CurvatureFactor(times, transposed, exists)


def _nll(loss: nn.NLLLoss) -> PerSampleLoss:
    as_cross_entropy = nn.CrossEntropyLoss(weight=loss.weight, ignore_index=loss.ignore_index)
    base = _cross_entropy(as_cross_entropy)

    def values(outputs: Tensor, targets: Tensor) -> Tensor:
        weight = None if loss.weight is None else loss.weight.to(outputs)
        unreduced = F.nll_loss(outputs, targets, weight=weight, ignore_index=loss.ignore_index, reduction="none")
        kept = targets != loss.ignore_index
        per_label = torch.ones_like(unreduced) if weight is None else weight[torch.where(kept, targets, 0)]
        return _weighted(unreduced, per_label * kept, divide_only=True)

    return PerSampleLoss("negative log-likelihood", values, base.weights, ignored=loss.ignore_index)


def _weighted(per_label: Tensor, weight: Tensor, *, divide_only: bool) -> Tensor:
    """Weighted mean over the labels of each sample; `divide_only` if the weights are already multiplied in."""
    n = per_label.shape[0]
    weight = weight.to(per_label.dtype).reshape(n, -1)
    values = per_label.reshape(n, -1)
    total = weight.sum(1)
    numerator = values.sum(1) if divide_only else (values * weight).sum(1)
    return numerator / torch.where(total > 0, total, 1.0)


def _unreduced(elementwise: nn.Module) -> Callable[[Any, Any], Tensor]:
    def values(outputs: Tensor, targets: Tensor) -> Tensor:
        targets = targets.to(outputs.dtype) if targets.is_floating_point() else targets
        value: Tensor = elementwise(outputs, targets)
        return value.reshape(value.shape[0], -1).mean(1)

    return values


def _squared_error_form(outputs: Tensor, targets: Tensor, u: Tensor) -> Tensor:
    # l = |f - y|^2/T is the negative log-likelihood of a Gaussian of variance T/2, whose Fisher information is (2/T) I
    return 2 * u.reshape(u.shape[0], -1).square().mean(1)


def _diagonal(curvature: Callable[[Tensor, Tensor], Tensor], exists: Callable[[Any], bool]) -> CurvatureFactor:
    """The factor for a mean over the outputs of losses of one output each, whose second derivatives are given."""

    def times(outputs: Tensor, targets: Tensor, e: Tensor) -> Tensor:
        size = outputs[0].numel()
        return (curvature(outputs, targets.to(outputs)) / size).sqrt() * e

    return CurvatureFactor(times, times, exists)


def _bernoulli_form(outputs: Tensor, targets: Tensor, u: Tensor) -> Tensor:
    p = outputs.sigmoid()
    return (p * (1 - p) * u.square()).reshape(u.shape[0], -1).mean(1)


def _unknown(loss: LossLike, given: Tensor, n: int) -> PerSampleLoss:
    """Read a callable of which nothing is known: one value a sample, or a mean that single samples make up."""
    name = _name(loss)
    if given.ndim >= 1 and given.shape[0] == n and not (n == 1 and given.numel() > 1):

        def values(outputs: Any, targets: Any) -> Tensor:
            value = loss(outputs, targets)
            return value.reshape(value.shape[0], -1).mean(1)

        return PerSampleLoss(name, values, _ones)
    if given.numel() != 1:
        raise ProblemError(
            f"the loss {name} returned shape {tuple(given.shape)} for {n} samples; expected a scalar mean or one value "
            "a sample."
        )

    def single(output: Any, target: Any) -> Tensor:
        lift = torch.utils._pytree.tree_map
        return loss(lift(lambda t: t[None], output), lift(lambda t: t[None], target)).reshape(())

    return PerSampleLoss(name, torch.func.vmap(single), _ones)


def _check(result: PerSampleLoss, loss: LossLike, given: Tensor, outputs: Any, targets: Any) -> None:
    """Compare the reading with the loss's own value on the batch."""
    try:
        values, weights = result.values(outputs, targets), result.weights(targets)
    except RuntimeError as error:
        raise ProblemError(
            f"the loss {result.name} cannot be evaluated sample by sample ({str(error).splitlines()[0]}); "
            "give a loss that returns one value a sample."
        ) from error
    if values.shape != (_count(targets),):
        raise ProblemError(f"expected one loss a sample, ({_count(targets)},), got {tuple(values.shape)}.")
    if given.numel() != 1 or not torch.isfinite(given).all() or not weights.sum() > 0:
        return
    mean = (values * weights.to(values)).sum() / weights.to(values).sum()
    # error budget: two summations of N float32 terms in different order
    tolerance = 1e-4 if values.dtype == torch.float32 else 1e-9
    if not torch.allclose(mean, given.reshape(()).to(mean), rtol=tolerance, atol=tolerance):
        raise ProblemError(
            f"the loss {result.name} is {given.item():.6g} on a batch but the mean of its samples' losses is "
            f"{mean.item():.6g}; expected a mean over samples (for padded sequences use "
            "torch.nn.CrossEntropyLoss with ignore_index and outputs of shape (N, K, T))."
        )


def _ones(targets: Any) -> Tensor:
    first = torch.utils._pytree.tree_leaves(targets)[0]
    return torch.ones(first.shape[0], device=first.device)


def _count(targets: Any) -> int:
    return int(torch.utils._pytree.tree_leaves(targets)[0].shape[0])


def _is_classification(outputs: Any, targets: Any) -> bool:
    return (
        isinstance(outputs, Tensor)
        and isinstance(targets, Tensor)
        and outputs.ndim == 2
        and outputs.shape[1] >= 2
        and targets.ndim == 1
        and not targets.is_floating_point()
    )


def _name(loss: LossLike) -> str:
    return getattr(loss, "__name__", type(loss).__name__)


def _shape(value: Any) -> str:
    return str(tuple(value.shape)) if isinstance(value, Tensor) else type(value).__name__
