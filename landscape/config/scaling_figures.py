"""Figures of CB that show a gradient or a stride against batch size: what is trained, and at which sizes.

Figure 3 is the gradient of the first update step: nothing is trained, the initial networks are measured at every size.
Figures 4 and 7 are means over the steps of the first epoch: each size is trained for one epoch, by plain gradient
descent, so that a step is the rate times the gradient; both figures come from the same runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from landscape.config.recipe import validate
from landscape.config.training import TrainConfig

_FULL: Mapping[str, Any] = {"model": "alexnet", "data": "cifar10"}
_SMALL: Mapping[str, Any] = {"model": "mlp:depth=4", "data": "digits"}
_DOUBLING = tuple(32 * 2**k for k in range(11))


@dataclass(frozen=True)
class Scale:
    """One of the two variants.

    Attributes:
        settings: of the network and the data.
        layer: the first fully connected layer, over whose parameters the paper takes means.
        sizes: the batch sizes; 0 stands for all samples.
        seeds: runs of each size.
        samples: in the training split, for the list.
    """

    settings: Mapping[str, Any]
    layer: str
    sizes: tuple[int, ...]
    seeds: int
    samples: int

    def counts(self) -> list[int]:
        """The batch sizes as numbers."""
        return [size or self.samples for size in self.sizes]


@dataclass(frozen=True)
class ScalingFigure:
    """A figure: the quantity, as in a study of `landscape batch-scaling`, and what the paper says of it.

    Attributes:
        of: its number.
        title: what it shows.
        quantity: `gradient`, `parameter_stride` or `loss_stride`, over the rate.
        claimed: the exponent of the paper's equation.
        equation: its number.
        first_step: whether it is of the first step, else of the first epoch.
        full, small: the two variants.
    """

    of: str
    title: str
    quantity: str
    claimed: float
    equation: str
    first_step: bool
    full: Scale
    small: Scale
    paper: str = "CB"

    def scale(self, small: bool) -> Scale:
        """One of the two variants."""
        return self.small if small else self.full


# 49,152 is the paper's largest size of a training; its figure 3 goes to 60,000, which CIFAR-10 does not have.
_EPOCH = (
    Scale(_FULL, "classifier.1", (*_DOUBLING, 49152), 3, 50000),
    Scale(_SMALL, "linear1", (32, 64, 128, 256, 512, 1024, 0), 10, 1437),
)

SCALING_FIGURES: Mapping[str, ScalingFigure] = {
    "cb-figure3": ScalingFigure(
        "figure 3", "Mean gradient of the first step against batch size", "gradient", -0.5, "4", True,
        Scale(_FULL, "classifier.1", (*_DOUBLING, 0), 3, 50000),
        # from 1 on: this network's noise scale is some 20 samples, and both sides of it are to be seen
        Scale(_SMALL, "linear1", (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 0), 5, 1437),
    ),
    "cb-figure4": ScalingFigure(
        "figure 4", "Parameter stride of the first epoch against batch size", "parameter_stride", -0.5, "6", False,
        *_EPOCH,
    ),
    "cb-figure7": ScalingFigure(
        "figure 7", "Loss stride of the first epoch against batch size", "loss_stride", -1.0, "8", False,
        *_EPOCH,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class ScalingRun:
    """A training of a figure: its folder's name, the batch size (0: it is measured at every size) and the seed."""

    name: str
    size: int
    seed: int
    config: TrainConfig


def runs_of(figure: ScalingFigure, *, small: bool, seeds: int | None, data: Mapping[str, str]) -> list[ScalingRun]:
    """The trainings of a figure; `data` has folders of data sets by name.

    The learning rate is 0.05 (CB section 3.2); strides are divided by it. No momentum and no decay: equation 5.
    """
    scale = figure.scale(small)
    name = str(scale.settings["data"])
    plain = {
        **scale.settings, "data": f"{name}:{data[name]}" if name in data else name,
        "optimizer": "sgd", "lr": 0.05, "momentum": 0.0, "weight_decay": 0.0,
    }  # fmt: skip
    found = []
    for seed in range(seeds if seeds is not None else scale.seeds):
        for size in [0] if figure.first_step else scale.counts():
            over = {"epochs": 0} if figure.first_step else {"epochs": 1, "batch_size": size}
            label = f"initial-seed{seed}" if figure.first_step else f"batch{size}-seed{seed}"
            found.append(ScalingRun(label, size, seed, validate(TrainConfig, {**plain, **over, "seed": seed})))
    return found
