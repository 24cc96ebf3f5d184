"""The layers that feed a batch normalisation, whose weights have a norm that decides nothing, and their rescaling.

Multiply filter i of such a layer by c_i > 0, with it the layer's bias b_i, the normalisation's running mean by c_i and
its running variance by c_i^2: in train mode the batch's statistics scale alike, in eval mode the running ones have, so
that the network is the same function in both, up to the normalisation's eps.

A layer counts where its output goes into one normalisation with running statistics and nowhere else: convolutions, and
linear layers on vectors. That is found by watching a forward pass, and then seen: with such layers scaled, the
normalisation's eps among them, the outputs must stay, in eval mode and in train mode. So a weight that is used
elsewhere too, or an output that goes another way where no watch sees it, is not taken for one.

Legend: F filters (outputs of a layer), L layers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from landscape.problem.batch_norm import Watch
from landscape.problem.problem import Problem
from landscape.problem.running import evaluation_mode, seeded

Granularity = Literal["filter", "layer"]

# A power of two: scaled products and statistics then keep their digits, and outputs that differ went another way.
_FACTOR = 2.0
_FEW = 8  # samples that show where a layer's output goes


@dataclass(frozen=True)
class FedLayer:
    """A layer and the running statistics of the normalisation that it feeds.

    Attributes:
        name: of the weight in the network.
        weight: (F, ...).
        bias: (F,), or None.
        norm: the normalisation; its own parameters are never touched.
    """

    name: str
    weight: Tensor
    bias: Tensor | None
    norm: _BatchNorm

    @property
    def statistics(self) -> tuple[Tensor, Tensor]:
        """The running mean and variance, (F,) each."""
        assert self.norm.running_mean is not None, "the watch takes no other"
        assert self.norm.running_var is not None, "the watch takes no other"
        return self.norm.running_mean, self.norm.running_var


def fed_layers(model: nn.Module, inputs: Tensor) -> tuple[FedLayer, ...]:
    """The layers of `model` whose trained weights feed a batch normalisation, in the network's order.

    Args:
        model: left as it is: weights, buffers, flags, random state.
        inputs: some samples, two or more.

    Cost: five forward passes of `inputs`; where a candidate has to be left out, four more a candidate.
    """
    with evaluation_mode(model), torch.no_grad():
        watch = Watch({**dict(model.named_parameters()), **dict(model.named_buffers())}, linear=True)
        with watch:
            outputs = model(inputs)
        found = [_layer(model, fold.convolution, fold.mean) for fold in watch.folds(outputs)]
    order = {name: place for place, (name, _) in enumerate(model.named_parameters())}
    layers = sorted((layer for layer in found if layer is not None), key=lambda layer: order[layer.name])
    if not layers or _same_function(model, inputs, layers):
        return tuple(layers)
    return tuple(layer for layer in layers if _same_function(model, inputs, [layer]))


def normalized_layers(problem: Problem) -> dict[str, tuple[str, ...]]:
    """Layer name -> its weight, of the layers that feed a batch normalisation, among the parameters of `problem`.

    Without their biases, which the normalisation takes out of the batch again: a bias turns no weight.
    Empty where there is none, and where the inputs are not one tensor. Cost: as `fed_layers`, of 8 samples.
    """
    inputs = next(problem.batches(0, min(_FEW, len(problem)))).inputs
    if not isinstance(inputs, Tensor):
        return {}
    if inputs.is_floating_point():
        first = next(problem.model.parameters())
        inputs = inputs.to(device=first.device, dtype=first.dtype)
    if len(inputs) == 1:  # batch normalisation has no statistics of one sample
        inputs = torch.cat([inputs, inputs])
    followed = {info.name for info in problem.infos}
    names = [layer.name for layer in fed_layers(problem.model, inputs) if layer.name in followed]
    return {name.rpartition(".")[0]: (name,) for name in names}


def weight_norms(layers: Sequence[FedLayer]) -> Tensor:
    """||w_l||_2 of each layer, (L,) on their device. Cost: one pass over the weights."""
    return torch.stack(torch._foreach_norm([layer.weight.detach() for layer in layers]))


def filter_norms(layers: Sequence[FedLayer]) -> list[Tensor]:
    """The norm of each filter, (F,) a layer. Cost: one pass over the weights."""
    return [torch.linalg.vector_norm(layer.weight.detach().flatten(1), dim=1) for layer in layers]


@torch.no_grad()
def rescale(layers: Sequence[FedLayer], norms: Sequence[Tensor], targets: Sequence[Tensor]) -> None:
    """Scale filters from `norms` to `targets`, both (F,) a layer or one for the whole layer, and what goes with them.

    Where one of the two is 0 the filter stays: no factor leads there, or none leads back.
    Cost: two passes over the weights. Nothing is read from the device.
    """
    sizes = [norm.numel() for norm in norms]
    norms_M = torch.cat([norm.reshape(-1) for norm in norms])
    targets_M = torch.cat([target.reshape(-1) for target in targets])
    factors_M = torch.where((norms_M > 0) & (targets_M > 0), targets_M / norms_M, 1.0)
    factors = [
        part.expand(len(layer.weight)) for layer, part in zip(layers, torch.split(factors_M, sizes), strict=True)
    ]
    for layer, factor in zip(layers, factors, strict=True):
        layer.weight.mul_(factor.view(-1, *[1] * (layer.weight.ndim - 1)))
    with_bias = [(layer.bias, factor) for layer, factor in zip(layers, factors, strict=True) if layer.bias is not None]
    if with_bias:
        torch._foreach_mul_([bias for bias, _ in with_bias], [factor for _, factor in with_bias])
    means, variances = zip(*(layer.statistics for layer in layers), strict=True)
    torch._foreach_mul_(means, factors)
    for _ in range(2):
        torch._foreach_mul_(variances, factors)


def _layer(model: nn.Module, weight: str, mean: str) -> FedLayer | None:
    """The layer by the names that the watch gave; None where it is no plain layer of PyTorch's, or not trained."""
    owner = model.get_submodule(weight.rpartition(".")[0])
    norm = model.get_submodule(mean.rpartition(".")[0])
    if not isinstance(owner, _ConvNd | nn.Linear) or not isinstance(norm, _BatchNorm):
        return None
    if not owner.weight.requires_grad or norm.num_features != len(owner.weight):
        return None
    return FedLayer(weight, owner.weight, owner.bias, norm)


def _same_function(model: nn.Module, inputs: Tensor, layers: Sequence[FedLayer]) -> bool:
    """Whether the outputs stay when `layers` are scaled, in both modes."""
    factors: dict[int, float] = {}
    for layer in layers:
        mean, var = layer.statistics
        factors |= {id(layer.weight): _FACTOR, id(mean): _FACTOR, id(var): _FACTOR**2}
        if layer.bias is not None:
            factors[id(layer.bias)] = _FACTOR
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    norms = {layer.norm for layer in layers}

    def run(training: bool, factor_of: Callable[[Tensor], float]) -> Tensor:
        # Clones: in train mode the running statistics move. The same draws of dropout each time.
        changed = {name: (t * factor_of(t) if t.is_floating_point() else t.clone()) for name, t in tensors.items()}
        with evaluation_mode(model), seeded(0, inputs.device), torch.no_grad():
            model.train(training)
            outputs: Tensor = functional_call(model, changed, (inputs,))
        return outputs

    for training in (False, True):
        before = run(training, lambda tensor: 1.0)
        with _scaled_eps(norms):
            after = run(training, lambda tensor: factors.get(id(tensor), 1.0))
        if not torch.allclose(before, after, rtol=1e-4, atol=1e-6, equal_nan=True):
            return False
    return True


@contextmanager
def _scaled_eps(norms: set[_BatchNorm]) -> Iterator[None]:
    for norm in norms:
        norm.eps *= _FACTOR**2
    try:
        yield
    finally:
        for norm in norms:
            norm.eps /= _FACTOR**2
