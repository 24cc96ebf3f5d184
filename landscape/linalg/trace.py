"""Statistics of randomised trace estimates that are taken block by block.

The trace of A = sum_b omega_b A_b (blocks of samples, sum of omega = 1) is estimated by t = sum_b omega_b mean_k
t_bk with t_bk = v_bk' A_b v_bk and a fresh probe for every block and repetition: unbiased over probes and blocks at
once.

Legend: B blocks, k probes a block, T tensors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class BlockEstimate:
    """The estimate, the error of the probes, and the error of the blocks as a draw from a larger population."""

    value: float
    stderr: float
    sampling_stderr: float


def block_estimate(parts: Sequence[np.ndarray], omega: np.ndarray, *, sampled_share: float) -> BlockEstimate:
    """Combine probe values.

    Args:
        parts: t_bk of each independent part of the trace, (B, k) with k >= 1 of its own; the trace is their sum.
        omega: the blocks' weights (B,), which sum to 1.
        sampled_share: n/N, the share of the split that the blocks cover.

    Returns:
        value sum_b omega_b m_b, with m_b the sum over the parts of mean_k t_bk;
        stderr^2 = sum over the parts of sum_b omega_b^2 s_b^2/k with s_b^2 the variance over the probes of block b (NaN
        for k = 1);
        sampling_stderr^2 = (1 - n/N) (B/(B-1) sum_b omega_b^2 (m_b - value)^2 - stderr^2): the variance
        between blocks less what the probes contribute to it; 0 for n = N, NaN for B = 1 or where the difference is
        negative, because the probes' noise hides what the blocks differ by.
    """
    means = np.sum([part.mean(1) for part in parts], axis=0)
    value = float(omega @ means)
    variance = sum(_variance(part, omega) for part in parts)
    blocks = len(omega)
    if sampled_share >= 1:
        sampling = 0.0
    elif blocks > 1:
        between = blocks / (blocks - 1) * float(omega**2 @ (means - value) ** 2)
        excess = between - (0.0 if np.isnan(variance) else variance)
        sampling = float(np.sqrt((1 - sampled_share) * excess)) if excess >= 0 else np.nan
    else:
        sampling = np.nan
    return BlockEstimate(value, float(np.sqrt(variance)), sampling)


def _variance(part: np.ndarray, omega: np.ndarray) -> float:
    """The variance of a part's mean over its probes; NaN for one probe."""
    probes = part.shape[1]
    return float(omega**2 @ part.var(1, ddof=1)) / probes if probes > 1 else np.nan
