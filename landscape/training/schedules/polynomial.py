"""Polynomial decay to an end rate, after a warm-up that is polynomial too.

    eta(t) = start + (peak - start) (t / T_w)^p_w                  for t <= T_w
    eta(t) = end + (peak - end) (1 - k / D)^p,   k = t - T_w,   D = T - T_w + 1     after

with t = 1, ..., T the number of the step. By default p = p_w = 2, both ends are 0 and T_w is 0.3 T (*our reading*:
rounded to whole steps). D is one more than the steps that are left, so that the last step still moves.

Reference: Nado et al., A large batch optimizer reality check, arXiv:2102.06356; "Bias decay matters", appendix A.1.
"""

from __future__ import annotations

from pydantic import Field

from landscape.training.schedules.family import Schedule, ScheduleFamily, WarmupOptions
from landscape.training.step_plan import StepPlan

# Of the run, where no warm-up is given.
WARMUP_SHARE = 0.3


class PolynomialOptions(WarmupOptions):
    """p = `lr_power`, end = `lr_end`; `warmup` None is 0.3 of the run."""

    warmup: float | None = Field(default=None, ge=0)
    warmup_power: float = Field(default=2.0, gt=0)
    lr_power: float = Field(default=2.0, gt=0)
    lr_end: float = Field(default=0.0, ge=0)


def polynomial(peak: float, total: int, *, warmup: int = 0, power: float = 2.0, end: float = 0.0) -> Schedule:
    """The rates after the first `warmup` of `total` steps."""

    def rate(step: int) -> float:
        k = step + 1 - warmup
        share = 1 - k / (total - warmup + 1)
        return end + (peak - end) * float(share**power)

    return rate


def _build(options: PolynomialOptions, peak: float, plan: StepPlan, warmup: int) -> Schedule:
    return polynomial(peak, plan.total, warmup=warmup, power=options.lr_power, end=options.lr_end)


POLYNOMIAL = ScheduleFamily("polynomial", PolynomialOptions, _build, "a power of the share of steps that is left")
