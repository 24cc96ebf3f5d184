"""A network of absolute or squared weights, without activations: what sums over its paths.

Each operation that a network of piecewise linear activations may call is exchanged for one whose output at a vector of
ones is the sum over paths of the product of |weight|^p along the path. An operation that is none of these is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode, resolve_name

from landscape.errors import NotApplicableError

_LINEAR: Mapping[Any, str] = {
    F.linear: "weight",
    F.conv1d: "weight",
    F.conv2d: "weight",
    F.conv3d: "weight",
    torch.conv1d: "weight",
    torch.conv2d: "weight",
    torch.conv3d: "weight",
}
_POSITIVE = {F.relu, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_, F.dropout, torch.dropout}
_KEEP_NAMES = {
    "flatten", "view", "reshape", "contiguous", "add", "add_", "__add__", "__iadd__", "__radd__", "cat", "concat",
    "permute", "transpose", "squeeze", "unsqueeze", "pad", "to", "clone", "identity", "size", "dim", "shape", "__get__",
    "max_pool1d", "max_pool2d", "max_pool3d", "boolean_dispatch", "_max_pool1d", "_max_pool2d", "_max_pool3d",
    "__getitem__", "detach", "chunk", "split", "has_torch_function_unary", "adaptive_max_pool2d", "dtype", "device",
    "requires_grad", "is_floating_point", "expand", "__len__", "numel", "ndim", "is_contiguous",
}  # fmt: skip
_AVERAGES = {
    "avg_pool1d", "avg_pool2d", "avg_pool3d", "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d",
    "mean",
}  # fmt: skip


class PathSums(TorchFunctionMode):
    """Run a network's forward pass as sums over its paths.

    Weights w become |w|^p, and so do the coefficients of averages (1/k of k values) and of a batch normalisation by
    running statistics; biases are weights from a unit that is always 1; activations are left out; the maximum of a
    max-pooling stays a maximum.

    Args:
        power: p, 1 or 2.
    """

    def __init__(self, power: int) -> None:
        super().__init__()
        self._power = power

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """The operation that takes the place of `func`.

        Raises:
            NotApplicableError: `func` is not known to keep the sums.
        """
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if func in _LINEAR:
            return self._linear(func, *args, **kwargs)
        if name == "batch_norm":
            return self._normalise(*args, **kwargs)
        if func in _POSITIVE or name in {"relu", "relu_", "dropout", "leaky_relu", "leaky_relu_"}:
            return args[0] if args else kwargs["input"]
        if name in _AVERAGES:
            with torch._C.DisableTorchFunction():
                averaged: Tensor = func(*args, **kwargs)
                # 1/k becomes 1/k^p: the average of k ones is 1, of which each has had the coefficient 1/k
                count = (
                    args[0].numel() / averaged.numel()
                    if name == "mean" or "adaptive" in name
                    else _window(args, kwargs)
                )
                return averaged * float(count) ** (1 - self._power)
        if name in _KEEP_NAMES:
            return func(*args, **kwargs)
        raise NotApplicableError(f"the network calls {resolve_name(func) or name}, over which paths are not defined")

    def _linear(
        self, func: Callable[..., Any], x: Tensor, weight: Tensor, bias: Tensor | None = None, *rest: Any, **more: Any
    ) -> Tensor:
        p = self._power
        with torch._C.DisableTorchFunction():
            found: Tensor = func(x, weight.abs() ** p, None if bias is None else bias.abs() ** p, *rest, **more)
        return found

    def _normalise(
        self,
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
            raise NotApplicableError("batch statistics make no fixed weights; paths need --bn eval")
        with torch._C.DisableTorchFunction():
            scale = (running_var + eps).rsqrt() * (1.0 if weight is None else weight)
            shift = (0.0 if bias is None else bias) - running_mean * scale
            shape = (1, -1, *[1] * (x.ndim - 2))
            return x * (scale.abs() ** self._power).view(shape) + (shift.abs() ** self._power).view(shape)


def _window(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> int:
    size = kwargs.get("kernel_size", args[1] if len(args) > 1 else None)
    if isinstance(size, int):
        return int(size ** (args[0].ndim - 2))
    assert size is not None, "an average pooling has a kernel size"
    return int(torch.Size(size).numel())
