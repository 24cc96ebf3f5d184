"""The residual networks that were made for CIFAR: ResNet-20 and its family."""

from __future__ import annotations

from functools import partial

from landscape.models.residual import SHORTCUTS
from landscape.models.spec import CHANNELS, CLASSES, WIDTH, ModelFamily, Option
from landscape.models.unnormalised import BN, residual_network

_DEPTHS = (8, 20, 32, 44, 56, 110)
_STAGE_CHANNELS = (16, 32, 64)


def _blocks(depth: int) -> tuple[int, int, int]:
    """Depth 6n + 2: three stages of n blocks of two convolutions, the stem and the classifier."""
    n, rest = divmod(depth - 2, 6)
    assert rest == 0, f"a depth of this family is 6n + 2, not {depth}"
    return n, n, n


FAMILIES = tuple(
    ModelFamily(
        name=f"resnet{depth}",
        build=partial(residual_network, blocks=_blocks(depth), stage_channels=_STAGE_CHANNELS),
        options={
            "classes": CLASSES,
            "channels": CHANNELS,
            "width": WIDTH,
            "shortcut": Option(str, "pad", "where shapes change: option A or B of the paper", SHORTCUTS),
            "bn": BN,
        },
        minimum_size=8,
        reference="He, Zhang, Ren & Sun 2016 (arXiv:1512.03385), section 4.2; 16, 32 and 64 channels, shortcuts A",
    )
    for depth in _DEPTHS
)
