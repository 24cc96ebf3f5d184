"""The rate of a batch size from the rate of another.

    linear   eta = eta_0 B / B_0
    sqrt     eta = eta_0 sqrt(B / B_0)

Reference: linear: Goyal et al., arXiv:1706.02677; square root: "Bias decay matters", appendix A.2 (0.04 at 8192; its
root is lost in the paper's text).
"""

from __future__ import annotations

import math
from typing import Literal

Rule = Literal["linear", "sqrt"]


def scaled(lr: float, rule: Rule, batch_size: int, base: int) -> float:
    """The rate for `batch_size` where `lr` is that for `base`."""
    share = batch_size / base
    return lr * (share if rule == "linear" else math.sqrt(share))
