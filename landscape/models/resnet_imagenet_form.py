"""The residual networks that were made for ImageNet, in their CIFAR form: ResNet-18 and ResNet-34."""

from __future__ import annotations

from functools import partial

from landscape.models.residual import SHORTCUTS, ResidualNetwork
from landscape.models.spec import CHANNELS, CLASSES, WIDTH, ModelFamily, Option

# He et al. 2016, table 1: blocks in each of the four stages.
_BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}
_STAGE_CHANNELS = (64, 128, 256, 512)

FAMILIES = tuple(
    ModelFamily(
        name=f"resnet{depth}",
        build=partial(ResidualNetwork, blocks=blocks, stage_channels=_STAGE_CHANNELS),
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
        ),
    )
    for depth, blocks in _BLOCKS.items()
)
