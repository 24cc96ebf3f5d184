"""What the linear layers and convolutions of a network give out, and the gradients there.

A layer's own parameters act on its output alone, z = W a + b at every location (pixel, token), so that for any gradient
s at the output <theta_l, d/dtheta_l> = sum_t s_t . z_t: the output is all that a norm of the layer's parameters in a
Kronecker-factored curvature needs, without the layer's inputs.

Legend: N samples, T locations, G groups of channels, O outputs of a group.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from landscape.curvature.gauss_newton import Cotangents
from landscape.errors import NotApplicableError
from landscape.problem import Batch, Problem
from landscape.work import charge

Layer = nn.Linear | nn.modules.conv._ConvNd
_FEW = 3  # samples that show whether a layer's parameters act through its output alone


@dataclass(frozen=True)
class OutputLayer:
    """A layer with parameters of the problem: their names, None for one that it has not or that is frozen."""

    name: str
    module: Layer
    weight: str | None
    bias: str | None

    @property
    def names(self) -> tuple[str, ...]:
        """The parameters."""
        return tuple(name for name in (self.weight, self.bias) if name is not None)


@dataclass
class _Recorded:
    outputs: dict[str, Tensor] = field(default_factory=dict)
    repeated: str | None = None


class LayerOutputs:
    """The layers of a problem's network whose outputs tell of their parameters.

    Raises:
        NotApplicableError: the network has none; a layer runs twice in a pass, or its parameters act elsewhere too; the
            outputs of the network are not one tensor.
    """

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._theta = problem.parameters
        batch = next(problem.batches(0, min(_FEW, len(problem)), size=_FEW))
        self.layers = _layers(problem.model, frozenset(self._theta))
        leaves = {name: tensor.detach().requires_grad_() for name, tensor in self._theta.items()}
        with torch.enable_grad(), self._recording() as recorded:
            f = problem.outputs(leaves, batch.inputs)
        charge("gradient", len(batch))
        if not isinstance(f, Tensor):
            raise NotApplicableError("the outputs are not one tensor")
        if recorded.repeated is not None:
            raise NotApplicableError(
                f"the layer {recorded.repeated} runs more than once in a pass: it has no Kronecker factors"
            )
        self.layers = [layer for layer in self.layers if layer.name in recorded.outputs]
        if not self.layers:
            raise NotApplicableError("no linear layer or convolution of this network has parameters to measure")
        self._prove(f, leaves, recorded.outputs)

    def pieces(self, layer: OutputLayer, values: Tensor) -> Tensor:
        """A tensor of the shape of the layer's output, in groups and locations: (N, G, T, O)."""
        if isinstance(layer.module, nn.Linear):
            return values.reshape(len(values), 1, -1, values.shape[-1])
        groups = layer.module.groups
        return values.flatten(2).reshape(len(values), groups, values.shape[1] // groups, -1).mT

    def outputs(self, batch: Batch) -> dict[str, Tensor]:
        """The part of each layer's output that its parameters give, (N, G, T, O). Cost: a forward pass."""
        with torch.no_grad(), self._recording() as recorded:
            self._problem.outputs(self._theta, batch.inputs)
        charge("forward", len(batch))
        return {layer.name: self.pieces(layer, self._own(layer, recorded.outputs[layer.name])) for layer in self.layers}

    def gradients(self, batch: Batch, cotangents: Cotangents) -> Iterator[dict[str, Tensor]]:
        """For each cotangent c the gradients of <f_n, c_n> at the layers' outputs, (N, G, T, O).

        Cost: a forward pass, and a backward pass a cotangent.
        """
        # only the first layers' inputs need no gradient: a tap in place of parameters would do as well
        leaves = {name: tensor.detach().requires_grad_() for name, tensor in self._theta.items()}
        with torch.enable_grad(), self._recording() as recorded:
            f = self._problem.outputs(leaves, batch.inputs)
        charge("forward", len(batch))
        chosen = cotangents(f.detach())
        given = [recorded.outputs[layer.name] for layer in self.layers]
        for number, c in enumerate(chosen):
            found = torch.autograd.grad(
                f, given, c, retain_graph=number + 1 < len(chosen), allow_unused=True, materialize_grads=True
            )
            charge("backward", len(batch))
            yield {layer.name: self.pieces(layer, s) for layer, s in zip(self.layers, found, strict=True)}

    def _own(self, layer: OutputLayer, output: Tensor) -> Tensor:
        """The part of an output that the layer's parameters in the problem give."""
        module = layer.module
        if module.bias is None or (layer.weight is not None and layer.bias is not None):
            return output
        bias = (self._theta[layer.bias] if layer.bias is not None else module.bias.detach()).to(output)
        shaped = bias if isinstance(module, nn.Linear) else bias.view(-1, *[1] * (output.ndim - 2))
        return output - shaped if layer.weight is not None else shaped.expand_as(output)

    def _prove(self, f: Tensor, leaves: Mapping[str, Tensor], outputs: Mapping[str, Tensor]) -> None:
        """See that <theta_l, d/dtheta_l> = sum_t s_t . z_t for a sum of the network's outputs."""
        given = [outputs[layer.name] for layer in self.layers]
        wanted = [*given, *leaves.values()]
        found = torch.autograd.grad(f.sum(), wanted, allow_unused=True, materialize_grads=True)
        slopes = dict(zip(leaves, found[len(given) :], strict=True))
        # error budget: two sums of the same products in another order; another use of a weight shows by its whole
        tolerance = 1e-3 if f.dtype != torch.float64 else 1e-8
        for layer, s in zip(self.layers, found, strict=False):
            z = self._own(layer, outputs[layer.name].detach())
            here = float((s * z).sum())
            there = sum(float((slopes[name] * self._theta[name]).sum()) for name in layer.names)
            scale = float((s * z).abs().sum())
            scale += sum(float((slopes[name] * self._theta[name]).abs().sum()) for name in layer.names)
            if abs(here - there) > tolerance * scale:
                raise NotApplicableError(
                    f"the parameters of the layer {layer.name} act elsewhere too: it has no Kronecker factors"
                )

    @contextmanager
    def _recording(self) -> Iterator[_Recorded]:
        """Record the layers' outputs in the forward pass within the block."""
        recorded = _Recorded()
        names = {layer.module: layer.name for layer in self.layers}

        def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            assert isinstance(module, nn.Linear | nn.modules.conv._ConvNd)
            name = names[module]
            if name in recorded.outputs:
                recorded.repeated = name
            recorded.outputs[name] = output
            return output.clone()  # what follows may write into it

        with ExitStack() as stack:
            for module in names:
                stack.callback(module.register_forward_hook(note).remove)
            yield recorded


def _layers(model: nn.Module, names: frozenset[str]) -> Sequence[OutputLayer]:
    by_id = {id(p): name for name, p in model.named_parameters() if name in names}
    found = []
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear | nn.modules.conv._ConvNd):
            bias = None if module.bias is None else by_id.get(id(module.bias))
            layer = OutputLayer(name or type(module).__name__, module, by_id.get(id(module.weight)), bias)
            if layer.names:
                found.append(layer)
    return found
