"""Loss and accuracy of a problem: one forward pass, and the check that the numbers are numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from landscape.errors import NonFiniteError
from landscape.float32_products import full_products
from landscape.problem import Problem
from landscape.problem.predictions import right_labels
from landscape.work import charge


@dataclass(frozen=True)
class Evaluation:
    """The mean loss, and the share of unignored labels whose logit is the largest (NaN where there are no classes)."""

    loss: float
    accuracy: float
    classes: int | None


@full_products()
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
        labels = right_labels(problem, outputs, batch.targets)
        if labels is not None:
            correct, counted = correct + int(labels[0].sum()), counted + int(labels[1].sum())
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
