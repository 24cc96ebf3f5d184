"""The settings of a training run."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from landscape.config.recipe import digest
from landscape.config.settings import Settings
from landscape.config.tracking import TrackSettings

# Always part of `TrainConfig.plain`, also at their defaults.
FIRST = ("model", "data", "optimizer", "lr", "momentum", "weight_decay", "batch_size", "epochs", "seed", "dtype")


class TrainConfig(Settings):
    """What decides the weights that training ends with; a change of any field may change them.

    `lr`, `momentum` and `weight_decay` left out are the optimizer's own defaults; its registry entry also says
    which of them it takes, and which options may follow its name. The defaults here train the default network to a
    test accuracy above 0.97 in seconds.

    Attributes:
        model: the network, `NAME[:key=value,...]`.
        data: the data set, `NAME[:FOLDER]`.
        optimizer: a name in `landscape.training.optimizers`, `NAME[:key=value,...]`.
        lr: the learning rate eta.
        momentum: the factor of the velocity, in [0, 1).
        weight_decay: lambda; the optimizer says how it enters.
        decay: a policy in `landscape.training.decay.policies.DECAYS`; None: the optimizer decays every tensor.
        decay_mode: how decay enters: `coupled`, `decoupled`, or None for the optimizer's own way.
        decay_lambda: the policy's own lambda: of gamma, beta or all biases.
        decay_threshold: R, for adaptive-beta.
        freeze: normalisation parameters that stay at gamma = 1, beta = 0.
        schedule: a name in `landscape.training.schedules.SCHEDULES`; its options are the next ones.
        warmup: epochs of warm-up, also parts of one; None: polynomial 0.3 of the run, the others none.
        warmup_power: of the warm-up; 1 is linear.
        lr_start: the rate that the warm-up begins above.
        lr_end: the rate that polynomial and cosine lead to.
        lr_power: of the polynomial.
        lr_steps: the epochs after which `step` lowers the rate; also as text, `100,150`.
        lr_factor: by which `step` and `two-phase` multiply the rate.
        patience: epochs without a lower loss that make a plateau, for two-phase; None: 5% of the epochs.
        extra_share: two-phase explores on for this share of the epochs up to the plateau; None: a third.
        lr_scaling: how the rate grows with the batch size from `lr` at `lr_batch`.
        lr_batch: the batch size that `lr` is meant for.
        batch_size: samples a step; the last batch of an epoch holds what is left.
        batch_schedule: other batch sizes and rates in some epochs, `EPOCHS:BATCH[@RATE],...`.
        micro_batch_size: samples of a forward and backward pass, where memory holds no more.
        ghost_batch_size: samples that batch normalisation in training takes together.
        allow_microbatch_bn: let each micro-batch be normalised by itself.
        discard: the share of each batch with the smallest losses that is left out.
        discard_epochs: in the first so many epochs; None: in all.
        label_smoothing: P of the training loss (1 - P) l + P (mean of l over all labels).
        rescale: what is rescaled to a norm of its own, of the weights that feed a batch normalisation: each `filter` or
            each `layer`; None: nothing is.
        rescale_target: that norm: `unit` (1, the default), or `initial`, the one before any step.
        rescale_every: after each `step` (the default) or `epoch`.
        norm_transfer: a run's folder; the same weights are rescaled after each epoch to the norms that it had then.
        norm_transfer_hash: of these norms; filled in when the run starts. Other norms are refused.
        augment: how training samples are augmented; None: as the data set is by itself.
        epochs: passes over the training split; 0 keeps the initial weights.
        seed: of the initial weights, the order of the samples and any randomness of the network.
        dtype: the floating type of weights and computation.
        precision: of the products in the training passes: `fp32` is that of `dtype`, `tf32` rounds what goes into a
            product where the GPU can, `bf16` runs forward and backward in bfloat16 with weights in float32.
    """

    model: str = "resnet8"
    data: str = "digits"
    optimizer: str = "sgd"
    lr: float | None = Field(default=None, gt=0)
    momentum: float | None = Field(default=None, ge=0, lt=1)
    weight_decay: float | None = Field(default=None, ge=0)
    decay: str | None = None
    decay_mode: Literal["coupled", "decoupled"] | None = None
    decay_lambda: float | None = Field(default=None, gt=0)
    decay_threshold: float | None = Field(default=None, ge=0)
    freeze: Literal["bn", "gamma", "beta"] | None = None
    schedule: str = "constant"
    warmup: float | None = Field(default=None, ge=0)
    warmup_power: float | None = Field(default=None, gt=0)
    lr_start: float | None = Field(default=None, ge=0)
    lr_end: float | None = Field(default=None, ge=0)
    lr_power: float | None = Field(default=None, gt=0)
    lr_steps: tuple[int, ...] | None = Field(default=None, min_length=1)
    lr_factor: float | None = Field(default=None, gt=0, lt=1)
    patience: int | None = Field(default=None, ge=1)
    extra_share: float | None = Field(default=None, ge=0)
    lr_scaling: Literal["linear", "sqrt"] | None = None
    lr_batch: int | None = Field(default=None, ge=1)
    batch_size: int = Field(default=64, ge=1)
    batch_schedule: str | None = None
    micro_batch_size: int | None = Field(default=None, ge=1)
    ghost_batch_size: int | None = Field(default=None, ge=2)
    allow_microbatch_bn: bool | None = None
    discard: float | None = Field(default=None, gt=0, lt=1)
    discard_epochs: int | None = Field(default=None, ge=1)
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    rescale: Literal["filter", "layer"] | None = None
    rescale_target: Literal["unit", "initial"] | None = None
    rescale_every: Literal["step", "epoch"] | None = None
    norm_transfer: str | None = Field(default=None, min_length=1)
    norm_transfer_hash: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    augment: Literal["none", "crop-flip", "imagenet"] | None = None
    epochs: int = Field(default=15, ge=0)
    seed: int = Field(default=0, ge=0, lt=2**63)
    dtype: Literal["float32", "float64"] = "float32"
    precision: Literal["fp32", "tf32", "bf16"] = "fp32"

    @field_validator("lr_steps", mode="before")
    @classmethod
    def _epochs_from_text(cls, value: Any) -> Any:
        if isinstance(value, str):
            return [part.strip() for part in value.split(",")]
        return [value] if isinstance(value, int) else value

    def plain(self) -> dict[str, Any]:
        """The settings as plain values. A setting beyond the first ones is left out at its default.

        So the digest of a run stays what it was when settings are added.
        """
        values = self.model_dump(mode="json")
        fields = type(self).model_fields
        return {name: value for name, value in values.items() if name in FIRST or value != fields[name].default}

    def identity(self) -> dict[str, Any]:
        """The settings as `plain` gives them, without folders: where the data lie decides nothing.

        Nor where recorded norms lie, once their hash is known.
        """
        values = {**self.plain(), "data": self.data.partition(":")[0]}
        if self.norm_transfer_hash is not None:
            values.pop("norm_transfer", None)
        return values

    def digest(self) -> str:
        """The SHA-256 of `identity`."""
        return digest(self.identity())


class TrainRun(Settings):
    """What only runs a training: where and how, never to which weights (but for the rounding of a device).

    Attributes:
        out: the run folder; by default `runs/MODEL-DATA-DIGEST`, the same for the same configuration.
        device: a torch device.
        checkpoint_every: keep a checkpoint every so many epochs; 0 keeps epoch 0 and the final one only.
        resume: continue the run that `out` holds.
        workers: processes that decode pictures; None: one for each CPU, 16 at most.
        track: what is followed while it trains; None: nothing, or what a resumed run followed before.
        log: further places for the history and the track: `tensorboard`, `wandb`; the CSV files are always written.
    """

    out: Path | None = None
    device: str = "cpu"
    checkpoint_every: int = Field(default=0, ge=0)
    resume: bool = False
    workers: int | None = Field(default=None, ge=0)
    track: TrackSettings | None = None
    log: tuple[Literal["csv", "tensorboard", "wandb"], ...] = ()
