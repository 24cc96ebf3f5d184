"""How decay enters a step, apart from what is decayed.

With lambda_i of tensor i, eta the step's learning rate and theta the weights before the step:

    coupled      g_i <- g_i + lambda_i theta_i before the optimizer sees the gradient
    decoupled    theta_i <- (the optimizer's theta_i) - eta lambda_i theta_i
    own (None)   the optimizer's own weight decay, with lambda_i in place of its one lambda: SGD couples it, AdamW
                 decouples it, LAMB adds it inside the trust ratio

In the first two the optimizer's own decay is 0. A tensor without a gradient is not decayed, as in PyTorch.

Cost: one pass over the decayed tensors (coupled: two). Decoupled holds a copy of them during the step. Adaptive decay
by the optimizer's own way waits for the device once a step: an optimizer takes its lambda as a number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn, optim

from landscape.training.decay.adaptive_beta import chosen, connectivities, ratios
from landscape.training.decay.plan import DecayPlan
from landscape.training.passes import nothing

Mode = Literal["coupled", "decoupled"] | None


class Decay:
    """The decay of one run: enters each step, and remembers which tensors each step decayed."""

    def __init__(self, plan: DecayPlan, mode: Mode, model: nn.Module, optimizer: optim.Optimizer) -> None:
        """Give `optimizer` one group of parameters for each lambda.

        Args:
            plan: what is decayed.
            mode: how it enters.
            model: whose parameters `optimizer` has.
            optimizer: fresh or about to be restored; its groups must not yet hold different settings.
        """
        self._plan, self._mode = plan, mode
        named = dict(model.named_parameters())
        self._names = [name for name, parameter in named.items() if parameter.requires_grad]
        self._fixed = [(named[name], strength) for name, strength in plan.fixed.items()]
        self._betas: list[nn.Parameter] = [named[layer.beta] for layer in plan.layers]
        self._gammas: list[nn.Parameter] = [named[layer.gamma] for layer in plan.layers]
        self._chosen: list[Tensor] = []
        self._ratios: list[Tensor] = []
        own = mode is None
        strengths = {id(named[name]): strength for name, strength in plan.fixed.items()} if own else {}
        self._optimizer = optimizer
        _regroup(optimizer, strengths, self._betas if own else [])

    @contextmanager
    def applied(self, lr: float) -> Iterator[Callable[[], None]]:
        """Decay around the optimizer's step, which the block takes; `lr` is the step's learning rate.

        Yields:
            What the block calls when `.grad` is the gradient to step along: adds coupled decay to it.
        """
        chosen_L = self._choose()
        match self._mode:
            case "coupled":
                yield partial(self._couple, chosen_L)
            case "decoupled":
                tensors, drops = self._terms(chosen_L, lr)
                yield nothing
                if tensors:
                    with torch.no_grad():
                        torch._foreach_sub_(tensors, drops)
            case None:
                if chosen_L is not None:
                    for group, on in zip(self._beta_groups(), chosen_L.tolist(), strict=True):
                        group["weight_decay"] = self._plan.strength if on else 0.0
                yield nothing

    def take_steps(self, first: int) -> list[dict[str, Any]]:
        """The lambda of every trained tensor in the steps since the last call, of which the oldest is step `first`.

        Returns:
            A row a step, of `step` (from 1) and a lambda by tensor name; where every step is the same, the first only.

        Cost: one synchronisation with the device.
        """
        rest = {name: self._plan.fixed.get(name, 0.0) for name in self._names}
        if not self._plan.layers:
            return [{"step": first, **rest}]
        steps = torch.stack(self._chosen).tolist() if self._chosen else []
        self._chosen.clear()
        names = [layer.beta for layer in self._plan.layers]
        return [
            {"step": step, **rest, **{n: self._plan.strength * on for n, on in zip(names, row, strict=True)}}
            for step, row in enumerate(steps, start=first)
        ]

    def take_ratios(self, first: int) -> list[dict[str, Any]]:
        """The r_l of the adaptive layers in the steps since the last call, of which the oldest is step `first`.

        Returns:
            A row a step, of `step` (from 1) and r_l under the name of the layer's beta.

        Cost: one synchronisation with the device.
        """
        steps = torch.stack(self._ratios).tolist() if self._ratios else []
        self._ratios.clear()
        names = [layer.beta for layer in self._plan.layers]
        return [{"step": step, **dict(zip(names, row, strict=True))} for step, row in enumerate(steps, start=first)]

    def _beta_groups(self) -> list[dict[str, Any]]:
        # Asked for at each step: an optimizer that takes over a saved state makes its groups anew.
        return self._optimizer.param_groups[-len(self._betas) :]

    @torch.no_grad()
    def _choose(self) -> Tensor | None:
        """Which of the L adaptive layers this step decays; from the gradients before any decay."""
        if not self._plan.layers:
            return None
        c_beta_L = connectivities(self._betas, _gradients(self._betas))
        c_gamma_L = connectivities(self._gammas, _gradients(self._gammas))
        r_L = ratios(c_beta_L, c_gamma_L)
        chosen_L = chosen(r_L, self._plan.threshold)
        self._chosen.append(chosen_L)
        self._ratios.append(r_L)
        return chosen_L

    @torch.no_grad()
    def _couple(self, chosen_L: Tensor | None) -> None:
        tensors, terms = self._terms(chosen_L, 1.0)
        if tensors:
            torch._foreach_add_(_gradients(tensors), terms)

    @torch.no_grad()
    def _terms(self, chosen_L: Tensor | None, scale: float) -> tuple[list[Tensor], list[Tensor]]:
        """The decayed tensors and `scale` lambda_i theta_i of each."""
        fixed = [(parameter, scale * strength) for parameter, strength in self._fixed if parameter.grad is not None]
        tensors: list[Tensor] = [parameter for parameter, _ in fixed]
        terms = list(torch._foreach_mul(tensors, [strength for _, strength in fixed])) if fixed else []
        if chosen_L is not None:
            strength_L = (scale * self._plan.strength) * chosen_L.to(self._betas[0].dtype)
            tensors += self._betas
            terms += [strength * beta for strength, beta in zip(strength_L, self._betas, strict=True)]
        return tensors, terms


def _gradients(tensors: list[Any]) -> list[Tensor]:
    """The gradients; zeros where there is none."""
    return [tensor.grad if tensor.grad is not None else torch.zeros_like(tensor) for tensor in tensors]


def _regroup(optimizer: optim.Optimizer, strengths: dict[int, float], alone: list[nn.Parameter]) -> None:
    """Split each group of `optimizer` by lambda, in place; those of `alone` come last, a group each, in that order."""
    single = {id(parameter): place for place, parameter in enumerate(alone)}
    last: dict[int, dict[str, Any]] = {}
    groups: list[dict[str, Any]] = []
    for group in optimizer.param_groups:
        settings = {name: value for name, value in group.items() if name not in ("params", "weight_decay")}
        by_strength: dict[float, list[nn.Parameter]] = {}
        for parameter in group["params"]:
            if id(parameter) in single:
                last[single[id(parameter)]] = {"params": [parameter], **settings, "weight_decay": 0.0}
            else:
                by_strength.setdefault(strengths.get(id(parameter), 0.0), []).append(parameter)
        groups += [
            {"params": members, **settings, "weight_decay": strength} for strength, members in by_strength.items()
        ]
    optimizer.param_groups[:] = [*groups, *(last[place] for place in sorted(last))]
