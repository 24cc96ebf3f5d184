"""Kronecker factors of the layers' curvature: A of what goes in, S of the gradients at what comes out.

    A = mean over samples and locations of a a',   S = mean over samples and locations of s s'
    curvature block of the layer = T A (x) S

with a the layer's input (patches for a convolution, a 1 appended for the bias), s the gradient of the sample's own
loss at the layer's output, T the number of locations where the layer is applied (1 for a linear layer on vectors).
For `fisher` the sample's loss is the cross-entropy with ONE label drawn from the model; for `gauss-newton` the
gradient at the logits is a unit Gaussian vector, so that the mean of s s' is that of J'J, J the Jacobian of the logits.

Legend: B samples, T locations, I inputs (with the bias), O outputs, K logits.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, unfold

from landscape.errors import ModelError
from landscape.training.optimizers.patch_moments import moves_by_rows, patch_moment

Layer = nn.Linear | nn.Conv2d


@dataclass(frozen=True)
class Factors:
    """A (I, I) and S (O, O) of a layer, and the number T of its locations."""

    A: Tensor
    S: Tensor
    locations: int


@dataclass
class Recorder:
    """What the layers took in and gave out in the last forward pass, by layer."""

    inputs: dict[Layer, Tensor] = field(default_factory=dict)
    outputs: dict[Layer, Tensor] = field(default_factory=dict)


def factored_layers(model: nn.Module) -> list[Layer]:
    """The linear layers and two-dimensional convolutions (zero padding, one group) whose weight has a gradient."""
    layers: list[Layer] = []
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            plain = module.groups == 1 and module.padding_mode == "zeros"
        else:
            plain = isinstance(module, nn.Linear)
        if plain and module.weight.grad is not None:
            assert isinstance(module, nn.Linear | nn.Conv2d)
            layers.append(module)
    return layers


@contextmanager
def recording(layers: Iterable[Layer]) -> Iterator[Recorder]:
    """Record the layers' inputs and outputs in each forward pass within the block.

    Raises:
        ModelError: a layer runs twice in a pass; its curvature has no such factors.
    """
    recorder = Recorder()

    def start(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        assert isinstance(module, nn.Linear | nn.Conv2d)
        if module in recorder.inputs:
            raise ModelError(
                f"K-FAC: the layer {module} runs more than once in a pass, so its curvature has no Kronecker factors; "
                "choose another optimizer."
            )
        recorder.inputs[module], recorder.outputs[module] = inputs[0].detach(), output
        return output.clone()  # what follows may write into it, and the gradient at `output` would be another's

    with ExitStack() as stack:
        for layer in layers:
            stack.callback(layer.register_forward_hook(start).remove)
        yield recorder


def cotangent_factors(
    recorder: Recorder, logits_BK: Tensor, cotangents_BK: Tensor, with_bias: Mapping[Layer, bool]
) -> dict[Layer, Factors]:
    """The factors of the recorded layers from one pass, with the given gradients of each sample's loss at its logits.

    Empties the recorder. Cost: one backward pass to the outputs, and the products.
    """
    layers = list(recorder.inputs)
    gradients = torch.autograd.grad(logits_BK, [recorder.outputs[layer] for layer in layers], cotangents_BK)
    factors = {}
    for layer, gradient in zip(layers, gradients, strict=True):
        s_BTO = located_gradients(layer, gradient)
        A = input_moment(layer, recorder.inputs[layer], with_bias[layer])
        factors[layer] = Factors(A, _second_moment(s_BTO), s_BTO.shape[1])
    recorder.inputs.clear()
    recorder.outputs.clear()
    return factors


def located_gradients(layer: Layer, gradient: Tensor) -> Tensor:
    """The gradient at the layer's output as (B, T, O)."""
    return gradient.flatten(2).mT if isinstance(layer, nn.Conv2d) else _with_locations(gradient)


def input_moment(layer: Layer, x: Tensor, bias: bool) -> Tensor:
    """A of the layer's inputs `x` (B, ...): the second moment of what `located_inputs` gives."""
    if isinstance(layer, nn.Conv2d) and moves_by_rows(layer):
        return patch_moment(layer, _padded(layer, x), bias)
    return _second_moment(located_inputs(layer, x, bias))


def located_inputs(layer: Layer, x: Tensor, bias: bool) -> Tensor:
    """What the layer's weights, and its bias if `bias`, are multiplied by: (B, T, I)."""
    if isinstance(layer, nn.Conv2d):
        a_BTI = unfold(_padded(layer, x), layer.kernel_size, dilation=layer.dilation, stride=layer.stride).mT
    else:
        a_BTI = _with_locations(x)
    return pad(a_BTI, (0, 1), value=1.0) if bias else a_BTI


def _padded(layer: nn.Conv2d, x: Tensor) -> Tensor:
    left, right, top, bottom = layer._reversed_padding_repeated_twice
    return pad(x, (left, right, top, bottom))


def _with_locations(x: Tensor) -> Tensor:
    return x.unsqueeze(1) if x.ndim == 2 else x.flatten(1, -2)


def _second_moment(x_BTI: Tensor) -> Tensor:
    x_MI = x_BTI.flatten(0, 1)
    return x_MI.mT @ x_MI / x_MI.shape[0]
