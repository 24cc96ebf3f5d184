"""Loss and accuracy of a problem: one forward pass, and the check that the numbers are numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from landscape.errors import NonFiniteError
from landscape.problem import Problem
from landscape.work import charge


@dataclass(frozen=True)
class Evaluation:
    """The mean loss, and the share of unignored labels whose logit is the largest (NaN where there are no classes)."""

    loss: float
    accuracy: float
    classes: int | None


def evaluate(problem: Problem) -> Evaluation:
    """Evaluate the network on all samples. Cost: 1/3 gradient-equivalent.

    Raises:
        NonFiniteError: a sample's loss is NaN or infinite; the message names the first ones.
    """
    theta = problem.parameters
    loss, correct, counted, classes = 0.0, 0, 0, 0
    wrong, where = 0, (0, 0, 0)
    for batch in problem.batches():
        with torch.no_grad():
            outputs = problem.outputs(theta, batch.inputs)
            losses = problem.losses_of(outputs, batch)
        charge("forward", len(batch))
        bad = (~torch.isfinite(losses)).nonzero().flatten()
        if len(bad):
            wrong, where = len(bad), (batch.start, batch.stop - 1, batch.start + int(bad[0]))
            break
        loss += float((losses.double() * batch.weights.double()).sum()) / problem.total_weight
        if _are_logits(problem, outputs, batch.targets):
            ignored = problem.ignored_label
            kept = torch.ones_like(batch.targets, dtype=torch.bool) if ignored is None else batch.targets != ignored
            correct += int(((outputs.argmax(1) == batch.targets) & kept).sum())
            counted += int(kept.sum())
            classes = outputs.shape[1]
    group = problem.group
    mine = np.zeros((group.size, 8))
    mine[group.rank] = (loss, correct, counted, classes, wrong, *where)
    of_all = group.sum_array(mine)
    failed = of_all[of_all[:, 4] > 0]
    if len(failed):  # every process learns of it, so that all end with the same words
        count, low, high, sample = (int(value) for value in failed[0, 4:])
        raise NonFiniteError(
            f"the loss is NaN or infinite on {count} of the samples {low} to {high}, first on sample {sample}; "
            "look at that input or use --dtype float64."
        )
    loss, correct, counted = of_all[:, 0].sum(), int(of_all[:, 1].sum()), int(of_all[:, 2].sum())
    classes = int(of_all[:, 3].max())
    return Evaluation(float(loss), correct / counted if counted else math.nan, classes or None)


def _are_logits(problem: Problem, outputs: Any, targets: Any) -> bool:
    """Whether the outputs are logits (N, K, ...) for integer labels (N, ...)."""
    if problem.classes:
        return True
    return (
        problem.ignored_label is not None
        and isinstance(outputs, Tensor)
        and isinstance(targets, Tensor)
        and not targets.is_floating_point()
        and outputs.shape[:1] + outputs.shape[2:] == targets.shape
    )
