"""What training has to tell while it works: small frozen values handed to a callback."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from landscape.training.track_file import TrackRow


@dataclass(frozen=True)
class TrainingStarted:
    """The run is set up; the first evaluation, or the first epoch of a resumed run, comes next.

    Attributes:
        folder: the run folder.
        parameters: number of trained values P.
        samples: size of the training split.
        first_epoch: epochs already done: 0, or where a resumed run continues.
        epochs: epochs in all.
        first_step: steps already done.
        steps: optimizer steps in all.
    """

    folder: Path
    parameters: int
    samples: int
    first_epoch: int
    epochs: int
    first_step: int
    steps: int


@dataclass(frozen=True)
class StepDone:
    """An optimizer step is enqueued on the device; `step` counts from 1 over the whole run."""

    epoch: int
    step: int


@dataclass(frozen=True)
class EpochFinished:
    """An epoch (0: none yet) is evaluated, and its history row and state are in the run folder."""

    row: Mapping[str, Any]


@dataclass(frozen=True)
class Tracked:
    """What the run follows was measured, and is in its folder; every row has the same epoch and step."""

    rows: tuple[TrackRow, ...]


@dataclass(frozen=True)
class NotTracked:
    """A quantity that was to be followed, or a part of it, has no value here; told once."""

    name: str
    reason: str


@dataclass(frozen=True)
class AlreadyFinished:
    """The run that was to be resumed has its final checkpoint; nothing is done."""

    folder: Path
    epochs: int


Event = TrainingStarted | StepDone | EpochFinished | Tracked | NotTracked | AlreadyFinished
OnEvent = Callable[[Event], None]


def ignore(event: Event) -> None:
    """The callback of those who do not listen."""
