"""The local learning coefficient, from Langevin chains around the weights.

Legend: P parameters, N samples, C chains, T steps, J mini-batches.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from landscape.errors import NonFiniteError, NotApplicableError
from landscape.linalg.chains import between_chains, split_rhat
from landscape.linalg.precision import wide
from landscape.linalg.probes import gaussian, uniform
from landscape.measures.metering import Progress, announce, metered
from landscape.measures.sample_groups import SampleGroups
from landscape.problem import BN_GROUP, Problem
from landscape.records import Record
from landscape.work import WEIGHTS

_ORDER, _BATCHES, _NOISE = 1_000_018, 1_000_019, 1_000_020
_LONGEST_STEP = 0.02  # of the first step size tried, in units of 1/gamma
_PILOT_STEPS, _PILOTS, _PILOT_SHARE = 40, 8, 0.04  # of the budget, each
_PILOT_BIAS = 0.03  # of the value by the size of the steps; it grows by about two while a chain leaves its start
_MIXED, _SMALL_BIAS = 1.1, 0.1  # R-hat and bias up to which chains have converged
_STRETCHES = 50  # of a chain, for which its record has the mean loss


@metered
def local_learning_coefficient(
    problem: Problem,
    *,
    gamma: float = 100.0,
    nbeta: float | None = None,
    step_size: float | None = None,
    chains: int = 4,
    steps: int = 1000,
    burn_in: float = 0.5,
    m: int = 64,
    rtol: float = 0.05,
    budget: float = 200.0,
    seed: int = 0,
    on_progress: Progress | None = None,
) -> Record:
    """The local learning coefficient at the weights w*, estimated by Langevin chains (SGLD):

        lambda = n beta (E_w [L(w)] - L(w*)),   beta = 1/log n,   w ~ exp(-n beta L(w) - gamma/2 ||w - w*||^2)
        w <- w - (eps/2) (n beta grad L_B(w) + gamma (w - w*)) + N(0, eps)

    from w*, with a mini-batch B for each step: one of J = N/m fixed random groups of the samples, drawn anew. L(w) -
    L(w*) is taken on B at the w that the gradient is taken at, so that what the mini-batch adds to both drops out. Of a
    regular model in d parameters lambda tends to d/2, less what gamma holds in place; of a singular one it is smaller.

    Args:
        problem: the problem; n is the number of its samples whose labels count, L(w) their mean loss (for a likelihood
            the mean of -log p), with batch normalisation's running statistics as they are.
        gamma: how strongly the chains are held at w*.
        nbeta: n beta; None for n/log n.
        step_size: eps; None for the largest of 0.02/gamma and fractions of it whose pilot of 40 steps keeps `step_bias`
            within 3%.
        chains: independent chains C; the standard error is that between them.
        steps: of each chain.
        burn_in: the share of the steps that is left out at the start.
        m: samples a mini-batch.
        rtol: `converged` asks for this relative standard error, for R-hat up to 1.1, for a `step_bias` of at most 10%
            and that no chain left.
        budget: gradient-equivalents at most: the chains become shorter; two steps are always made.
        seed: of the mini-batches and of the noise, which depend on it, on the chain and on the step alone.
        on_progress: hears the mean of the chains so far.

    Returns:
        A record: `value` the mean over the chains that stayed; `stderr` between them over sqrt(C) (NaN for one);
        `sampling_stderr` NaN unless all samples of the split are used; `gamma`, `nbeta`, `step_size`, `chains`,
        `steps`, `burn_in` (steps), `m`; `chain_values` (null where a chain is not finite), `left`: the numbers of the
        chains that left the neighbourhood (a loss that is not finite, or a value above P, where lambda is at most P/2);
        `negative`: those that found weights of a smaller mean loss than w*, which then is no minimum; `rhat`;
        `step_bias`: the relative excess of the value by the size of the steps, to first order; `distances`: ||w - w*||
        at the end; `traces`: the mean of L(w) - L(w*) over 50 stretches of each chain; `perturbed_loss` and
        `perturbed_accuracy` of the chains that stayed.

    Cost: m/N gradient-equivalents a step and chain; 1/3; the pilots, up to 4% of the budget each. Each step draws P
    values.

    Raises:
        NotApplicableError: fewer than two samples count (log n is 0).
        NonFiniteError: every chain left.

    Reference: Lau et al. 2023, section 4 (the estimator and SGLD); Watanabe 2013 (beta = 1/log n). `step_bias`:
    stationarity of ||w - w*||^2 under the step, the first-order term of its excess.
    """
    count = int((problem.weights > 0).sum())
    if count < 2:
        raise NotApplicableError("n beta = n/log n needs at least two samples")
    nbeta = count / math.log(count) if nbeta is None else nbeta
    sampler = _Sampler(problem, m, nbeta, gamma, seed)
    share = sampler.samples / len(problem)  # gradient-equivalents a step
    left_over = budget - WEIGHTS["forward"]
    if step_size is None:
        pilot = max(4, min(_PILOT_STEPS, int(_PILOT_SHARE * budget / share)))
        step_size, pilots = sampler.step_size(pilot)
        left_over -= pilots * pilot * share
    steps = max(2, min(steps, int(left_over / (chains * share) + 1e-9)))
    start = min(int(burn_in * steps), steps - 2)
    cost = budget - left_over + chains * steps * share
    announce(on_progress, cost)
    rises_CT = np.zeros((chains, steps))
    rest_C6 = np.zeros((chains, 6))
    for c in problem.group.share(chains):
        chain = sampler.run(c, steps, step_size, start)
        rises_CT[c], rest_C6[c] = chain.rises, chain.rest
        if on_progress is not None:
            on_progress(f"chain {c + 1}: {nbeta * chain.rises[start:].mean():.4g}", cost)
    rises_CT, rest_C6 = problem.group.sum_array(rises_CT), problem.group.sum_array(rest_C6)
    values_C = nbeta * rises_CT[:, start:].mean(1)
    stayed = np.isfinite(values_C) & (values_C <= problem.size)
    if not stayed.any():
        raise NonFiniteError(f"every chain left the neighbourhood of the weights; set step_size below {step_size:.2g}.")
    value, stderr = between_chains(values_C[stayed])
    rhat = split_rhat(rises_CT[stayed, start:])
    excess, work, loss, correct, counted = rest_C6[stayed, :5].sum(0)
    bias = excess / work if work > 0 else math.nan
    mixed = rhat <= _MIXED and bias <= _SMALL_BIAS and bool(stayed.all())
    return Record(
        value=value,
        stderr=stderr,
        sampling_stderr=0.0 if len(problem) >= problem.population else math.nan,
        converged=bool(mixed and stderr <= rtol * abs(value)),
        details={
            "gamma": gamma,
            "nbeta": nbeta,
            "step_size": step_size,
            "chains": chains,
            "steps": steps,
            "burn_in": start,
            "m": sampler.samples,
            "chain_values": values_C.tolist(),
            "left": np.flatnonzero(~stayed).tolist(),
            "negative": np.flatnonzero(values_C < 0).tolist(),
            "rhat": rhat,
            "step_bias": float(bias),
            "distances": rest_C6[:, 5].tolist(),
            "traces": [
                [float(part.mean()) for part in np.array_split(row, min(steps, _STRETCHES))] for row in rises_CT
            ],
            "perturbed_loss": float(loss / (stayed.sum() * (steps - start))),
            "perturbed_accuracy": float(correct / counted) if counted else math.nan,
        },
    )


def _stretches(row_T: np.ndarray) -> list[float]:
    return [float(part.mean()) for part in np.array_split(row_T, min(len(row_T), _STRETCHES))]


@dataclass(frozen=True)
class _Chain:
    """L(w) - L(w*) by step (T,), and sums over the steps that are kept.

    `rest`: the two terms of `step_bias`, the loss, right labels, counted labels; and the distance at the end.
    """

    rises: np.ndarray
    rest: np.ndarray


class _Sampler:
    """Langevin chains on the samples of a problem, in a fixed random order that makes the mini-batches."""

    def __init__(self, problem: Problem, m: int, nbeta: float, gamma: float, seed: int) -> None:
        self._nbeta, self._gamma, self._seed = nbeta, gamma, seed
        self._group = problem.group
        if problem.bn == "train":  # the statistics' groups are part of the loss
            m = BN_GROUP
        else:
            order = uniform(len(problem), seed, _ORDER, dtype=torch.float64).argsort()
            problem = problem.reordered(order)
        self.samples = min(m, len(problem))
        self._batches = SampleGroups(problem, m)
        self._losses = [self._batches.group(j) for j in range(len(self._batches))]
        base_J = np.zeros(len(self._losses))
        for j in self._group.share(len(self._losses)):
            base_J[j] = self._losses[j].values().loss  # by the very batches of the chains: the same rounding
        self._base_J = self._group.sum_array(base_J)
        self._loss = float(self._batches.omega @ self._base_J)

    def run(self, chain: int, steps: int, eps: float, start: int) -> _Chain:
        """A chain from w*; it ends where its loss is not finite, which all further steps then are, too."""
        x = torch.zeros_like(self._losses[0].theta)  # w - w*
        size, exact = len(x), wide(x.device)
        count = len(self._batches)
        chosen_T = ((uniform(steps, self._seed, _BATCHES, chain, dtype=torch.float64) + 1) / 2 * count).long().tolist()
        rises = np.full(steps, np.nan)
        rest = np.zeros(6)
        for t, j in enumerate(chosen_T):
            values, g = self._losses[j].with_gradient(x)
            weight = count * float(self._batches.omega[j])  # so that the mean over mini-batches is L
            rises[t] = weight * (values.loss - self._base_J[j])
            if not math.isfinite(rises[t]):
                break
            drift = (self._nbeta * weight) * g
            force = drift + self._gamma * x
            if t >= start:
                terms = torch.stack([(drift * force).sum(dtype=exact), (drift * x).sum(dtype=exact)]).tolist()
                loss = self._loss + rises[t]
                rest[:5] += (eps / 4 * terms[0], terms[1], loss, values.correct.sum(), values.counted.sum())
            noise = gaussian(size, self._seed, _NOISE, chain, t, dtype=x.dtype, device=x.device)
            x = x - (eps / 2) * force + math.sqrt(eps) * noise
        rest[5] = float(torch.linalg.vector_norm(x))
        return _Chain(rises, rest)

    def step_size(self, steps: int) -> tuple[float, int]:
        """The largest step size tried whose pilot has a small bias, and how many pilots that took."""
        found = (0.0, 0)
        if self._group.rank == 0:
            eps = _LONGEST_STEP / self._gamma
            for pilot in range(1, _PILOTS + 1):
                found = (eps, pilot)
                bias = self._bias(self.run(_PILOTS * 1000 + pilot, steps, eps, steps // 2))
                if bias <= _PILOT_BIAS:
                    break
                eps *= min(0.7, max(0.1, _PILOT_BIAS / bias)) if math.isfinite(bias) else 0.1
        eps, pilots = self._group.first(found)
        return float(eps), int(pilots)

    @staticmethod
    def _bias(chain: _Chain) -> float:
        excess, work = chain.rest[:2]
        return float(excess / work) if np.isfinite(chain.rises).all() and work > 0 else math.inf
