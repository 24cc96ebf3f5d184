"""The residual networks that were made for ImageNet, in their CIFAR form: ResNet-18, ResNet-34 and ResNet-50."""

from __future__ import annotations

from functools import partial

from landscape.models.residual import SHORTCUTS, BasicBlock, Block, Bottleneck, ResidualNetwork
from landscape.models.spec import CHANNELS, CLASSES, WIDTH, ModelFamily, Option

# He et al. 2016, table 1: blocks in each of the four stages, their kind, and how much wider their outputs are.
_KINDS: dict[int, tuple[tuple[int, ...], Block, int]] = {
    18: ((2, 2, 2, 2), BasicBlock, 1),
    34: ((3, 4, 6, 3), BasicBlock, 1),
    50: ((3, 4, 6, 3), Bottleneck, 4),
}
STAGE_CHANNELS = (64, 128, 256, 512)

FAMILIES = tuple(
    ModelFamily(
        name=f"resnet{depth}",
        build=partial(ResidualNetwork, blocks=blocks, stage_channels=STAGE_CHANNELS, block=block, expansion=expansion),
        options={
            "classes": CLASSES,
            "channels": CHANNELS,
            "width": WIDTH,
            "shortcut": Option(str, "projection", "where shapes change: option A or B of the paper", SHORTCUTS),
        },
        minimum_size=8,
        reference=(
            "He, Zhang, Ren & Sun 2016 (arXiv:1512.03385), table 1; CIFAR form: a 3x3 stem of stride 1 in place of "
            "7x7 of stride 2, no max pooling, shortcuts B"
            + ("; the stride of a bottleneck in its 3x3 convolution" if block is Bottleneck else "")
        ),
    )
    for depth, (blocks, block, expansion) in _KINDS.items()
)
