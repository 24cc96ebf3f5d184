"""What the two-phase schedule asks of a network: the largest eigenvalue of its last weight layer, as a callback.

Here because training and measures never meet: the loop gets a function of the model.
"""

from __future__ import annotations

import torch
from torch import nn

from landscape.curvature.last_layer import LastLayer, top_eigenvalue
from landscape.training.samples import Samples, first_inputs
from landscape.training.schedules.two_phase import TopEigenvalue


def last_layer_eigenvalue(model: nn.Module, samples: Samples, *, batch: int, seed: int, rows: int) -> TopEigenvalue:
    """A function model -> top Hessian eigenvalue of its last weight layer on one large batch.

    Args:
        model: the network that the function will be asked about.
        samples: the training split.
        batch: samples, drawn from `seed` once for the whole run.
        seed: of the samples and of the power iteration's start.
        rows: samples a forward pass.

    Raises:
        OptionError: the network does not end in a linear layer.
    """
    layer = LastLayer(model, first_inputs(samples, 2))
    order = torch.randperm(len(samples), generator=torch.Generator().manual_seed(seed))
    chosen = order[:batch].sort().values

    def ask(trained: nn.Module) -> float:
        parts = [layer.features_and_logits(trained, inputs) for inputs, _ in samples.batches(rows, chosen)]
        features, logits = (torch.cat(pieces) for pieces in zip(*parts, strict=True))
        return top_eigenvalue(features, logits, seed=seed)

    return ask
