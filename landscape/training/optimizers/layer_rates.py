"""Gradient descent with a rate of each tensor from a statistic of its weights and gradient.

    d = g + lambda theta,   s_l = statistic(theta_l, d_l)
    theta_l <- theta_l - gamma s_l d_l       for each tensor l

A tensor whose statistic is 0 or not finite (a shift that starts at 0) takes the median of the other tensors'
statistics, else it would never move; where no tensor has one, it is 1. *Our reading*: the paper names the failure
(CB, after equation 24) and leaves the remedy open.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, optim

from landscape.training.optimizers.family import Parameters

# (theta, d) of a tensor -> a tensor without axes
Statistic = Callable[[Tensor, Tensor], Tensor]


def complete(statistics_T: Tensor) -> Tensor:
    """Put the median of the statistics that are positive and finite in place of the others; 1 if there are none.

    Of an even number the median is the lower of the two in the middle, as everywhere in torch.
    """
    good_T = torch.isfinite(statistics_T) & (statistics_T > 0)
    median = torch.nanmedian(torch.where(good_T, statistics_T, torch.nan))
    return torch.where(good_T, statistics_T, torch.where(torch.isnan(median), 1.0, median))


class LayerRateDescent(optim.Optimizer):
    """Descent along d with the rate gamma s_l; no state.

    Args:
        parameters: or groups of them; the median is over the tensors of all groups.
        statistic: s_l before it is completed.
        cap: the largest s_l, None for no bound.
        lr: gamma.
        weight_decay: lambda.
    """

    def __init__(
        self, parameters: Parameters, statistic: Statistic, *, cap: float | None, lr: float, weight_decay: float
    ) -> None:
        super().__init__(parameters, {"lr": lr, "weight_decay": weight_decay})
        self._statistic = statistic
        self._cap = cap

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Take a step along `.grad`; tensors without one stay."""
        assert closure is None, "the gradient is computed before the step"
        moves = [
            (theta, theta.grad + group["weight_decay"] * theta, group["lr"])
            for group in self.param_groups
            for theta in group["params"]
            if theta.grad is not None
        ]
        if not moves:
            return
        statistics_T = complete(torch.stack([self._statistic(theta, d) for theta, d, _ in moves]))
        if self._cap is not None:
            statistics_T = statistics_T.clamp(max=self._cap)
        for (theta, d, lr), s in zip(moves, statistics_T.unbind(), strict=True):
            theta.sub_(s * d, alpha=lr)
