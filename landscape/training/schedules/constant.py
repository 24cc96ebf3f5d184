"""The constant schedule: eta(t) = eta."""

from __future__ import annotations

from landscape.training.schedules.family import Schedule, ScheduleFamily, WarmupOptions
from landscape.training.step_plan import StepPlan


def constant(lr: float) -> Schedule:
    """The schedule eta(t) = `lr`."""
    return lambda step: lr


def _build(options: WarmupOptions, peak: float, plan: StepPlan, warmup: int) -> Schedule:
    return constant(peak)


CONSTANT = ScheduleFamily("constant", WarmupOptions, _build, "one rate")
