"""Convolutions and rectifiers whose second derivative is made of the kernels of the first.

Reverse over reverse differentiates the backward pass of each layer. Of y = x * w + b with the cotangent g of y it is

    dx = g *' w,   dw = x o g,   db = sum g            (backward with respect to the input and to the weights)

and for directions u, v, c of dx, dw, db the second derivatives are again such products:

    of g:  u * w + x * v + c,       of x:  g *' v,       of w:  u o g

two convolutions and one backward kernel. PyTorch's own rule makes the last two from forward convolutions of transposed
copies, whose batch axis stands where channels are expected: on a CPU twice the time of these. The derivative of a
rectifier's mask is zero; PyTorch's rule adds tensors of zeros.

Legend: N samples, C channels in, D channels out, S pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.overrides import TorchFunctionMode

Convolve = Callable[..., Tensor]
_CONVOLUTIONS: Mapping[Convolve, int] = {torch.conv1d: 1, torch.conv2d: 2, torch.conv3d: 3}  # and their spatial axes
_RECTIFIERS = (F.relu, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_)


class DoubleBackward(TorchFunctionMode):
    """Makes convolutions and rectifiers inside the block cheap to differentiate twice.

    The values, and all derivatives by `torch.autograd`, are those of the layers themselves. What these functions cannot
    take (padding by name, samples without a batch axis, autocast, tensors wrapped by `torch.func`) goes PyTorch's way.
    """

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = dict(kwargs or {})
        if function in _CONVOLUTIONS:
            call = _Call.of(function, *args, **given)
            if call is not None:
                return _Convolution.apply(call.x, call.weight, call.bias, call.form)  # type: ignore[no-untyped-call]
        elif function in _RECTIFIERS:
            return _rectified(function, *args, **given)
        return function(*args, **given)


@dataclass(frozen=True)
class _Form:
    """What a convolution is beside its tensors; strides, paddings and dilations by axis."""

    function: Convolve
    stride: list[int]
    padding: list[int]
    dilation: list[int]
    groups: int

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return self.function(x, weight, bias, self.stride, self.padding, self.dilation, self.groups)

    def backward(
        self, g: Tensor, x: Tensor, weight: Tensor, wanted: Sequence[bool]
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """The cotangents of x, weight and bias that are `wanted`, from that of y."""
        result: tuple[Tensor | None, Tensor | None, Tensor | None] = torch.ops.aten.convolution_backward(
            g,
            x,
            weight,
            [weight.shape[0]],
            self.stride,
            self.padding,
            self.dilation,
            False,
            [0] * len(self.stride),
            self.groups,
            list(wanted),
        )
        return result


@dataclass(frozen=True)
class _Call:
    """A convolution that is about to be computed."""

    x: Tensor
    weight: Tensor
    bias: Tensor | None
    form: _Form

    @classmethod
    def of(
        cls,
        function: Convolve,
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] | str = 0,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
    ) -> _Call | None:
        """As the function is called; None where it has to go PyTorch's way."""
        axes = _CONVOLUTIONS[function]
        tensors = [input, weight] if bias is None else [input, weight, bias]
        if isinstance(padding, str) or input.ndim != axes + 2 or not all(map(_plain, tensors)):
            return None
        form = _Form(function, _by_axis(stride, axes), _by_axis(padding, axes), _by_axis(dilation, axes), groups)
        return cls(input, weight, bias, form)


class _Convolution(Function):
    """y = x * w + b."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, form: _Form) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.form = form
        return form.forward(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        return (*_ConvolutionBackward.apply(g, x, weight, ctx.form, ctx.needs_input_grad[:3]), None)  # type: ignore[no-untyped-call]


class _ConvolutionBackward(Function):
    """(dx, dw, db) from g, x and w."""

    @staticmethod
    def forward(
        ctx: Any, g: Tensor, x: Tensor, weight: Tensor, form: _Form, wanted: Sequence[bool]
    ) -> tuple[Tensor | None, ...]:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(g, x, weight)
        ctx.form = form
        return form.backward(g, x, weight, wanted)

    @staticmethod
    def backward(ctx: Any, u: Tensor | None, v: Tensor | None, c: Tensor | None) -> tuple[Tensor | None, ...]:
        (g, x, weight), form = ctx.saved_tensors, ctx.form
        of_g = _second(form, g, x, weight, u, v, c) if ctx.needs_input_grad[0] else None
        wanted = ctx.needs_input_grad[1] and v is not None, ctx.needs_input_grad[2] and u is not None, False
        of_x, of_weight = None, None
        if any(wanted):
            of_x, of_weight, _ = form.backward(g, x if u is None else u, weight if v is None else v, wanted)
        return of_g, of_x, of_weight, None, None


def _second(
    form: _Form, g: Tensor, x: Tensor, weight: Tensor, u: Tensor | None, v: Tensor | None, c: Tensor | None
) -> Tensor | None:
    """u * w + x * v + c, of what is there."""
    if v is None and u is None:
        return None if c is None else c.view(-1, *[1] * (g.ndim - 2)).expand_as(g)
    if v is None:
        return form.forward(u, weight, c)  # type: ignore[arg-type]
    total = form.forward(x, v, c)
    return total if u is None else total.add_(form.forward(u, weight, None))


def _rectified(function: Callable[..., Tensor], input: Tensor, inplace: bool = False) -> Tensor:
    """As a rectifier is called."""
    if not _plain(input):
        return function(input, inplace) if function is F.relu else function(input)
    y: Tensor = _Rectifier.apply(input, inplace or function in (torch.relu_, Tensor.relu_))  # type: ignore[no-untyped-call]
    return y


class _Rectifier(Function):
    """y = max(x, 0), in place of x or beside it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, in_place: bool) -> Tensor:
        y = torch.relu_(x) if in_place else torch.relu(x)
        if in_place:
            ctx.mark_dirty(x)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        (y,) = ctx.saved_tensors
        masked: Tensor = _Mask.apply(g, y)  # type: ignore[no-untyped-call]
        return masked, None


class _Mask(Function):
    """g where y > 0, else 0."""

    @staticmethod
    def forward(ctx: Any, g: Tensor, y: Tensor) -> Tensor:
        ctx.save_for_backward(y)
        return torch.ops.aten.threshold_backward(g, y, 0)  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, u: Tensor) -> tuple[Tensor, None]:
        (y,) = ctx.saved_tensors
        masked: Tensor = _Mask.apply(u, y)  # type: ignore[no-untyped-call]
        return masked, None


def _by_axis(value: int | Sequence[int], axes: int) -> list[int]:
    if isinstance(value, int):
        return [value] * axes
    return list(value) * (axes if len(value) == 1 else 1)


def _plain(tensor: Any) -> bool:
    """Whether this is a tensor that an autograd function of our own sees as the layer would."""
    return (
        type(tensor) in (Tensor, torch.nn.Parameter)
        and tensor.is_floating_point()
        and not torch._C._functorch.is_functorch_wrapped_tensor(tensor)
        and not torch.is_autocast_enabled(tensor.device.type)
    )
