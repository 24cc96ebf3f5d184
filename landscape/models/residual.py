"""The body of the residual networks: blocks of two or three convolutions, both shortcuts, and stages of blocks."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

from torch import Tensor, nn
from torch.nn import functional

from landscape.models.initialisation import initialise


class PaddingShortcut(nn.Module):
    """Option A of He et al. 2016: every `stride`-th pixel, and zeros for the channels that are added; no parameters.

    Zero channels go half before and half after; of an odd number the one more goes after.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.before = (outputs - inputs) // 2
        self.after = outputs - inputs - self.before

    def forward(self, x: Tensor) -> Tensor:
        """N x inputs x S x S -> N x outputs x ceil(S / stride) x ceil(S / stride)."""
        return functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.before, self.after))


def _projection(inputs: int, outputs: int, stride: int) -> nn.Module:
    """Option B of He et al. 2016: a 1x1 convolution and batch normalisation."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))


# Made from inputs, outputs and stride.
Shortcut = Callable[[int, int, int], nn.Module]

_SHORTCUTS: dict[str, Shortcut] = {"pad": PaddingShortcut, "projection": _projection}
SHORTCUTS = tuple(_SHORTCUTS)


class BasicBlock(nn.Module):
    """y = relu(bn(conv(relu(bn(conv(x))))) + shortcut(x)); the shortcut is the identity where shapes agree."""

    def __init__(self, inputs: int, outputs: int, stride: int, shortcut: Shortcut) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if same else shortcut(inputs, outputs, stride)
        self.relu2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """N x inputs x S x S -> N x outputs x ceil(S / stride) x ceil(S / stride)."""
        inner = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        y: Tensor = self.relu2(inner + self.shortcut(x))
        return y


class Bottleneck(nn.Module):
    """y = relu(bn(conv1x1(relu(bn(conv3x3(relu(bn(conv1x1(x)))))))) + shortcut(x)); a quarter of the outputs within.

    The stride is that of the 3x3 convolution (the paper has it in the first 1x1): torchvision's form, "v1.5".
    """

    def __init__(self, inputs: int, outputs: int, stride: int, shortcut: Shortcut) -> None:
        super().__init__()
        inner = max(1, outputs // 4)
        self.conv1 = nn.Conv2d(inputs, inner, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(inner, inner, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.relu2 = nn.ReLU()
        self.conv3 = nn.Conv2d(inner, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if same else shortcut(inputs, outputs, stride)
        self.relu3 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """N x inputs x S x S -> N x outputs x ceil(S / stride) x ceil(S / stride)."""
        inner = self.relu2(self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x))))))
        y: Tensor = self.relu3(self.bn3(self.conv3(inner)) + self.shortcut(x))
        return y


Block = Callable[[int, int, int, Shortcut], nn.Module]


def build_stages(
    blocks: Sequence[int], sizes: Sequence[int], inputs: int, *, block: Block, shortcut: Shortcut
) -> OrderedDict[str, nn.Module]:
    """`layer1` ...: stage i has blocks[i] blocks of sizes[i] channels; every stage after the first halves the side."""
    stages: OrderedDict[str, nn.Module] = OrderedDict()
    for stage, (count, outputs) in enumerate(zip(blocks, sizes, strict=True), start=1):
        layers = []
        for number in range(count):
            layers.append(block(inputs, outputs, 2 if stage > 1 and number == 0 else 1, shortcut))
            inputs = outputs
        stages[f"layer{stage}"] = nn.Sequential(*layers)
    return stages


class ResidualNetwork(nn.Module):
    """A 3x3 stem, stages of blocks (every stage after the first halves the side), mean over pixels, classifier.

    N x C x S x S -> N x classes. Stage i has blocks[i] blocks of round(stage_channels[i] * width) channels, times
    `expansion` at their outputs. Names: conv1, bn1, layer1.0.conv1 ..., linear.
    """

    def __init__(
        self,
        *,
        blocks: Sequence[int],
        stage_channels: Sequence[int],
        classes: int,
        channels: int,
        width: float,
        shortcut: str,
        block: Block = BasicBlock,
        expansion: int = 1,
    ) -> None:
        super().__init__()
        sizes = [max(1, round(base * width)) for base in stage_channels]
        self.conv1 = nn.Conv2d(channels, sizes[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(sizes[0])
        self.relu = nn.ReLU()
        outputs = [expansion * size for size in sizes]
        stages = build_stages(blocks, outputs, sizes[0], block=block, shortcut=_SHORTCUTS[shortcut])
        self.stages = tuple(stages)
        for name, layer in stages.items():
            self.add_module(name, layer)
        self.linear = nn.Linear(outputs[-1], classes)
        initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        """Logits, N x classes, of images, N x C x S x S."""
        x: Tensor = self.relu(self.bn1(self.conv1(images)))
        for name in self.stages:
            x = self.get_submodule(name)(x)
        logits: Tensor = self.linear(x.mean((2, 3)))
        return logits
