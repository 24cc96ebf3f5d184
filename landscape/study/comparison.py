"""Whether runs of one kind have more of a quantity than runs of another, by the paired differences over seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

CONFIDENCE = 0.95

Verdict = Literal["shown", "not shown", "the opposite", "no verdict"]


@dataclass(frozen=True)
class Comparison:
    """The mean paired difference d of two kinds of runs against its standard error.

    Attributes:
        difference: the mean of d over the seeds; NaN where there are none.
        stderr: s(d)/sqrt(n), s with n - 1 in the denominator; NaN below two seeds.
        bound: |difference| must be above this for a verdict: the two-sided 95% quantile of Student's t with n - 1
            degrees of freedom, times `stderr`.
        seeds: n.
        verdict: `shown` where the difference is above `bound`, `the opposite` where it is below -`bound`,
            `not shown` between them, `no verdict` below two seeds.
    """

    difference: float
    stderr: float
    bound: float
    seeds: int
    verdict: Verdict


def compare(more: Mapping[int, float], than: Mapping[int, float]) -> Comparison:
    """Compare two kinds of runs, seed -> value, on the seeds where both have a finite value.

    Runs of one seed share their split into batches and, where the network is the same, their initial weights: so the
    differences are paired. No correction is made for the number of comparisons.
    """
    seeds = sorted(seed for seed in more.keys() & than.keys() if math.isfinite(more[seed] - than[seed]))
    d = np.array([more[seed] - than[seed] for seed in seeds], dtype=np.float64)
    n = len(d)
    if n < 2:
        return Comparison(float(d[0]) if n else math.nan, math.nan, math.nan, n, "no verdict")
    difference, stderr = float(d.mean()), float(d.std(ddof=1) / math.sqrt(n))
    bound = float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)) * stderr
    verdict: Verdict = "not shown"
    if abs(difference) > bound:
        verdict = "shown" if difference > 0 else "the opposite"
    return Comparison(difference, stderr, bound, n, verdict)
