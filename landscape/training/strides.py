"""How far steps go: the mean change of a parameter, and the loss that it gains to first order.

    parameter stride   E_i |dw_i|,        dw the change of the weights in a step
    loss stride        E_i (-dw_i g_i),   g the gradient that the step was taken with

means over the parameters i of a group and over steps. For plain gradient descent they are eta E|g_i| and eta E g_i^2.
Where an optimizer keeps momentum or decays, dw is what the weights did all the same, and a loss stride may be negative.

Reference: arXiv:2012.08795, equations 6 to 8, figures 4 to 7.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Stride:
    """Means over the parameters of a group and the steps since the last moment."""

    parameter: float
    loss: float


class Strides:
    """Sums of the strides by tensor; kept on the device, so that no step waits for it.

    Args:
        parameters: by name; they are read where they are. `.grad` is that of the step, as it left it.

    Memory: a copy of the parameters.
    """

    def __init__(self, parameters: Mapping[str, Tensor]) -> None:
        self._parameters = dict(parameters)
        self._before: dict[str, Tensor] = {}
        self._sums: dict[str, Tensor] = {}
        self._steps = 0

    @torch.no_grad()
    def begin(self) -> None:
        """Forget what was summed; the next step starts from the weights as they are."""
        for name, parameter in self._parameters.items():
            if name in self._before:
                self._before[name].copy_(parameter)
            else:
                self._before[name] = parameter.detach().clone()
        self._sums = {name: parameter.new_zeros(2) for name, parameter in self._parameters.items()}
        self._steps = 0

    @torch.no_grad()
    def step(self) -> None:
        """Add the step that was just taken. Without `begin` before it there is nothing to compare with."""
        if not self._before:
            return
        for name, parameter in self._parameters.items():
            change = parameter.detach() - self._before[name]
            self._sums[name][0] += change.abs().sum()
            if parameter.grad is not None:
                self._sums[name][1] -= (change * parameter.grad).sum()
            self._before[name].copy_(parameter)
        self._steps += 1

    def means(self, groups: Mapping[str, Sequence[str]]) -> dict[str, Stride]:
        """The strides of each group of parameter names; empty without a step. One synchronisation a tensor."""
        if self._steps == 0:
            return {}
        sums = {name: total.tolist() for name, total in self._sums.items()}
        result = {}
        for group, names in groups.items():
            count = self._steps * sum(self._parameters[name].numel() for name in names)
            moved, gained = (sum(sums[name][i] for name in names) for i in (0, 1))
            result[group] = Stride(moved / count, gained / count)
        return result
