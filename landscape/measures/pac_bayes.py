"""The PAC-Bayes flatness: how much Gaussian noise on the weights the network bears.

Legend: P parameters, N samples, K draws, J = 3 noise levels that share their draws.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from landscape.curvature.shifted import Shifted
from landscape.errors import NotApplicableError
from landscape.linalg.means import repeated_sampling_stderr, weighted_mean
from landscape.linalg.roots import Root, jackknife_root
from landscape.measures.metering import Progress, announce, metered
from landscape.measures.noise import SHARED_BY, noisy_values
from landscape.measures.sample_groups import SampleGroups
from landscape.parameters import flatten
from landscape.problem import Problem
from landscape.records import Record
from landscape.work import WEIGHTS

_KEY, _MAGNITUDE = 1_000_016, 1_000_017
_FEWEST = 17  # with 16 degrees of freedom a standard error is certain enough to stop on
# Of the three levels to a middle one: first wide ones, around what the bisection gives, then near ones around the root
# of those, for a parabola follows the drop over a short way only.
_WIDE, _NEAR = np.array([0.8, 1.0, 1.25]), np.array([0.9, 1.0, 1.1])
_WIDEST = 1e6  # factor from the first sigma tried to the largest and the smallest
_ROUGH = 1.5  # the bisection ends with two sigmas of this ratio
_DRAWS = 4  # of the bisection, and before it is asked whether the levels lie well
_MOVES = 6  # how often the levels are moved to where the target is

Of = Literal["accuracy", "loss"]
Deviation = Callable[[float], Tensor]  # sigma -> the standard deviation of each parameter's noise (P,)


@metered
def pac_bayes_sigma(
    problem: Problem,
    *,
    target: float = 0.1,
    of: Of = "accuracy",
    m: int | None = SHARED_BY,
    rtol: float = 0.05,
    budget: float = 200.0,
    seed: int = 0,
    on_progress: Progress | None = None,
) -> Record:
    """The largest sigma whose noise costs no more than `target` accuracy (or loss) on average:

        sigma = max { s : E_u [ A(theta) - A(theta + u) ] <= target,  u ~ N(0, s^2 I) }

    with A the accuracy, or the negative loss. sigma is a true standard deviation (a code in use draws with sigma^2 in
    its place). The mean drop D(s) is taken to rise with s: bisection with a few draws finds where it passes the
    target; then three values of s around it share as many draws as the asked error needs, and sigma is where the
    parabola in s^2 through the three mean drops meets the target, exactly so for a drop proportional to s^2.

    Args:
        problem: the problem; noise goes on all of its parameters, not on batch normalisation's running statistics.
        target: the drop of the accuracy, as a share, or the increase of the loss.
        of: what drops.
        m: consecutive samples that share a draw; None for all. It decides the error of the value, not its expectation.
        rtol: stop at this relative standard error.
        budget: gradient-equivalents at most; the bisection and two draws at the three levels are always made.
        seed: of the noise; draw k of group b depends on (seed, k, b) alone.
        on_progress: hears the running estimate.

    Returns:
        A record: `value` sigma; `stderr` by the jackknife over the draws; `sampling_stderr` that of the mean drop
        over the slope of D; `target`, `of`, `m`, `draws`, `flatness` 1/sigma^2, `levels`: `sigma`, mean `drop`
        and its `stderr` at the three levels, `perturbed_loss` and `perturbed_accuracy` (null without classes) at the
        middle one.

    Cost: 1/3 gradient-equivalent a draw and level: 1 a draw at the three levels, 10 to 15 for the bisection.

    Raises:
        NotApplicableError: there are no classes (of accuracy); or the drop stays below the target at any noise, as
            where the accuracy is near that of guessing.

    Reference: Jiang et al. 2020, equation 53 (1/sigma^2) and appendix D; METHODS section 1.
    """
    theta = flatten(problem.parameters)
    one = torch.ones_like(theta)
    first = 0.1 * float(theta.double().square().mean().sqrt()) or 0.1
    return _Search(problem, lambda s: s * one, _KEY, target, of, m, seed).run(first, rtol, budget, on_progress, {})


@metered
def pac_bayes_sigma_magnitude(
    problem: Problem,
    *,
    target: float = 0.1,
    of: Of = "accuracy",
    epsilon: float = 1e-3,
    m: int | None = SHARED_BY,
    rtol: float = 0.05,
    budget: float = 200.0,
    seed: int = 0,
    on_progress: Progress | None = None,
) -> Record:
    """`pac_bayes_sigma` with noise relative to the weights: u_i ~ N(0, s^2 theta_i^2 + epsilon^2).

    Args:
        problem, target, of, m, rtol, budget, seed, on_progress: as for `pac_bayes_sigma`.
        epsilon: the standard deviation of the noise on a parameter that is 0.

    Returns:
        A record as that of `pac_bayes_sigma`, with `epsilon`.

    Raises:
        NotApplicableError: as `pac_bayes_sigma`, or the noise epsilon alone costs more than the target.

    Reference: Jiang et al. 2020, equation 61 and appendix C.4.
    """
    theta = flatten(problem.parameters)

    def deviation(s: float) -> Tensor:
        return (s**2 * theta.square() + epsilon**2).sqrt()

    search = _Search(problem, deviation, _MAGNITUDE, target, of, m, seed)
    return search.run(0.1, rtol, budget, on_progress, {"epsilon": epsilon})


class _Search:
    """The drop of accuracy or loss as a function of sigma, and where it meets the target."""

    def __init__(
        self, problem: Problem, deviation: Deviation, key: int, target: float, of: Of, m: int | None, seed: int
    ) -> None:
        self._problem, self._deviation, self._key = problem, deviation, key
        self._target, self._of, self._m, self._seed = target, of, m, seed
        self._groups = SampleGroups(problem, m)
        base = Shifted(problem).values()
        self._spent = WEIGHTS["forward"]
        if of == "accuracy":
            if not base.counted.sum():
                raise NotApplicableError("there is no accuracy to lose; set its option `of` to loss")
            if base.accuracy <= target:
                raise NotApplicableError(f"the accuracy, {base.accuracy:.3g}, is not above the target {target:g}")
        self._counted = base.counted
        self._weights = base.counted if of == "accuracy" else base.weights
        self._before = self._height(base.losses, base.correct)

    def _height(self, losses: np.ndarray, correct: np.ndarray) -> np.ndarray:
        """What may drop, by sample: the share of right labels, or the negative loss; (..., N)."""
        return correct / np.maximum(self._counted, 1) if self._of == "accuracy" else -losses

    def run(
        self, first: float, rtol: float, budget: float, on_progress: Progress | None, details: dict[str, float]
    ) -> Record:
        """Search from a first guess of sigma; `details` go into the record."""
        announce(on_progress, min(budget, 10.0 + _FEWEST))
        rough = self._bisect(first, max(1, min(_DRAWS, int(budget / 12))))
        levels, narrow, moves, wanted = self._levels(rough * _WIDE), False, 0, _DRAWS
        while True:
            affordable = max(2, levels.draws + int(budget - self._spent + 1e-9))
            wanted = min(wanted, affordable)
            for k in range(levels.draws, wanted):
                levels.add(self._drops(levels.sigmas, k))
            root = jackknife_root(levels.sigmas**2, np.array(levels.means), self._target)
            sigma = math.sqrt(root.value)
            stderr = root.stderr / (2 * sigma)
            low, _, high = levels.sigmas
            inside = 0.95 * low <= sigma <= 1.05 * high
            # a few draws may lie beside the levels by their own noise: then more of them are made first
            astray = not inside and (levels.draws >= _FEWEST or not low - 2 * stderr <= sigma <= high + 2 * stderr)
            found = narrow and inside
            converged = found and levels.draws >= min(_FEWEST, affordable) and stderr <= rtol * sigma
            again = min(_FEWEST, levels.draws) if narrow else _DRAWS
            move = (astray or not narrow) and moves < _MOVES and self._spent + again <= budget
            done = converged or (not move and wanted >= affordable) or math.isnan(sigma)
            done, move, astray, centre = self._problem.group.first((bool(done), bool(move), bool(astray), sigma))
            if on_progress is not None:
                on_progress(f"{sigma:.4g} ± {stderr:.2g}", min(budget, self._spent + (0 if done else _FEWEST)))
            if done:
                return self._record(levels, root, sigma, stderr, bool(converged), details)
            if move:
                narrow = narrow or not astray
                levels = self._levels(centre * (_NEAR if narrow else _WIDE))
                moves, wanted = moves + 1, again
            else:
                wanted = max(_FEWEST, 2 * wanted)

    def _levels(self, sigmas: np.ndarray) -> _Levels:
        return _Levels(sigmas, self._weights)

    def _drops(self, sigmas: Sequence[float] | np.ndarray, draw: int) -> np.ndarray:
        """What each sample loses at each sigma of one draw, with its loss and right labels: (J, 3, N)."""
        scales = [self._deviation(float(sigma)) for sigma in sigmas]
        rows_J2N = noisy_values(self._groups, scales, seed=self._seed, key=self._key, draw=draw)
        self._spent += len(sigmas) * WEIGHTS["forward"]
        drops_JN = self._before - self._height(rows_J2N[:, 0], rows_J2N[:, 1])
        return np.concatenate([drops_JN[:, None], rows_J2N], axis=1)

    def _bisect(self, first: float, draws: int) -> float:
        """Where the mean drop of a few draws passes the target, to a ratio of 1.5.

        Raises:
            NotApplicableError: it does not.
        """

        def above(sigma: float) -> bool:
            means = [float(weighted_mean(self._drops([sigma], k)[0, 0], self._weights)) for k in range(draws)]
            return bool(self._problem.group.first(not np.mean(means) <= self._target))  # NaN: more than it bears

        low = high = first
        if above(first):
            while above(low := low / 4):
                high = low
                if low < first / _WIDEST:
                    raise NotApplicableError(f"the {self._of} drops by more than {self._target:g} under any noise")
        else:
            while not above(high := high * 4):
                low = high
                if high > first * _WIDEST:
                    raise NotApplicableError(f"the {self._of} drops by less than {self._target:g} under any noise")
        while high / low > _ROUGH:
            middle = math.sqrt(low * high)
            low, high = (low, middle) if above(middle) else (middle, high)
        return math.sqrt(low * high)

    def _record(
        self, levels: _Levels, root: Root, sigma: float, stderr: float, converged: bool, details: dict[str, float]
    ) -> Record:
        means_KJ, counted = np.array(levels.means), float(self._counted.sum())
        errors = means_KJ.std(0, ddof=1) / math.sqrt(levels.draws)
        share = len(self._problem) / self._problem.population
        of_drop = repeated_sampling_stderr(
            levels.sums, levels.squares, levels.draws, self._weights, sampled_share=share
        )
        return Record(
            value=sigma,
            stderr=stderr,
            sampling_stderr=of_drop / (2 * sigma * root.slope) if share < 1 else 0.0,
            converged=converged,
            details={
                "target": self._target,
                "of": self._of,
                **details,
                "m": self._m,
                "draws": levels.draws,
                "flatness": 1 / sigma**2,
                "levels": {
                    "sigma": levels.sigmas.tolist(),
                    "drop": means_KJ.mean(0).tolist(),
                    "stderr": errors.tolist(),
                },
                "perturbed_loss": levels.loss(self._problem.weights.numpy()),
                "perturbed_accuracy": levels.correct / levels.draws / counted if counted else math.nan,
            },
        )


class _Levels:
    """Three sigmas that share their draws: the mean drops, and what the samples give at the middle one."""

    def __init__(self, sigmas: np.ndarray, weights: np.ndarray) -> None:
        self.sigmas = sigmas
        self.means: list[np.ndarray] = []
        self.sums, self.squares, self._losses = np.zeros((3, len(weights)))
        self.correct = 0.0
        self._weights = weights

    @property
    def draws(self) -> int:
        """K."""
        return len(self.means)

    def add(self, drops_J3N: np.ndarray) -> None:
        """Note a draw's drops, losses and right labels."""
        means_J = weighted_mean(drops_J3N[:, 0].T, self._weights)
        self.means.append(means_J)
        drops_N, losses_N, correct_N = drops_J3N[1]
        self.sums += drops_N - means_J[1]
        self.squares += (drops_N - means_J[1]) ** 2
        self._losses += losses_N
        self.correct += float(correct_N.sum())

    def loss(self, weights: np.ndarray) -> float:
        """The mean loss at the middle sigma."""
        return float(weighted_mean(self._losses, weights)) / self.draws
