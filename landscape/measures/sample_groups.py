"""The samples that share one perturbation: all of them, or consecutive groups of m (m-sharpness).

Legend: G groups, N samples.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from landscape.curvature.shifted import Shifted
from landscape.errors import NotApplicableError
from landscape.parameters import flatten
from landscape.problem import BN_GROUP, Problem


class SampleGroups:
    """Groups of consecutive samples, each with a perturbation of its own.

    Args:
        problem: the problem.
        m: samples a group, the last may be smaller; None for one group of all samples.

    Attributes:
        spans: the groups with labels that count, as (start, stop).
        omega: their weights (G,), which sum to 1.
        together: whether the processes compute one group together; several groups are cut among them.
        samples: N.

    Raises:
        NotApplicableError: m cuts a group of batch statistics (bn="train").
    """

    def __init__(self, problem: Problem, m: int | None) -> None:
        size = len(problem) if m is None else min(m, len(problem))
        if problem.bn == "train" and size < len(problem) and size % BN_GROUP:
            raise NotApplicableError(f"with --bn train m must be a multiple of {BN_GROUP}, the statistics' groups")
        weights = problem.weights.numpy()
        spans = [(low, min(low + size, len(problem))) for low in range(0, len(problem), size)]
        self._problem = problem
        self._theta = flatten(problem.parameters)
        self.samples = len(problem)
        self.spans = [(low, high) for low, high in spans if weights[low:high].sum() > 0]
        self.omega = np.array([weights[low:high].sum() for low, high in self.spans]) / problem.total_weight
        self.together = size == self.samples

    def __len__(self) -> int:
        """The number of groups G."""
        return len(self.spans)

    def own(self) -> Iterator[tuple[int, Shifted]]:
        """This process's groups by number, as functions of a shift of the weights."""
        if self.together:
            yield 0, Shifted(self._problem, None, self._theta)
            return
        for g in self._problem.group.share(len(self)):
            yield g, self.group(g)

    def group(self, g: int) -> Shifted:
        """Group g, computed by this process alone."""
        return Shifted(self._problem, self.spans[g], self._theta)

    def rows(self, g: int) -> tuple[int, int]:
        """The samples of group g, (start, stop)."""
        return (0, self.samples) if self.together else self.spans[g]

    def of_all(self, rows: np.ndarray) -> np.ndarray:
        """Rows of all groups (or of all samples), from those that each process filled."""
        return rows if self.together else self._problem.group.sum_array(rows)
