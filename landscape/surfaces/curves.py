"""A quadratic Bezier curve between two networks, trained to keep the loss low on its way.

    theta(t) = (1 - t)^2 A + 2 t (1 - t) C + t^2 B,   C = argmin E_{t ~ U(0,1)} L(theta(t))

A and B are the two networks; C starts in their middle, where the curve is the straight line.

Reference: Garipov et al. 2018, "Loss surfaces, mode connectivity, and fast ensembling of DNNs", section 3.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from landscape.problem import Problem
from landscape.work import charge

Named = Mapping[str, Tensor]
BATCH = 128
_KEY = 1_000_104


def bezier(start: Named, control: Named, end: Named, t: float) -> dict[str, Tensor]:
    """theta(t), by name."""
    return {name: (1 - t) ** 2 * a + 2 * t * (1 - t) * control[name] + t**2 * end[name] for name, a in start.items()}


def train_control(
    problem: Problem,
    start: Named,
    end: Named,
    *,
    steps: int = 300,
    rate: float = 0.001,
    seed: int = 0,
    on_step: Callable[[int, float], None] | None = None,
) -> dict[str, Tensor]:
    """Train C by Adam: each step takes one t and one batch of 128 consecutive samples of the problem.

    Args:
        problem: gives the samples and the loss; with bn="train" the statistics are the batch's, as the authors train.
        start, end: A and B over the problem's parameters.
        steps: of Adam.
        rate: its learning rate.
        seed: decides the t and the order of the batches.
        on_step: hears (steps done, loss of the batch).

    Returns:
        C by name. Cost: steps x 128 / N gradient-equivalents.
    """
    control = {name: (0.5 * (a + end[name])).detach().clone().requires_grad_() for name, a in start.items()}
    optimizer = torch.optim.Adam(control.values(), lr=rate)
    draws = np.random.default_rng(np.random.SeedSequence([seed, _KEY]))
    batches = list(problem.batches(0, len(problem), size=BATCH))
    order: list[int] = []
    for step in range(steps):
        order = order or draws.permutation(len(batches)).tolist()
        batch = batches[order.pop()]
        weight = float(batch.weights.sum()) or 1.0
        theta = bezier(start, control, end, float(draws.random()))
        loss = (problem.losses(theta, batch) * batch.weights).sum() / weight
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        charge("gradient", len(batch))
        if on_step is not None:
            on_step(step + 1, float(loss.detach()))
    return {name: tensor.detach() for name, tensor in control.items()}
