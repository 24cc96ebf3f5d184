"""How a network is run: which mode its modules are in, and on which kernels.

A measure differentiates twice, forward and backward. Some fused kernels have no second derivative or no forward mode,
some have slow ones; here they are exchanged for others that compute the same function.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode


@contextmanager
def evaluation_mode(model: nn.Module, bn: Literal["eval", "train"] = "eval") -> Iterator[None]:
    """Put `model` into eval mode (BatchNorm into train mode with bn="train") and put every flag back after."""
    flags = [(module, module.training) for module in model.modules()]
    # functional_call leaves its tensors in the lists that a recurrent layer keeps of its weights
    lists = [
        (module, list(module._flat_weights), list(module._flat_weight_refs))
        for module, _ in flags
        if isinstance(module, nn.RNNBase)
    ]
    try:
        model.eval()
        if bn == "train":
            for module, _ in flags:
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.training = True
        yield
    finally:
        for module, flag in flags:
            module.training = flag
        for recurrent, weights, references in lists:
            recurrent._flat_weights, recurrent._flat_weight_refs = weights, references


@contextmanager
def differentiable_kernels(model: nn.Module) -> Iterator[None]:
    """Keep `model` off the fused kernels that have no forward mode, no second derivative or a slow one.

    These are the inference path of transformer layers, the recurrent layers of cuDNN and oneDNN, and batch
    normalisation by running statistics, whose second derivative makes a dozen passes over the activations.
    """
    fused = torch.backends.mha.get_fastpath_enabled()
    with ExitStack() as stack:
        stack.callback(torch.backends.mha.set_fastpath_enabled, fused)
        torch.backends.mha.set_fastpath_enabled(False)
        if any(isinstance(module, nn.RNNBase) for module in model.modules()):
            # not torch.backends.mkldnn.flags(): it sets the precision of products as well
            stack.callback(torch._C._set_mkldnn_enabled, torch._C._get_mkldnn_enabled())
            torch._C._set_mkldnn_enabled(False)
            stack.enter_context(torch.backends.cudnn.flags(enabled=False))
        if any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules()):
            stack.enter_context(_AffineBatchNorm())
        yield


class _AffineBatchNorm(TorchFunctionMode):
    """Computes batch normalisation by running statistics as what it is, an affine map of each channel."""

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = dict(kwargs or {})
        if function is F.batch_norm:
            return _batch_norm(*args, **given)
        return function(*args, **given)


def _batch_norm(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    if training or running_mean is None or running_var is None:
        return F.batch_norm(x, running_mean, running_var, weight, bias, training, momentum, eps)
    scale = (running_var + eps).rsqrt()
    if weight is not None:
        scale = scale * weight
    shift = -running_mean * scale
    if bias is not None:
        shift = shift + bias
    shape = [1, -1] + [1] * (x.ndim - 2)
    return x * scale.view(shape) + shift.view(shape)
