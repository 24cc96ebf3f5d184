"""Loss and accuracy of a problem: one forward pass, and the check that the numbers are numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from landscape.errors import NonFiniteError
from landscape.problem import Problem
from landscape.work import charge


@dataclass(frozen=True)
class Evaluation:
    """The mean loss, and the share of samples whose largest logit is the label's (NaN where there are no classes)."""

    loss: float
    accuracy: float
    classes: int | None


def evaluate(problem: Problem) -> Evaluation:
    """Evaluate the network on all samples. Cost: 1/3 gradient-equivalent.

    Raises:
        NonFiniteError: a sample's loss is NaN or infinite; the message names the first ones.
    """
    theta = problem.parameters
    loss, correct, classes = 0.0, 0, None
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
        if problem.classes:
            correct += int((outputs.argmax(1) == batch.targets).sum())
            classes = outputs.shape[1]
    return Evaluation(loss, correct / len(problem) if problem.classes else math.nan, classes)
