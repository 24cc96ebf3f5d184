"""The settings of a training run."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from landscape.config.recipe import digest


class TrainConfig(BaseModel):
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
        batch_size: samples a step; the last batch of an epoch holds what is left.
        epochs: passes over the training split; 0 keeps the initial weights.
        seed: of the initial weights, the order of the samples and any randomness of the network.
        dtype: the floating type of weights and computation.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = "resnet8"
    data: str = "digits"
    optimizer: str = "sgd"
    lr: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    momentum: float | None = Field(default=None, ge=0, lt=1)
    weight_decay: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    batch_size: int = Field(default=64, ge=1)
    epochs: int = Field(default=15, ge=0)
    seed: int = Field(default=0, ge=0, lt=2**63)
    dtype: Literal["float32", "float64"] = "float32"

    def identity(self) -> dict[str, Any]:
        """The settings as plain values, without the data set's folder: where the data lie decides nothing."""
        return {**self.model_dump(mode="json"), "data": self.data.partition(":")[0]}

    def digest(self) -> str:
        """The SHA-256 of `identity`."""
        return digest(self.identity())


class TrainRun(BaseModel):
    """What only runs a training: where and how, never to which weights (but for the rounding of a device).

    Attributes:
        out: the run folder; by default `runs/MODEL-DATA-DIGEST`, the same for the same configuration.
        device: a torch device.
        checkpoint_every: keep a checkpoint every so many epochs; 0 keeps epoch 0 and the final one only.
        resume: continue the run that `out` holds.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    out: Path | None = None
    device: str = "cpu"
    checkpoint_every: int = Field(default=0, ge=0)
    resume: bool = False
