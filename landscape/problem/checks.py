"""What is checked of a network, its outputs and its labels before anything is measured."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from landscape.errors import DataError, ModelError, NonFiniteError, ProblemError
from landscape.problem.losses import LossLike
from landscape.problem.sizes import BN_GROUP


def check_weights(model: nn.Module) -> None:
    """Look for NaN and infinities in parameters and buffers.

    Raises:
        NonFiniteError: there are some; names the tensor.
    """
    parameters, buffers = dict(model.named_parameters()), dict(model.named_buffers())
    for name, tensor in {**parameters, **buffers}.items():
        if not tensor.is_floating_point():
            continue
        # a buffer may hold infinities that mean something: an attention mask is 0 and -inf
        constant = name in buffers and not name.endswith(("running_mean", "running_var"))
        wrong = torch.isnan(tensor) if constant else ~torch.isfinite(tensor)
        if wrong.any():
            raise NonFiniteError(
                f"{name} holds {int(wrong.sum())} NaN or infinite of {tensor.numel()} values; "
                "nothing can be measured there."
            )


def check_modules(model: nn.Module, bn: Literal["eval", "train"]) -> None:
    """Look for modules with which L is no fixed function of the parameters.

    Raises:
        ProblemError: there is one; names it.
    """
    for name, module in model.named_modules():
        if isinstance(module, (nn.Embedding, nn.EmbeddingBag)) and module.max_norm is not None:
            raise ProblemError(
                f"{name} has max_norm: it rewrites its weights in every forward pass, so L is no function of them; "
                "expected max_norm=None."
            )
        if bn == "eval" and isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is None:
            raise ProblemError(
                f"{name} keeps no running statistics, so with bn='eval' the value would depend on the batch size; "
                "use bn='train'."
            )


def model_error(error: Exception, inputs: Any, bn: Literal["eval", "train"], samples: int) -> ModelError:
    """What went wrong in the first forward pass, in one line."""
    first = str(error).splitlines()[0] if str(error) else type(error).__name__
    if bn == "train" and "more than 1 value per channel" in first:
        whole = samples // BN_GROUP * BN_GROUP
        first = (
            f"with bn='train' a normalisation takes statistics of at least two samples, in groups of {BN_GROUP}; "
            + (f"take {whole} of the {samples}" if whole else "take more samples")
        )
    return ModelError(f"the model fails on inputs {tree_map(lambda t: tuple(t.shape), inputs)}: {first}")


@contextmanager
def single_samples(bn: Literal["eval", "train"]) -> Iterator[None]:
    """Tell of a normalisation by the batch that meets one sample in evaluation mode.

    Raises:
        ModelError: inside the block the network failed for that reason.
    """
    try:
        yield
    except ValueError as error:
        if bn == "train" or "more than 1 value per channel" not in str(error):
            raise
        raise ModelError(
            "a normalisation takes its statistics from the batch in evaluation mode (batch_norm with training=True), "
            "so that single samples have no value of their own; give it running statistics, or use bn='train'."
        ) from error


def check_finite_outputs(outputs: Any) -> None:
    """Look for NaN and infinities in the outputs for the first samples.

    Raises:
        NonFiniteError: there are some; names the sample.
    """
    for leaf in tree_leaves(outputs):
        if not isinstance(leaf, Tensor) or leaf.ndim == 0:
            continue
        bad = (~torch.isfinite(leaf)).reshape(len(leaf), -1).any(1).nonzero()
        if len(bad):
            raise NonFiniteError(
                f"the network's outputs are NaN or infinite on sample {int(bad[0])}; look at that input and at the "
                "size of the weights, or use --dtype float64."
            )


def check_labels(loss: LossLike, labels: Any, outputs: Any) -> None:
    """Look for labels out of range, which crash inside torch, on a GPU for good.

    Raises:
        DataError: there are some.
    """
    known = loss is nn.functional.cross_entropy or isinstance(loss, (nn.CrossEntropyLoss, nn.NLLLoss))
    if not known or not isinstance(outputs, Tensor):
        return
    if not isinstance(labels, Tensor) or labels.is_floating_point() or outputs.ndim < 2:
        return
    ignored = loss.ignore_index if isinstance(loss, (nn.CrossEntropyLoss, nn.NLLLoss)) else -100
    kept = labels[labels != ignored]
    classes = outputs.shape[1]
    if kept.numel() and (int(kept.min()) < 0 or int(kept.max()) >= classes):
        raise DataError(
            f"labels run from {int(kept.min())} to {int(kept.max())} but the network has {classes} outputs; "
            f"expected labels 0 to {classes - 1}."
        )


def agree(a: Any, b: Any) -> bool:
    """Whether outputs agree to what two evaluations on a GPU may differ by."""
    return all(
        torch.allclose(x, y, rtol=1e-3, atol=1e-3 * float(x.abs().max()), equal_nan=True)
        for x, y in zip(tree_leaves(a), tree_leaves(b), strict=True)
        if isinstance(x, Tensor) and x.is_floating_point() and x.numel()
    )
