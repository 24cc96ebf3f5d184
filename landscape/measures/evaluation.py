"""Loss and accuracy of a problem: one forward pass, and the check that the numbers are numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

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
    loss, correct, counted, classes = 0.0, 0, 0, None
    for batch in problem.batches():
        with torch.no_grad():
            outputs = problem.outputs(theta, batch.inputs)
            losses = problem.losses_of(outputs, batch)
        charge("forward", len(batch))
        bad = (~torch.isfinite(losses)).nonzero().flatten()
        if len(bad):
            raise NonFiniteError(
                f"the loss is NaN or infinite on {len(bad)} of the samples {batch.start} to {batch.stop - 1}, first on "
                f"sample {batch.start + int(bad[0])}; look at that input or use --dtype float64."
            )
        loss += float((losses.double() * batch.weights.double()).sum()) / problem.total_weight
        if _are_logits(problem, outputs, batch.targets):
            ignored = problem.ignored_label
            kept = torch.ones_like(batch.targets, dtype=torch.bool) if ignored is None else batch.targets != ignored
            correct += int(((outputs.argmax(1) == batch.targets) & kept).sum())
            counted += int(kept.sum())
            classes = outputs.shape[1]
    return Evaluation(loss, correct / counted if counted else math.nan, classes)


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
