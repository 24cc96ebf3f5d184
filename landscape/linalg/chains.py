"""What several Markov chains of one length say together: a mean, its error, and whether they agree.

Legend: C chains, T draws.
"""

from __future__ import annotations

import math

import numpy as np


def between_chains(means_C: np.ndarray) -> tuple[float, float]:
    """The mean over independent chains and its standard error; NaN for no chain, the error for one."""
    count = len(means_C)
    if count == 0:
        return math.nan, math.nan
    error = float(np.std(means_C, ddof=1) / math.sqrt(count)) if count > 1 else math.nan
    return float(np.mean(means_C)), error


def split_rhat(draws_CT: np.ndarray) -> float:
    """Split R-hat: sqrt of the variance of all draws over the mean variance within the halves of the chains.

    Near 1 where the chains and their first and second halves agree; larger where they have not mixed or still drift.
    NaN for fewer than four draws a chain, or where nothing varies.

    Reference: Gelman et al., Bayesian Data Analysis, 3rd edition, section 11.4.
    """
    half = draws_CT.shape[1] // 2
    if half < 2 or not len(draws_CT):
        return math.nan
    halves = np.concatenate([draws_CT[:, :half], draws_CT[:, -half:]])
    within = float(halves.var(1, ddof=1).mean())
    between = half * float(halves.mean(1).var(ddof=1))
    return math.sqrt(((half - 1) / half * within + between / half) / within) if within > 0 else math.nan
