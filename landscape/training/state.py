"""All that an optimizer step changes, so that a run can stop and go on as if it had not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn, optim

from landscape.errors import CheckpointError, LandscapeError
from landscape.training.schedules.two_phase import TwoPhase


@dataclass
class TrainingState:
    """The state of a run.

    Attributes:
        model: the network; its parameters and buffers belong to the state.
        optimizer: with its moments.
        order: draws the order of the samples; apart from the global generator, so that a network's own randomness
            (dropout) does not change which samples make a batch. On the CPU: one order for every device.
        device: where the network is.
        epoch: epochs done.
        step: optimizer steps done.
        augment: draws the augmentation of the samples, if they are augmented; on the CPU as well.
        restored: from a checkpoint, and no step was taken since.
        two_phase: the rule that cuts the learning rate, if the schedule has one.
    """

    model: nn.Module
    optimizer: optim.Optimizer
    order: torch.Generator
    device: torch.device
    epoch: int = 0
    step: int = 0
    two_phase: TwoPhase | None = None
    augment: torch.Generator | None = None
    restored: bool = False

    def to_plain(self) -> dict[str, Any]:
        """The state as tensors and plain values: `state_dict`, `optimizer`, `rng`, `progress`, `two_phase`.

        The tensors are the live ones, not copies: write them before the next step.
        """
        rng: dict[str, Tensor] = {"torch": torch.get_rng_state(), "order": self.order.get_state()}
        if self.augment is not None:
            rng["augment"] = self.augment.get_state()
        if self.device.type == "cuda":
            rng["cuda"] = torch.cuda.get_rng_state(self.device)
        plain = {
            "state_dict": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "rng": rng,
            "progress": {"epoch": self.epoch, "step": self.step},
        }
        if self.two_phase is not None:
            plain["two_phase"] = self.two_phase.to_plain()
        return plain

    def restore(self, plain: Mapping[str, Any]) -> None:
        """Take over the state that `to_plain` gave, the global random state among it.

        A run that goes on on another kind of device keeps the seed of that device's own generator.

        Raises:
            CheckpointError: a part is missing or does not fit the network or the optimizer.
        """
        try:
            for part in ("state_dict", "optimizer", "rng", "progress"):
                if not isinstance(plain[part], Mapping):
                    raise TypeError(f"{part} is a {type(plain[part]).__name__}")
            self.model.load_state_dict(plain["state_dict"])
            self.optimizer.load_state_dict(plain["optimizer"])
            self.order.set_state(plain["rng"]["order"])
            if self.augment is not None:
                self.augment.set_state(plain["rng"]["augment"])
            torch.set_rng_state(plain["rng"]["torch"])
            if self.device.type == "cuda" and "cuda" in plain["rng"]:
                torch.cuda.set_rng_state(plain["rng"]["cuda"], self.device)
            if self.two_phase is not None:
                self.two_phase.restore(plain["two_phase"])
            self.epoch, self.step = (_count(plain["progress"][name]) for name in ("epoch", "step"))
        except Exception as error:  # what is not as `to_plain` gave it can fail anywhere
            raise _not_of_this_run(error) from error
        self.restored = True

    @contextmanager
    def first_step(self) -> Iterator[None]:
        """Around an optimizer step: the first one after `restore` shows whether the optimizer can use what it got.

        Raises:
            CheckpointError: it cannot.
        """
        try:
            yield
        except LandscapeError:
            raise
        except Exception as error:
            if self.restored:
                raise _not_of_this_run(error) from error
            raise
        self.restored = False


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise TypeError(f"{value!r} is no count")
    return value


def _not_of_this_run(error: Exception) -> CheckpointError:
    words = (str(error).splitlines() or [""])[0]
    return CheckpointError(
        f"the checkpoint does not carry the state of this run: {type(error).__name__}: {words}. "
        "Start again in another run folder."
    )
