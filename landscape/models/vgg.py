"""VGG networks in the CIFAR form."""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn

from landscape.models.initialisation import initialise
from landscape.models.spec import CHANNELS, CLASSES, WIDTH, ModelFamily, Option

# Simonyan & Zisserman 2015, table 1, columns A, B, D and E: convolutions in each of the five stages.
_STAGES = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
_STAGE_CHANNELS = (64, 128, 256, 512, 512)


class VGG(nn.Module):
    """3x3 convolutions in five stages, each ended by a 2x2 max pooling, then one linear classifier; needs S >= 32.

    N x C x S x S -> N x classes. Where more than one pixel is left after the last pooling (S >= 64) the classifier
    sees their mean. Names are those of the common form: features.0 ... and classifier.
    """

    def __init__(
        self, *, stages: tuple[int, ...], batch_norm: bool, classes: int, channels: int, width: float, bias: bool
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = channels
        for count, base in zip(stages, _STAGE_CHANNELS, strict=True):
            outputs = max(1, round(base * width))
            for _ in range(count):
                layers.append(nn.Conv2d(inputs, outputs, 3, padding=1, bias=bias))
                if batch_norm:
                    layers.append(nn.BatchNorm2d(outputs))
                layers.append(nn.ReLU())
                inputs = outputs
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(inputs, classes)
        initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        """Logits, N x classes, of images, N x C x S x S."""
        logits: Tensor = self.classifier(self.features(images).mean((2, 3)))
        return logits


_OPTIONS = {
    "classes": CLASSES,
    "channels": CHANNELS,
    "width": WIDTH,
    "bias": Option(bool, True, "whether the convolutions have biases (the common form keeps them also before BN)"),
}

FAMILIES = tuple(
    ModelFamily(
        name=f"vgg{depth}-bn" if batch_norm else f"vgg{depth}",
        build=partial(VGG, stages=stages, batch_norm=batch_norm),
        options=_OPTIONS,
        minimum_size=32,
        reference=(
            f"Simonyan & Zisserman 2015 (arXiv:1409.1556), table 1, {depth} layers{' with BN' if batch_norm else ''}; "
            "CIFAR form: one linear classifier in place of three"
        ),
    )
    for depth, stages in _STAGES.items()
    for batch_norm in (False, True)
)
