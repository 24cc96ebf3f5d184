"""In which order a network runs its layers, and how much of its work comes with and after each.

A derivative that concerns the parameters of one layer alone needs no pass through the layers before it.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from landscape.problem import Problem


@dataclass(frozen=True)
class Use:
    """Where a network uses a parameter.

    Attributes:
        share: of the network's multiplications, those of the layer that uses it first and of all later ones: 0..1.
        last: the number of the last layer that uses it, in the order of the forward pass.
    """

    share: float
    last: int


def uses(problem: Problem) -> dict[str, Use]:
    """The use of each parameter, seen on one sample; a parameter that no call of its own module uses is left out.

    Cost: one forward pass of one sample.
    """
    names = {id(p): name for name, p in problem.model.named_parameters() if name in problem.parameters}
    owned = [(module, list(module._parameters.values())) for module in problem.model.modules()]
    owners = {
        module: [names[id(p)] for p in parameters if p is not None and id(p) in names] for module, parameters in owned
    }
    calls: list[tuple[list[str], float]] = []

    def note(module: nn.Module, inputs: Any, output: Any) -> None:
        calls.append((owners[module], _multiplications(module, output)))

    with ExitStack() as stack, torch.no_grad():
        for module, mine in owners.items():
            if mine:
                stack.callback(module.register_forward_hook(note).remove)
        problem.outputs(problem.parameters, next(problem.batches(0, 1)).inputs)
    total = sum(work for _, work in calls)
    found: dict[str, Use] = {}
    after = total
    for number, (mine, work) in enumerate(calls):
        for name in mine:
            found[name] = Use(found[name].share if name in found else after / total, number)
        after -= work
    return found


def _multiplications(module: nn.Module, output: Any) -> float:
    """Those of a linear layer or a convolution; of others a size that is never 0."""
    weight = module._parameters.get("weight")
    if isinstance(output, Tensor) and weight is not None:
        inputs = weight[0].numel() if isinstance(module, nn.Linear | nn.modules.conv._ConvNd) else 1
        return float(output.numel() * inputs)
    return float(sum(p.numel() for p in module._parameters.values() if p is not None))
