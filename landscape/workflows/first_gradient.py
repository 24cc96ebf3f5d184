"""The mean gradient of a layer at the first step, where the samples of small loss are left out (CB figure 9)."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from landscape.config.training import TrainConfig
from landscape.errors import NotApplicableError
from landscape.problem.load import load


def first_gradient(checkpoint: Path, config: TrainConfig) -> float:
    """Mean |dL/dw| over the weights of the second linear layer, on one batch of the training split.

    L is the mean of the losses that `config.discard` keeps: of the B samples of the batch all but the floor(p B)
    smallest. The batch is drawn by the seed; dropout does not act.

    Raises:
        NotApplicableError: the network has no second linear layer.

    Reference: CB section 3.1 and figure 9.
    """
    problem = load(checkpoint, samples=str(config.batch_size), seed=config.seed)
    layers = [name for name, module in problem.model.named_modules() if isinstance(module, nn.Linear)]
    if len(layers) < 2:
        raise NotApplicableError(f"{config.model} has {len(layers)} linear layers; the gradient is that of the second.")
    name = f"{layers[1]}.weight"
    theta = dict(problem.parameters)
    weight = theta[name].detach().requires_grad_()
    losses = torch.cat([problem.losses({**theta, name: weight}, batch) for batch in problem.batches()])
    kept = len(losses) - int((config.discard or 0.0) * len(losses))
    (gradient,) = torch.autograd.grad(losses.topk(kept).values.mean(), weight)
    return float(gradient.abs().mean())
