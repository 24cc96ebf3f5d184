"""Wide residual networks: few, wide blocks with normalisation before each convolution, and dropout within."""

from __future__ import annotations

from collections import OrderedDict
from functools import partial

from torch import Tensor, nn

from landscape.models.initialisation import initialise
from landscape.models.spec import CHANNELS, CLASSES, DROPOUT, WIDTH, ModelFamily

_KINDS = ((16, 8), (28, 10))


class WideBlock(nn.Module):
    """y = conv(drop(relu(bn(conv(a))))) + shortcut, with a = relu(bn(x)).

    The shortcut is x where shapes agree, else a 1x1 convolution of a.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.relu1 = nn.ReLU()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.relu2 = nn.ReLU()
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        same = stride == 1 and inputs == outputs
        self.shortcut = None if same else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """N x inputs x S x S -> N x outputs x ceil(S / stride) x ceil(S / stride)."""
        a = self.relu1(self.bn1(x))
        inner = self.conv2(self.dropout(self.relu2(self.bn2(self.conv1(a)))))
        y: Tensor = inner + (x if self.shortcut is None else self.shortcut(a))
        return y


class WideResNet(nn.Module):
    """A 3x3 stem, three stages of n blocks (the later two halve the side), bn, relu, mean over pixels, classifier.

    N x C x S x S -> N x classes; `depth` is 6n + 4, the stages have 16, 32 and 64 channels times `widening` and
    `width`, the stem 16 times `width`. Names: conv1, layer1.0.bn1 ..., bn, linear.
    """

    def __init__(self, *, depth: int, widening: int, classes: int, channels: int, width: float, dropout: float) -> None:
        super().__init__()
        n, rest = divmod(depth - 4, 6)
        assert rest == 0, f"a depth of this family is 6n + 4, not {depth}"
        inputs = max(1, round(16 * width))
        self.conv1 = nn.Conv2d(channels, inputs, 3, padding=1, bias=False)
        stages: OrderedDict[str, nn.Module] = OrderedDict()
        for stage, base in enumerate((16, 32, 64), start=1):
            outputs = max(1, round(base * widening * width))
            blocks = []
            for number in range(n):
                blocks.append(WideBlock(inputs, outputs, 2 if stage > 1 and number == 0 else 1, dropout))
                inputs = outputs
            stages[f"layer{stage}"] = nn.Sequential(*blocks)
        self.stages = tuple(stages)
        for name, layer in stages.items():
            self.add_module(name, layer)
        self.bn = nn.BatchNorm2d(inputs)
        self.relu = nn.ReLU()
        self.linear = nn.Linear(inputs, classes)
        initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        """Logits, N x classes, of images, N x C x S x S."""
        x: Tensor = self.conv1(images)
        for name in self.stages:
            x = self.get_submodule(name)(x)
        logits: Tensor = self.linear(self.relu(self.bn(x)).mean((2, 3)))
        return logits


FAMILIES = tuple(
    ModelFamily(
        name=f"wrn{depth}-{widening}",
        build=partial(WideResNet, depth=depth, widening=widening),
        options={"classes": CLASSES, "channels": CHANNELS, "width": WIDTH, "dropout": DROPOUT},
        minimum_size=8,
        reference=(
            "Zagoruyko & Komodakis 2016 (arXiv:1605.07146), table 1, blocks B(3,3) with normalisation first; their "
            "dropout is 0.3 on CIFAR and 0.4 on SVHN"
        ),
    )
    for depth, widening in _KINDS
)
