"""The loss as a function of a shift of the weights: values of single samples and the gradient at theta + e.

    L_S(theta + e) = sum_{n in S} w_n l_n(theta + e) / sum_{n in S} w_n

for all samples, which the processes of a group share, or for consecutive ones that one process computes alone. The
shifted weights go in by the problem's own functions of theta; the model keeps its own.

Legend: P parameters, S samples.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from landscape.linalg.means import weighted_mean
from landscape.parameters import flatten, unflatten
from landscape.problem import Problem
from landscape.problem.predictions import right_labels
from landscape.work import charge


@dataclass(frozen=True)
class SampleValues:
    """What single samples give at some weights, float64.

    Attributes:
        losses: l_n (S,).
        weights: w_n (S,).
        correct: labels predicted right (S,).
        counted: labels that count (S,); 0 where there are no classes.
    """

    losses: np.ndarray
    weights: np.ndarray
    correct: np.ndarray
    counted: np.ndarray

    @property
    def loss(self) -> float:
        """The mean loss; NaN or infinite where a loss that counts is."""
        counts = self.weights > 0
        return float(weighted_mean(self.losses[counts], self.weights[counts]))

    @property
    def accuracy(self) -> float:
        """The share of labels predicted right; NaN where there are no classes."""
        counted = self.counted.sum()
        return float(self.correct.sum() / counted) if counted else math.nan


class Shifted:
    """L_S(theta + e) for vectors e (P,).

    Args:
        problem: the problem; its parameters theta are read once, now.
        span: consecutive samples (start, stop) that this process computes alone; None for all of them, which the
            processes of the problem's group share: each then makes the same calls and gets the same results.
        theta: the problem's parameters (P,), where they are at hand.
    """

    def __init__(self, problem: Problem, span: tuple[int, int] | None = None, theta: Tensor | None = None) -> None:
        self._problem = problem
        self._span = span
        self._named = problem.parameters
        self.theta = flatten(self._named) if theta is None else theta
        low, high = span or (0, len(problem))
        self._low = low
        self.weights = problem.weights[low:high].numpy()
        self.shared = span is None and problem.group.size > 1

    def values(self, e: Tensor | None = None) -> SampleValues:
        """The samples' values at theta + e (at theta without e). Cost: a forward pass."""
        values, _ = self._run(e, slope=False)
        return values

    def with_gradient(self, e: Tensor | None = None) -> tuple[SampleValues, Tensor]:
        """The samples' values at theta + e and the gradient of L_S there (P,). Cost: a gradient."""
        values, gradient = self._run(e, slope=True)
        assert gradient is not None, "it was asked for"
        return values, gradient

    def agreed(self, decision: float) -> float:
        """The value that process 0 has, where several compute together; what is decided by it is decided alike."""
        return float(self._problem.group.first(decision)) if self.shared else decision

    def _run(self, e: Tensor | None, *, slope: bool) -> tuple[SampleValues, Tensor | None]:
        problem = self._problem
        named = self._named if e is None else unflatten(self.theta + e, self._named)
        if slope:
            named = {name: tensor.detach().requires_grad_() for name, tensor in named.items()}
        rows_3S = np.zeros((3, len(self.weights)))
        gradient = torch.zeros_like(self.theta) if slope else None
        for batch in problem.batches(*(self._span or ())):
            with torch.set_grad_enabled(slope):
                outputs = problem.outputs(named, batch.inputs, plain=True)
                losses = problem.losses_of(outputs, batch)
                if gradient is not None:
                    share = (losses * batch.weights).sum() / float(self.weights.sum())
                    parts = torch.autograd.grad(share, list(named.values()), allow_unused=True, materialize_grads=True)
                    gradient += flatten(dict(zip(named, parts, strict=True)))
            charge("gradient" if slope else "forward", len(batch))
            rows = slice(batch.start - self._low, batch.stop - self._low)
            rows_3S[0, rows] = losses.detach().cpu().double()
            labels = right_labels(problem, outputs, batch.targets)
            if labels is not None:
                rows_3S[1, rows], rows_3S[2, rows] = labels[0].cpu(), labels[1].cpu()
        if self.shared:
            rows_3S = problem.group.sum_array(rows_3S)
            if gradient is not None:
                problem.group.sum(gradient)
        return SampleValues(rows_3S[0], self.weights, rows_3S[1], rows_3S[2]), gradient
