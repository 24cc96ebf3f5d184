"""Statistics of randomised trace estimates that are taken block by block.

The trace of A = sum_b omega_b A_b (blocks of samples, sum of omega = 1) is estimated by t = sum_b omega_b mean_k
t_bk with t_bk = v_bk' A_b v_bk and a fresh probe for every block and repetition: unbiased over probes and blocks at
once.

Legend: B blocks, k probes a block, T tensors.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm, t

DEGREES_OF_FREEDOM = 16  # below this a standard error is itself too uncertain to stop on
_LEVEL = 0.975  # of the two-sided interval of 95% that a widened standard error keeps


@dataclass(frozen=True)
class BlockEstimate:
    """The estimate, the error of the probes, and the error of the blocks as a draw from a larger population.

    Attributes:
        value: the estimate.
        stderr: of the probes, widened where they are few (see `block_estimate`).
        sampling_stderr: of the blocks.
        degrees: the degrees of freedom B (k - 1) of the least probed part; of an exact value unlimited.
    """

    value: float
    stderr: float
    sampling_stderr: float
    degrees: float = math.inf

    def within(self, tolerance: float) -> bool:
        """Whether the standard error is at most this, and known well enough to say so."""
        return self.degrees >= DEGREES_OF_FREEDOM and self.stderr <= tolerance


def probes_wanted(blocks: int) -> int:
    """The probes a block, two at the least, with which `BlockEstimate.within` can say yes."""
    return 1 + max(1, math.ceil(DEGREES_OF_FREEDOM / blocks))


def block_estimate(parts: Sequence[np.ndarray], omega: np.ndarray, *, sampled_share: float) -> BlockEstimate:
    """Combine probe values.

    Args:
        parts: t_bk of each independent part of the trace, (B, k) with k >= 1 of its own; the trace is their sum.
        omega: the blocks' weights (B,), which sum to 1.
        sampled_share: n/N, the share of the split that the blocks cover.

    Returns:
        value sum_b omega_b m_b, with m_b the sum over the parts of mean_k t_bk;
        stderr^2 = sum over the parts of c^2 V with V = sum_b omega_b^2 s_b^2/k, where s_b^2 is the variance over the
        probes of block b (NaN for k = 1) and c the ratio of Student's quantile at 97.5% for B (k - 1) degrees of
        freedom to the normal one where they are fewer than 16, so that +- 1.96 stderr is an interval of 95% for few
        probes as well; else c = 1;
        sampling_stderr^2 = (1 - n/N) (B/(B-1) sum_b omega_b^2 (m_b - value)^2 - sum V): the variance
        between blocks less what the probes contribute to it; 0 for n = N, NaN for B = 1 or where the difference is
        negative, because the probes' noise hides what the blocks differ by.

    Reference: Student 1908 for c.
    """
    means = np.sum([part.mean(1) for part in parts], axis=0)
    value = float(omega @ means)
    variances = [probe_variance(part, omega) for part in parts]
    degrees = [len(omega) * (part.shape[1] - 1) for part in parts]
    blocks = len(omega)
    if sampled_share >= 1:
        sampling = 0.0
    elif blocks > 1:
        between = blocks / (blocks - 1) * float(omega**2 @ (means - value) ** 2)
        explained = sum(variances)
        excess = between - (0.0 if math.isnan(explained) else explained)
        sampling = math.sqrt((1 - sampled_share) * excess) if excess >= 0 else math.nan
    else:
        sampling = math.nan
    widened = sum(_widening(free) ** 2 * variance for free, variance in zip(degrees, variances, strict=True))
    return BlockEstimate(value, math.sqrt(widened), sampling, min(degrees))


def probe_variance(part: np.ndarray, omega: np.ndarray) -> float:
    """V of a part (B, k), the variance of its mean over its probes; NaN for one probe."""
    probes = part.shape[1]
    return float(omega**2 @ part.var(1, ddof=1)) / probes if probes > 1 else math.nan


def _widening(degrees: int) -> float:
    """c for so many degrees of freedom; NaN for none."""
    if degrees >= DEGREES_OF_FREEDOM:
        return 1.0
    return float(t.ppf(_LEVEL, degrees) / norm.ppf(_LEVEL)) if degrees else math.nan
