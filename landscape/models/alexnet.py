"""AlexNet in a CIFAR form."""

from __future__ import annotations

from torch import Tensor, nn

from landscape.models.initialisation import initialise
from landscape.models.spec import CHANNELS, CLASSES, WIDTH, ModelFamily, Option

# Outputs of the five convolutions, and after which of them a pooling follows.
_CHANNELS = (64, 192, 384, 256, 256)
_POOLED = (0, 1, 4)
_UNITS = 4096
_SIDE = 2


class AlexNet(nn.Module):
    """Five 3x3 convolutions with three 2x2 max poolings, then three linear layers; needs S >= 32.

    N x C x S x S -> N x classes. The stem has stride 2, so that 2x2 pixels are left of 32x32; where more are left
    (S >= 48) they are averaged to 2x2. Names are torchvision's: features.0 ... and classifier.1 ...
    """

    def __init__(self, *, classes: int, channels: int, width: float, dropout: float) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = channels
        for number, base in enumerate(_CHANNELS):
            outputs = max(1, round(base * width))
            layers += [nn.Conv2d(inputs, outputs, 3, 2 if number == 0 else 1, padding=1), nn.ReLU()]
            if number in _POOLED:
                layers.append(nn.MaxPool2d(2))
            inputs = outputs
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(_SIDE)
        units = max(1, round(_UNITS * width))
        self.classifier = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(inputs * _SIDE**2, units),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(units, units),
            nn.ReLU(),
            nn.Linear(units, classes),
        )
        initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        """Logits, N x classes, of images, N x C x S x S."""
        logits: Tensor = self.classifier(self.pool(self.features(images)).flatten(1))
        return logits


FAMILIES = (
    ModelFamily(
        name="alexnet",
        build=AlexNet,
        options={
            "classes": CLASSES,
            "channels": CHANNELS,
            "width": WIDTH,
            "dropout": Option(float, 0.5, "share of the inputs of each hidden linear layer set to 0", share=True),
        },
        minimum_size=32,
        reference=(
            "Krizhevsky 2014, One weird trick (arXiv:1404.5997), one column, as in torchvision; CIFAR form: a 3x3 stem "
            "of stride 2 in place of 11x11 of stride 4, 3x3 in place of 5x5, poolings of 2x2, a classifier of "
            "1024-4096-4096"
        ),
    ),
)
