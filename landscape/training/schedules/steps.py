"""Steps down: the rate is multiplied by a factor after each of the given epochs.

    eta(e) = peak * factor^(number of given epochs < e)         in epoch e = 1, 2, ...

Epochs count from the start of the run, a warm-up among them.
"""

from __future__ import annotations

import bisect

from pydantic import Field

from landscape.training.schedules.family import Schedule, ScheduleFamily, WarmupOptions
from landscape.training.step_plan import StepPlan


class StepOptions(WarmupOptions):
    """`lr_steps`: the epochs after which the rate falls; `lr_factor`: to which share of itself."""

    lr_steps: tuple[int, ...] = Field(min_length=1)
    lr_factor: float = Field(default=0.1, gt=0, lt=1)


def steps_down(peak: float, starts: tuple[int, ...], factor: float) -> Schedule:
    """`peak` times `factor` for each of the ascending `starts` (steps from 0) that has come."""
    return lambda step: peak * factor ** bisect.bisect_right(starts, step)


def _build(options: StepOptions, peak: float, plan: StepPlan, warmup: int) -> Schedule:
    return steps_down(peak, tuple(plan.first(epoch + 1) for epoch in options.lr_steps), options.lr_factor)


STEP = ScheduleFamily("step", StepOptions, _build, "a factor at given epochs")
