"""A residual network without batch normalisation, as in Three Mechanisms of Weight Decay Regularization, table 1."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from landscape.models.initialisation import initialise
from landscape.models.residual import ResidualNetwork
from landscape.models.spec import Option

BN = Option(bool, True, "whether convolutions are normalised by batch; without, they have biases")


def residual_network(*, bn: bool, **options: Any) -> ResidualNetwork:
    """A residual network, with batch normalisation or without.

    Without, every convolution has a bias in place of the normalisation's shift, and weights start as N(0, 1/n) with n
    inputs to a unit: from 2/n, as before a ReLU, the activations of 15 blocks that are added up would grow to hundreds
    (the authors' code starts without that factor too).
    """
    network = ResidualNetwork(**options)
    if not bn:
        for module in list(network.modules()):
            if isinstance(module, nn.Conv2d):
                module.bias = nn.Parameter(torch.zeros(module.out_channels))
            for name, child in module.named_children():
                if isinstance(child, nn.BatchNorm2d):
                    setattr(module, name, nn.Identity())
        initialise(network, hidden_gain=1.0)
    return network
