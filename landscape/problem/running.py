"""How a network is run: which mode its modules are in, on which kernels, and what random numbers it draws.

A measure differentiates twice, forward and backward. Some fused kernels have no second derivative or no forward mode;
here they are exchanged for others that compute the same function.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Literal

import torch
from torch import nn

from landscape.problem.recomputation import no_recomputation
from landscape.process_state import ProcessState


@contextmanager
def evaluation_mode(model: nn.Module, bn: Literal["eval", "train"] = "eval") -> Iterator[None]:
    """Put `model` into eval mode (BatchNorm into train mode with bn="train") and put every flag back after.

    Tensors that modules keep beside their parameters and buffers, as the weight that spectral and weight normalisation
    by hooks compute, are put back as well: those of the block belong to another graph.
    """
    flags = [(module, module.training) for module in model.modules()]
    held = [(module, plain_tensors(module)) for module, _ in flags]
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
        for module, tensors in held:
            for name in plain_tensors(module).keys() - tensors.keys():
                del vars(module)[name]
            vars(module).update(tensors)
        for recurrent, weights, references in lists:
            recurrent._flat_weights, recurrent._flat_weight_refs = weights, references


def plain_tensors(module: nn.Module) -> dict[str, torch.Tensor]:
    """The tensors that a module has as plain attributes."""
    return {name: value for name, value in vars(module).items() if isinstance(value, torch.Tensor)}


def duplicate(model: nn.Module) -> nn.Module:
    """A copy of `model` that shares no tensor with it.

    Plain tensors with a graph, which `copy.deepcopy` refuses, are copied without it.
    """
    graphs = [(module, name, t) for module in model.modules() for name, t in plain_tensors(module).items() if t.grad_fn]
    try:
        for module, name, tensor in graphs:
            vars(module)[name] = tensor.detach()
        return copy.deepcopy(model)
    finally:
        for module, name, tensor in graphs:
            vars(module)[name] = tensor


@contextmanager
def differentiable_kernels(model: nn.Module) -> Iterator[None]:
    """Keep `model` off the fused kernels that have no forward mode or no second derivative.

    These are the inference path of transformer layers and the recurrent layers of cuDNN and oneDNN; for batch
    normalisation see `landscape.problem.batch_norm`. Nor is anything computed again in a backward pass.
    """
    with ExitStack() as stack:
        stack.enter_context(no_recomputation())
        stack.enter_context(_FAST_PATH.as_(False))
        if any(isinstance(module, nn.RNNBase) for module in model.modules()):
            stack.enter_context(_FUSED_RECURRENCE.as_(False))
        yield


@contextmanager
def _fast_path(enabled: bool) -> Iterator[None]:
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(enabled)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)


@contextmanager
def _fused_recurrence(enabled: bool) -> Iterator[None]:
    # not by the `flags()` of either: they set the precision of products as well
    fused = torch._C._get_mkldnn_enabled(), torch._C._get_cudnn_enabled()
    torch._C._set_mkldnn_enabled(enabled)
    torch._C._set_cudnn_enabled(enabled)
    try:
        yield
    finally:
        torch._C._set_mkldnn_enabled(fused[0])
        torch._C._set_cudnn_enabled(fused[1])


_FAST_PATH, _FUSED_RECURRENCE = ProcessState(_fast_path), ProcessState(_fused_recurrence)


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Run the block with the global generators of the CPU and of `device` seeded, and put them back after."""
    cuda = [torch.cuda.current_device() if device.index is None else device.index] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        # Not torch.manual_seed: it seeds every device, also those that are not put back.
        torch.default_generator.manual_seed(seed)
        for index in cuda:
            torch.cuda.default_generators[index].manual_seed(seed)
        yield
