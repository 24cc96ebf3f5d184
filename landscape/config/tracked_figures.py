"""Figures of the papers that show trainings epoch by epoch: which networks, and what is followed on the way.

The networks are those of the papers' tables, one of a kind, with single settings changed where the figure says so. A
figure without anything to follow shows loss and accuracy alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from landscape.config.paper_recipes import paper_recipe
from landscape.config.tracking import TrackSettings
from landscape.config.training import TrainConfig


@dataclass(frozen=True)
class Line:
    """A network of a figure.

    Attributes:
        name: of its curves and its run folder.
        small_name: the same in the small variant, where that is not what `name` says.
        recipe: the recipe that it is trained by, as in `landscape recipes`.
        over: settings in place of the recipe's.
        small: further ones in the small variant.
    """

    name: str
    recipe: str
    over: Mapping[str, Any] = field(default_factory=dict)
    small: Mapping[str, Any] = field(default_factory=dict)
    small_name: str | None = None

    def label(self, *, small: bool) -> str:
        """The name in one of the two variants."""
        return self.small_name if small and self.small_name is not None else self.name

    def config(self, *, small: bool, data: Mapping[str, str]) -> TrainConfig:
        """The settings of one of the two variants; `data` has the folders of data sets by name."""
        over = {**self.over, **(self.small if small else {})}
        recipe = paper_recipe(self.recipe)
        name = str((recipe.small if small else recipe.settings).get("data", "digits"))
        return recipe.config(small=small, **over, **({"data": f"{name}:{data[name]}"} if name in data else {}))


@dataclass(frozen=True)
class TrackedFigure:
    """A figure: the paper, its number, what it shows, what the paper sees in it, its networks, what is followed."""

    paper: str
    of: str
    title: str
    claim: str
    lines: tuple[Line, ...]
    track: str = ""
    by: str = "role"

    def settings(self, *, small: bool) -> TrackSettings | None:
        """What is followed: each epoch in the small variant, every fifth at the paper's scale; None: nothing."""
        if not self.track:
            return None
        return TrackSettings.model_validate({"names": self.track, "every": "1" if small else "5", "by": self.by})


def _sizes(full: tuple[int, ...], small: tuple[int, ...]) -> tuple[Line, ...]:
    return tuple(
        Line(f"batch-{size}", "cb-figure10-b8000", {"batch_size": size}, {"batch_size": own}, f"batch-{own}")
        for size, own in zip(full, small, strict=True)
    )


def _curves(table: str) -> tuple[Line, ...]:
    rows = ("small-batch", "large-batch", "lars", "two-phase", "two-phase-lars")
    return tuple(Line(row, f"{table}-{row}") for row in rows)


def _decayed(recipe: str, optimizer: str) -> tuple[Line, ...]:
    """Weight decay of nothing, the convolutions, the classifier and all, as WD has them."""
    kinds = (("baseline", "none"), ("wd-conv", "conv"), ("wd-fc", "fc"), ("wd-all", "all"))
    return tuple(Line(f"{optimizer}-{name}", recipe, {"decay": decay}) for name, decay in kinds)


_AUG = "wd-table1-resnet32-bn-aug-cifar100"
_PEAK = "Two-phase rates and LARS end above the large batch by linear scaling"

TRACKED_FIGURES: Mapping[str, TrackedFigure] = {
    "cs-figure2": TrackedFigure(
        "CS", "figure 2", "Norms and connectivity sharpness in training, without bias decay",
        "the sharpness of beta grows from next to nothing until the norm of beta is stable, then falls",
        (Line("no-bias-decay", "cs-table2-no-bias-decay"),), "norms,connectivity",
    ),
    "cs-figure3": TrackedFigure(
        "CS", "figure 3", "The same with decay of beta, of gamma, and stronger decay of weights",
        "decay of beta lowers its sharpness; of gamma and of the weights that is not clear",
        (
            Line("beta-decay", "cs-table3-beta-decay-cifar10"), Line("gamma-decay", "cs-table3-gamma-decay-cifar10"),
            # The text has 1.0 in place of 0.01; the caption, decay of all parameters: our reading is the text.
            Line("weight-decay-1", "cs-table2-no-bias-decay", {"weight_decay": 1.0}),
        ), "norms,connectivity",
    ),
    "cs-figure4": TrackedFigure(
        "CS", "figure 4", "The same with decay of beta, for gamma",
        "the sharpness of gamma falls with that of beta, though gamma does not decay",
        (Line("beta-decay", "cs-table2-beta-decay"),), "norms,connectivity",
    ),
    "tp-figure1": TrackedFigure(
        "TP", "figure 1", "Margins and loss in training, small and large batch",
        "margins are still moving when the loss has reached its plateau",
        tuple(
            # "The learning rate is fixed" there.
            Line(f"{data}-{row}", f"{table}-{row}", {"schedule": "constant", "lr_steps": None}, small_name=row)
            for data, table in (("cifar10", "tp-table2"), ("cifar100", "tp-table3"))
            for row in ("small-batch", "large-batch")
        ), "margins",
    ),
    "tp-figure3": TrackedFigure(
        "TP", "figure 3", "Top Hessian eigenvalue in training, large batch and two phases",
        "the eigenvalue of the last weight layer (here linear.weight) is lower with two phases",
        tuple(
            Line(f"{table.removeprefix('tp-')}-{row}", f"{table}-{row}")
            for table in ("tp-table2", "tp-table5")
            for row in ("large-batch", "two-phase")
        ), "top_eigenvalues",
    ),
    "tp-figure4": TrackedFigure("TP", "figure 4", "Learning curves of table 2, CIFAR-10", _PEAK, _curves("tp-table2")),
    "tp-figure5": TrackedFigure("TP", "figure 5", "Learning curves of table 3, CIFAR-100", _PEAK, _curves("tp-table3")),
    "tp-figure6": TrackedFigure("TP", "figure 6", "Learning curves of table 4, SVHN", _PEAK, _curves("tp-table4")),
    "tp-figure7": TrackedFigure("TP", "figure 7", "Learning curves of table 5, ImageNet", _PEAK, _curves("tp-table5")),
    "wd-figure2": TrackedFigure(
        "WD", "figure 2", "Weight decay of some layers, SGD and Adam",
        "decay of the convolutions gives nearly all of the gain",
        (*_decayed(f"{_AUG}-sgd-decay", "sgd"), *_decayed(f"{_AUG}-adam-decay", "adam")),
    ),
    "wd-figure3": TrackedFigure(
        "WD", "figure 3", "Effective learning rate with and without weight decay",
        "without decay the effective rate of the first layer falls quickly in the beginning",
        (Line("baseline", "wd-figure4-baseline"), Line("wd-all", "wd-figure4-wd-all")),
        "effective_learning_rate", "layer",
    ),
    "wd-figure6": TrackedFigure(
        "WD", "figure 6", "Weight decay of some layers, K-FAC-G and K-FAC-F",
        "decay of the convolutions helps here too",
        (*_decayed(f"{_AUG}-kfac-g-decay", "kfac-g"), *_decayed(f"{_AUG}-kfac-f-decay", "kfac-f")),
    ),
    "wd-figure7": TrackedFigure(
        "WD", "figure 7", "Normalised trace of the Fisher and the Gauss-Newton matrix in training",
        "the trace of the Gauss-Newton matrix of the first layer is far steadier than that of the Fisher matrix",
        (Line("kfac-f", "wd-table1-resnet32-bn-kfac-f"), Line("kfac-f-decay", "wd-table1-resnet32-bn-kfac-f-decay")),
        "normalized_curvature", "layer",
    ),
    "cb-figure1": TrackedFigure(
        "CB", "figure 1", "Accuracy by batch size", "large batches end at lower accuracy",
        _sizes((32, 512, 8192, 49152), (32, 128, 512, 1437)),
    ),
    "cb-figure2": TrackedFigure(
        "CB", "figure 2", "Curvature radius by layer in training",
        "the radii of the layers differ widely",
        (Line("baseline", "cb-figure10-b8000"),), "curvature_radius", "layer",
    ),
    "cb-figure5": TrackedFigure(
        "CB", "figures 5 and 8", "Parameter stride and loss in training by batch size",
        "large batches have small strides, and so a small space that is searched",
        _sizes((32, 512, 8192, 49152), (32, 128, 512, 1437)), "strides",
    ),
}  # fmt: skip
