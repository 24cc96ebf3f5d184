"""ResNet-50-D: the ImageNet network with the stem, the strides and the shortcuts of the "bag of tricks"."""

from __future__ import annotations

from torch import Tensor, nn

from landscape.models.initialisation import initialise
from landscape.models.residual import Bottleneck, build_stages
from landscape.models.spec import CHANNELS, CLASSES, WIDTH, ModelFamily, Option

_BLOCKS = (3, 4, 6, 3)
_STAGE_CHANNELS = (64, 128, 256, 512)


def _averaged_projection(inputs: int, outputs: int, stride: int) -> nn.Module:
    """2x2 average pooling of the stride, then a 1x1 convolution of stride 1 and batch normalisation.

    Of an odd side the last pixels are averaged by themselves.
    """
    pool = nn.AvgPool2d(2, stride, ceil_mode=True, count_include_pad=False) if stride > 1 else nn.Identity()
    return nn.Sequential(pool, nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs))


class ResNetD(nn.Module):
    """A stem of three 3x3 convolutions, max pooling, four stages of bottlenecks, mean over pixels, classifier.

    N x C x S x S -> N x classes; the side is S/4 in the first stage and S/32 in the last. With `zero_gamma` the last
    scale of each block starts at 0, so that every block starts as its shortcut. Names: stem.0 ..., layer1.0.conv1
    ..., linear.
    """

    def __init__(self, *, classes: int, channels: int, width: float, zero_gamma: bool) -> None:
        super().__init__()
        sizes = [max(1, round(base * width)) for base in _STAGE_CHANNELS]
        half = max(1, sizes[0] // 2)
        stem: list[nn.Module] = []
        for inputs, outputs, stride in ((channels, half, 2), (half, half, 1), (half, sizes[0], 1)):
            stem += [nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
        self.stem = nn.Sequential(*stem)
        self.pool = nn.MaxPool2d(3, 2, padding=1)
        stages = build_stages(
            _BLOCKS, [4 * size for size in sizes], sizes[0], block=Bottleneck, shortcut=_averaged_projection
        )
        self.stages = tuple(stages)
        for name, layer in stages.items():
            self.add_module(name, layer)
        self.linear = nn.Linear(4 * sizes[-1], classes)
        initialise(self)
        if zero_gamma:
            for block in self.modules():
                if isinstance(block, Bottleneck):
                    nn.init.zeros_(block.bn3.weight)

    def forward(self, images: Tensor) -> Tensor:
        """Logits, N x classes, of images, N x C x S x S."""
        x: Tensor = self.pool(self.stem(images))
        for name in self.stages:
            x = self.get_submodule(name)(x)
        logits: Tensor = self.linear(x.mean((2, 3)))
        return logits


FAMILIES = (
    ModelFamily(
        name="resnet50-d",
        build=ResNetD,
        options={
            "classes": CLASSES,
            "channels": CHANNELS,
            "width": WIDTH,
            "zero_gamma": Option(bool, False, "whether the last scale of each block starts at 0 (their section 3.1)"),
        },
        minimum_size=32,
        reference=(
            "He, Zhang, Zhang, Zhang, Xie & Li 2019, Bag of Tricks (arXiv:1812.01187), section 4, ResNet-D; made for "
            "images of 224x224"
        ),
    ),
)
