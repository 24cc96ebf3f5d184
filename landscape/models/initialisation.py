"""How the weights of the registered networks start."""

from __future__ import annotations

import math

from torch import nn


def initialise(network: nn.Module, hidden_gain: float = math.sqrt(2)) -> None:
    """Draw every weight so that activations keep their variance from layer to layer in the forward direction.

    A convolution or hidden linear layer with `n` inputs to each unit: N(0, gain^2/n), with gain^2 = 2 before a ReLU
    (He, Zhang, Ren & Sun 2015, "Delving Deep into Rectifiers", arXiv:1502.01852, eq. 10). The last linear layer, the
    classifier, feeds no ReLU: N(0, 1/n) (eq. 10 without the rectifier's factor 2). Biases and beta 0, gamma 1.
    """
    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    for layer in layers:
        inputs = layer.weight[0].numel()
        gain = 1.0 if layer is layers[-1] else hidden_gain
        nn.init.normal_(layer.weight, 0.0, gain / math.sqrt(inputs))
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
    for norm in (m for m in network.modules() if isinstance(m, nn.BatchNorm2d)):
        nn.init.ones_(norm.weight)
        nn.init.zeros_(norm.bias)
