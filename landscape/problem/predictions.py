"""Which labels a network gets right.

Legend: B samples of a batch, S labels a sample, K classes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from landscape.problem.problem import Problem


def right_labels(problem: Problem, outputs: Any, targets: Any) -> tuple[Tensor, Tensor] | None:
    """How many labels of each sample have the largest logit, and how many count: two integer tensors (B,).

    Labels that the loss ignores do not count. None where the outputs are no logits (B, K, ...) for integer labels
    (B, ...).
    """
    if not _are_logits(problem, outputs, targets):
        return None
    ignored = problem.ignored_label
    kept = torch.ones_like(targets, dtype=torch.bool) if ignored is None else targets != ignored
    right = (outputs.argmax(1) == targets) & kept
    return right.reshape(len(right), -1).sum(1), kept.reshape(len(kept), -1).sum(1)


def _are_logits(problem: Problem, outputs: Any, targets: Any) -> bool:
    if problem.classes:
        return True
    return (
        problem.ignored_label is not None
        and isinstance(outputs, Tensor)
        and isinstance(targets, Tensor)
        and not targets.is_floating_point()
        and outputs.shape[:1] + outputs.shape[2:] == targets.shape
    )
