"""Norm transfer: the norms of one run's weights, epoch by epoch, given to another.

Every run whose network has layers that feed a batch normalisation records ||w_l|| of each after each epoch, in
`norms.csv`: columns `epoch` (from 0, before any step) and the names of the weights. With `norm_transfer` a run rescales
each of these layers, after each epoch and before it is evaluated, to the norm that the recorded run had at that epoch:

    w_l <- c_l w_l,     c_l = recorded ||w_l|| at epoch e / ||w_l||,

with the layer's bias and the running statistics as in weight rescaling. So it trains at the recorded run's effective
learning rates, eta / ||w_l||^2, whatever decay it has itself.

The recorded norms decide the weights, so their SHA-256 is a setting of the run (`norm_transfer_hash`, filled in when
the run starts): a resumed run, or its config.yaml taken as a recipe, goes on with the same norms or not at all. Only
the norms of the run's own epochs are in it, not the folder where they lie.

Legend: L layers, E epochs.

Reference: Zhang et al., Three mechanisms of weight decay regularization, ICLR 2019, figure 4.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from landscape.config.recipe import digest
from landscape.config.training import TrainConfig
from landscape.errors import OptionError
from landscape.problem.fed_layers import FedLayer, rescale, weight_norms
from landscape.training.history import Row, read_history
from landscape.training.rescaling import NormRule, Rescaling, must_feed
from landscape.training.run_folder import RunFolder


class NormTransfer(NormRule):
    """The norms that `recorded` has of `layers`: name -> one norm an epoch, from epoch 1."""

    def __init__(self, layers: Sequence[FedLayer], recorded: dict[str, list[float]]) -> None:
        self._layers = tuple(layers)
        like = layers[0].weight
        self._targets_EL: Tensor = torch.tensor(
            [recorded[layer.name] for layer in layers], dtype=like.dtype, device=like.device
        ).T

    def after_step(self) -> None:
        """Do nothing."""

    def after_epoch(self, epoch: int) -> None:
        """Rescale each layer to the norm recorded at `epoch`. Cost: two passes over the weights."""
        norms_L, targets_L = weight_norms(self._layers), self._targets_EL[epoch - 1]
        rescale(self._layers, torch.split(norms_L, 1), torch.split(targets_L, 1))


def norm_rule(config: TrainConfig, layers: Sequence[FedLayer]) -> NormRule | None:
    """What `config` says of the norms of `layers`, all of the network's; the weights are those before any step.

    Raises:
        OptionError: the network has no such layers, or the recorded norms are not its own or not to be had.
        CheckpointError: their file cannot be read.
    """
    if config.rescale is not None:
        must_feed(layers, config, "rescale")
        return Rescaling(layers, config)
    if config.norm_transfer is not None:
        must_feed(layers, config, "norm_transfer")
        recorded = recorded_norms(config)
        must_match(recorded, layers, config)
        return NormTransfer(layers, recorded)
    return None


def norms_row(epoch: int, layers: Sequence[FedLayer]) -> Row:
    """The row of norms.csv of an epoch. Cost: one pass over the weights, one synchronisation with the device."""
    values = weight_norms(layers).tolist()
    return {"epoch": epoch, **{layer.name: value for layer, value in zip(layers, values, strict=True)}}


def fill_norm_transfer(config: TrainConfig) -> TrainConfig:
    """Return `config` with the recorded run's folder absolute, and the hash of its norms if that is not set.

    Raises:
        OptionError: a hash without a run; or as `recorded_norms`.
    """
    if config.norm_transfer is None:
        if config.norm_transfer_hash is not None:
            raise OptionError("norm_transfer_hash is that of recorded norms; set norm_transfer, the run that has them.")
        return config
    # `~` in a recipe too, where no shell reads it.
    config = config.model_copy(update={"norm_transfer": str(Path(config.norm_transfer).expanduser().resolve())})
    if config.norm_transfer_hash is not None:
        return config
    return config.model_copy(update={"norm_transfer_hash": digest(recorded_norms(config))})


def recorded_norms(config: TrainConfig) -> dict[str, list[float]]:
    """The norms that the run `config.norm_transfer` recorded, by weight: one for each epoch of `config`, from 1.

    Raises:
        OptionError: there is no such run, it recorded no norms, not in so many epochs, or others than those of
            `norm_transfer_hash`.
        CheckpointError: its file cannot be read.
    """
    assert config.norm_transfer is not None, "the caller asks"
    folder = RunFolder(Path(config.norm_transfer))
    if not folder.path.is_dir():
        raise OptionError(f"norm_transfer: there is no run folder {folder.path}.")
    if not folder.norms.exists():
        raise OptionError(
            f"norm_transfer: {folder.path} has no recorded norms ({folder.norms.name}); expected a run of a network "
            "with batch normalisation."
        )
    rows = {row["epoch"]: row for row in read_history(folder.norms, ["epoch"])}
    missing = next((epoch for epoch in range(1, config.epochs + 1) if epoch not in rows), None)
    if missing is not None:
        raise OptionError(
            f"norm_transfer: this run has {config.epochs} epochs, and {folder.norms} has no norms of epoch {missing}; "
            "choose a longer run, or fewer epochs."
        )
    norms: dict[str, list[float]] = {}
    for name in next(iter(rows.values()), {}):
        if name == "epoch":
            continue
        values = [rows[epoch][name] for epoch in range(1, config.epochs + 1)]
        bad = [value for value in values if not (isinstance(value, float) and 0 < value < math.inf)]
        if bad:
            raise OptionError(
                f"norm_transfer: {folder.norms} holds {bad[0]!r} as a norm of {name}; expected a number > 0."
            )
        norms[name] = values
    if config.norm_transfer_hash is not None and digest(norms) != config.norm_transfer_hash:
        raise OptionError(
            f"norm_transfer: {folder.path} does not hold the norms that this run is to follow "
            f"(SHA-256 {digest(norms)[:8]} there, {config.norm_transfer_hash[:8]} expected); give the run that does."
        )
    return norms


def must_match(recorded: dict[str, list[float]], layers: Sequence[FedLayer], config: TrainConfig) -> None:
    """Check that the recorded norms are those of `layers`.

    Raises:
        OptionError: they are of other layers; names the first ones.
    """
    ours = [layer.name for layer in layers]
    words = [
        f"{what} {', '.join(names[:3])}{', ...' if len(names) > 3 else ''}"
        for what, names in (
            ("it lacks", [name for name in ours if name not in recorded]),
            ("only it has", [name for name in recorded if name not in ours]),
        )
        if names
    ]
    if words:
        raise OptionError(
            f"norm_transfer: {config.norm_transfer} recorded norms of other layers than network {config.model} has "
            f"({'; '.join(words)}); choose a run of the same network."
        )
