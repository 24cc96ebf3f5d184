"""Fully connected networks."""

from __future__ import annotations

import math
from collections import OrderedDict

from torch import nn

from landscape.models.initialisation import initialise
from landscape.models.spec import CHANNELS, CLASSES, ModelFamily, Option

# Each with the gain that keeps the variance (He 2015; tanh: the customary 5/3; GELU is close to a ReLU).
_ACTIVATIONS: dict[str, tuple[type[nn.Module], float]] = {
    "relu": (nn.ReLU, math.sqrt(2)),
    "tanh": (nn.Tanh, 5 / 3),
    "gelu": (nn.GELU, math.sqrt(2)),
    "linear": (nn.Identity, 1.0),
}


class MLP(nn.Sequential):
    """f(x) = W_d a(W_{d-1} ... a(W_1 x + b_1) ...) + b_d on the flattened image; N x C x S x S -> N x classes.

    Layers are named linear1 ... linear{depth}. `depth` counts weight layers: with 1 the network is linear.
    """

    def __init__(
        self, *, classes: int, channels: int, size: int, width: int, depth: int, bias: bool, activation: str
    ) -> None:
        kind, gain = _ACTIVATIONS[activation]
        sides = [channels * size**2, *[width] * (depth - 1), classes]
        layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
        for i in range(1, depth + 1):
            layers[f"linear{i}"] = nn.Linear(sides[i - 1], sides[i], bias=bias)
            if i < depth:
                layers[f"activation{i}"] = kind()
        super().__init__(layers)
        initialise(self, gain)


FAMILIES = (
    ModelFamily(
        name="mlp",
        build=MLP,
        options={
            "classes": CLASSES,
            "channels": CHANNELS,
            "size": Option(int, None, "side of the input images, in pixels; from the data if not given"),
            "width": Option(int, 128, "units of each hidden layer"),
            "depth": Option(int, 3, "number of weight layers; 1 is a linear network"),
            "bias": Option(bool, True, "whether the layers have biases"),
            "activation": Option(str, "relu", "between the layers", tuple(_ACTIVATIONS)),
        },
        minimum_size=1,
        reference="fully connected network; He et al. 2015 (arXiv:1502.01852) for its initial weights",
    ),
)
