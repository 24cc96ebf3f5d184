"""Half a period of the cosine from the peak to an end rate.

    eta(s) = end + (peak - end) (1 + cos(pi s / S)) / 2

with s = 0, ..., S - 1 the steps after the warm-up: the first of them has the peak, and the end would be reached one
step after the last.

Reference: Loshchilov and Hutter, SGDR, ICLR 2017, equation 5 without restarts; He et al., Bag of tricks, CVPR 2019.
"""

from __future__ import annotations

import math

from pydantic import Field

from landscape.training.schedules.family import Schedule, ScheduleFamily, WarmupOptions
from landscape.training.step_plan import StepPlan


class CosineOptions(WarmupOptions):
    """end = `lr_end`."""

    lr_end: float = Field(default=0.0, ge=0)


def cosine(peak: float, total: int, *, warmup: int = 0, end: float = 0.0) -> Schedule:
    """The rates after the first `warmup` of `total` steps."""
    return lambda step: end + (peak - end) * (1 + math.cos(math.pi * (step - warmup) / max(total - warmup, 1))) / 2


def _build(options: CosineOptions, peak: float, plan: StepPlan, warmup: int) -> Schedule:
    return cosine(peak, plan.total, warmup=warmup, end=options.lr_end)


COSINE = ScheduleFamily("cosine", CosineOptions, _build, "half a period of the cosine")
