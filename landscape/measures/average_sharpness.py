"""Average-case sharpness: the mean increase of the loss under random shifts of the weights.

Legend: P parameters, N samples, K pairs of opposite shifts.
"""

from __future__ import annotations

import math

import numpy as np

from landscape.curvature.shifted import Shifted
from landscape.linalg.ball import Norm
from landscape.linalg.means import repeated_sampling_stderr, weighted_mean
from landscape.measures.metering import Progress, announce, metered
from landscape.measures.noise import SHARED_BY, noisy_values
from landscape.measures.sample_groups import SampleGroups
from landscape.measures.worst_sharpness import relative_scale
from landscape.problem import Problem
from landscape.records import Record
from landscape.work import WEIGHTS

_KEY = 1_000_014
_FEWEST = 17  # with 16 degrees of freedom a standard error is certain enough to stop on
_PAIR = 2 * WEIGHTS["forward"]


@metered
def average_sharpness(
    problem: Problem,
    *,
    rho: float = 0.1,
    norm: Norm = 2,
    adaptive: bool = True,
    m: int | None = SHARED_BY,
    rtol: float = 0.05,
    budget: float = 200.0,
    seed: int = 0,
    on_progress: Progress | None = None,
) -> Record:
    """Average-case sharpness, E_z [ L(theta + rho c ∘ z) ] - L(theta).

    c = |theta| (adaptive) or 1; z ~ N(0, I) with p = 2 (rho c is a true standard deviation), z uniform in the box
    (-1, 1)^P with p = inf. Shifts come in pairs of opposite ones, so that odd terms, the gradient's first, cancel. Each
    group of m samples has shifts of its own: the mean over samples has the same expectation, and a smaller error. Pair
    k of group b depends on (seed, k, b) alone.

    Args:
        problem: the problem; all of its parameters are shifted, the running statistics of batch normalisation are not.
        rho: the scale of the noise.
        norm: p: 2 for Gaussian noise, inf for uniform noise.
        adaptive: whether the noise is relative to |theta|.
        m: consecutive samples that share a shift; None for all. It decides the error of the value, not its expectation.
        rtol: stop at this relative standard error.
        budget: gradient-equivalents at most; one pair is always taken.
        seed: of the shifts.
        on_progress: hears the running estimate.

    Returns:
        A record: `value`; `stderr` from the variance of the pairs; `sampling_stderr` from the variance between samples
        less the shifts' part; `rho`, `norm`, `adaptive`, `m`, `pairs`, `perturbed_loss`, `perturbed_accuracy` (means
        under the noise), and `increases`, the mean increase of each pair.

    Cost: 1/3 gradient-equivalent, and 2/3 a pair.

    Reference: Andriushchenko et al. 2023, section 3 (S_avg).
    """
    affordable = max(1, int((budget - WEIGHTS["forward"]) / _PAIR + 1e-9))
    wanted = min(_FEWEST, affordable)
    announce(on_progress, WEIGHTS["forward"] + wanted * _PAIR)
    groups = SampleGroups(problem, m)
    scale = rho * relative_scale(problem, adaptive)
    known = _Sums(problem)
    increases: list[float] = []
    while True:
        for k in range(len(increases), wanted):
            rows_22N = noisy_values(groups, (scale, -scale), norm=norm, seed=seed, key=_KEY, draw=k)
            increases.append(known.pair(rows_22N))
        value = float(np.mean(increases))
        stderr = float(np.std(increases, ddof=1) / math.sqrt(wanted)) if wanted > 1 else math.nan
        converged = stderr <= rtol * abs(value)
        if problem.group.first(bool(converged or wanted >= affordable)):
            break
        wanted = min(affordable, 2 * wanted)
        if on_progress is not None:
            on_progress(f"{value:.4g} ± {stderr:.2g}", WEIGHTS["forward"] + wanted * _PAIR)
    return Record(
        value=value,
        stderr=stderr,
        sampling_stderr=repeated_sampling_stderr(
            known.sums, known.squares, wanted, problem.weights.numpy(), sampled_share=len(problem) / problem.population
        ),
        converged=bool(converged),
        details={
            "rho": rho,
            "norm": norm,
            "adaptive": adaptive,
            "m": m,
            "pairs": wanted,
            "perturbed_loss": known.loss + value,
            "perturbed_accuracy": known.accuracy(wanted),
            "increases": increases,
        },
    )


class _Sums:
    """The samples' losses at theta, and what the pairs add up to."""

    def __init__(self, problem: Problem) -> None:
        self._base = Shifted(problem).values()
        self.loss = self._base.loss
        self.sums, self.squares = np.zeros(len(problem)), np.zeros(len(problem))
        self._correct = 0.0

    def pair(self, rows_22N: np.ndarray) -> float:
        """Note the losses and right labels of the shifts of a pair, (2, 2, N); the mean increase of the loss."""
        losses_N, correct_N = rows_22N.mean(0)
        self._correct += float(correct_N.sum())
        rises_N = losses_N - self._base.losses
        increase = float(weighted_mean(rises_N, self._base.weights))
        self.sums += rises_N - increase
        self.squares += (rises_N - increase) ** 2
        return increase

    def accuracy(self, pairs: int) -> float:
        """The mean accuracy under the shifts; NaN where there are no classes."""
        counted = float(self._base.counted.sum())
        return self._correct / pairs / counted if counted else math.nan
