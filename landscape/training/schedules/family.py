"""What the registry says of a schedule."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from landscape.training.step_plan import StepPlan

# step (0 for the first) -> learning rate of that step
Schedule = Callable[[int], float]


class WarmupOptions(BaseModel):
    """The options of every schedule: `warmup` epochs from `lr_start` to the peak, by a power."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    warmup: float | None = Field(default=0.0, ge=0)
    warmup_power: float = Field(default=1.0, gt=0)
    lr_start: float = Field(default=0.0, ge=0)


@dataclass(frozen=True)
class ScheduleFamily:
    """A schedule by name.

    Attributes:
        name: what `--schedule` takes.
        options: its settings, with their defaults and ranges; each field is one of `TrainConfig`.
        build: (options, peak rate, steps of the run, steps of warm-up) -> the rates of the steps from the first after
            the warm-up on; `options` is an instance of the class above.
        about: what it does, in a line.
    """

    name: str
    options: type[WarmupOptions]
    build: Callable[[Any, float, StepPlan, int], Schedule]
    about: str
