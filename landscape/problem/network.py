"""A network by name with the weights of a checkpoint in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from torch import Tensor, nn

from landscape.models import build_model, parse_model, renamed
from landscape.problem.folding import fold_in
from landscape.weight_loading import load_tensors


def network(
    name: str,
    weights: Mapping[str, Tensor],
    *,
    classes: int | None = None,
    channels: int | None = None,
    size: int | None = None,
    folded: Iterable[Sequence[str]] = (),
    source: Path | str = "the checkpoint",
) -> nn.Module:
    """Build the network that `--model` would, and load named tensors into it, every one of them.

    Args:
        name: `NAME[:options]`, `torchvision:NAME`, `timm:NAME`, `hf:FOLDER` or `module:factory`.
        weights: by name, as `problem(weights)` of a problem file gets them.
        classes, channels, size: what the network is to be built for, where the name leaves it open.
        folded: pairs of a layer and the batch normalisation that is folded into it, see `landscape.problem.folding`.
        source: what errors call the weights.

    Raises:
        OptionError, ModelError: it cannot be built.
        CheckpointError: the weights do not fit; lists which.
    """
    spec = parse_model(name)
    model = build_model(spec, classes=classes, channels=channels, size=size)
    fold_in(model, folded)
    load_tensors(model, renamed(spec, model, weights), source)
    return model
