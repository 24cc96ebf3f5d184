"""What the two-phase schedule asks of a network: the largest eigenvalue of its last weight layer, as a callback.

Here because training and measures never meet: the loop gets a function of the model.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from landscape.curvature.last_layer import LastLayer, top_eigenvalue
from landscape.training.schedules.two_phase import TopEigenvalue


def last_layer_eigenvalue(model: nn.Module, inputs: Tensor, *, batch: int, seed: int, rows: int) -> TopEigenvalue:
    """A function model -> top Hessian eigenvalue of its last weight layer on one large batch.

    Args:
        model: the network that the function will be asked about.
        inputs: the training split, (N, ...).
        batch: samples, drawn from `seed` once for the whole run.
        seed: of the samples and of the power iteration's start.
        rows: samples a forward pass.

    Raises:
        OptionError: the network does not end in a linear layer.
    """
    layer = LastLayer(model, inputs[:2])
    order = torch.randperm(inputs.shape[0], generator=torch.Generator().manual_seed(seed))
    chosen = order[:batch].sort().values.to(inputs.device)

    def ask(trained: nn.Module) -> float:
        parts = [layer.features_and_logits(trained, inputs[part]) for part in torch.split(chosen, rows)]
        features, logits = (torch.cat(pieces) for pieces in zip(*parts, strict=True))
        return top_eigenvalue(features, logits, seed=seed)

    return ask
