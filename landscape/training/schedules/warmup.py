"""A warm-up before any schedule.

    eta(t) = start + (peak - start) (t / T_w)^p         at step t = 1, ..., T_w; linear for p = 1

The step T_w has the peak.

Reference: Goyal et al., Accurate, large minibatch SGD, arXiv:1706.02677, section 2.2; with a power: Nado et al.,
arXiv:2102.06356.
"""

from __future__ import annotations

from landscape.training.schedules.family import Schedule


def warmed_up(after: Schedule, peak: float, warmup: int, *, power: float = 1.0, start: float = 0.0) -> Schedule:
    """The first `warmup` steps lead from `start` to `peak`; the others are those of `after`, by the run's own count."""
    if warmup == 0:
        return after

    def rate(step: int) -> float:
        if step >= warmup:
            return after(step)
        return start + (peak - start) * float(((step + 1) / warmup) ** power)

    return rate
