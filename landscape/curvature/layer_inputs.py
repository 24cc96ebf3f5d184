"""What goes into each linear and convolution layer: Gram matrices of its input rows.

A linear layer's input rows are its inputs; a convolution's are the patches that its kernel meets, zeros of the padding
among them, one group of channels apart from another.

Legend: N samples, R rows, d values of a row, G groups of channels.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from landscape.problem import Problem
from landscape.work import charge


def weight_layers(problem: Problem) -> dict[str, list[nn.Module]]:
    """The weight's name -> the linear and 1- or 2-dimensional convolution layers that use it, of trained weights."""
    followed = {info.name for info in problem.infos}
    names = {id(p): name for name, p in problem.model.named_parameters() if name in followed}
    found: dict[str, list[nn.Module]] = {}
    for module in problem.model.modules():
        if type(module) in (nn.Linear, nn.Conv1d, nn.Conv2d) and id(module.weight) in names:
            found.setdefault(names[id(module.weight)], []).append(module)
    return found


def input_grams(problem: Problem, layers: Mapping[str, list[nn.Module]]) -> dict[str, Tensor]:
    """A = sum over rows a of a a' for each weight, float64 (G, d, d) on the problem's device.

    Args:
        problem: the problem; every sample whose label counts is taken, once.
        layers: the weight's name -> the layers that use it.

    Cost: a forward pass, and R d^2 operations a layer; memory G d^2 a layer. All processes must call it.
    """
    grams: dict[str, Tensor] = {}
    owner = {module: name for name, modules in layers.items() for module in modules}
    kept: list[Tensor] = []

    def add(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        rows_GRd = _rows(module, inputs[0].detach(), kept[-1])
        gram = rows_GRd.mT @ rows_GRd
        name = owner[module]
        grams[name] = grams[name] + gram if name in grams else gram

    handles = [module.register_forward_pre_hook(add) for module in owner]
    try:
        with torch.no_grad():
            for batch in problem.batches():
                kept.append(batch.weights > 0)
                problem.outputs(problem.parameters, batch.inputs)
                kept.clear()
                charge("forward", len(batch))
    finally:
        for handle in handles:
            handle.remove()
    return {
        name: problem.group.sum(grams[name] if name in grams else _nothing(modules[0], problem))
        for name, modules in layers.items()
    }


def _rows(module: nn.Module, inputs: Tensor, kept_N: Tensor) -> Tensor:
    inputs = inputs[kept_N].double()
    if isinstance(module, nn.Linear):
        return inputs.reshape(1, -1, inputs.shape[-1])
    assert isinstance(module, nn.Conv1d | nn.Conv2d)
    weight = module.weight
    kernel, stride, dilation = module.kernel_size, module.stride, module.dilation
    if module.padding_mode != "zeros" or isinstance(module.padding, str):
        mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
        inputs, padding = F.pad(inputs, module._reversed_padding_repeated_twice, mode=mode), (0,) * len(kernel)
    else:
        padding = module.padding
    if isinstance(module, nn.Conv1d):
        inputs = inputs[:, :, None]
        kernel, stride, dilation, padding = (1, *kernel), (1, *stride), (1, *dilation), (0, *padding)
    patches_NDL = F.unfold(inputs, kernel, dilation=dilation, padding=padding, stride=stride)
    d = weight[0].numel()
    return patches_NDL.view(len(inputs), module.groups, d, -1).permute(1, 0, 3, 2).reshape(module.groups, -1, d)


def _nothing(module: nn.Module, problem: Problem) -> Tensor:
    weight, groups = module.weight, getattr(module, "groups", 1)
    assert isinstance(weight, Tensor)
    d = weight[0].numel()
    return torch.zeros(groups, d, d, dtype=torch.float64, device=problem.device)
