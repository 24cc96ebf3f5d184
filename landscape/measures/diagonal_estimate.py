"""The diagonal of the Hessian: exactly where the loss is curved, by random probes where the network is.

    diag H = diag G + diag R,    (diag G)_i = (1/W) sum_n w_n sum_k (J_n' S_n e_k)_i^2,    diag R = E_v[v ∘ R v]

G is the Gauss-Newton part, whose diagonal takes a backward pass for each output of a sample. R is the residual, whose
diagonal is 0 for every tensor that the outputs are linear in (`landscape.curvature.linear_tensors`): for all those of a
network of convolutions, linear layers and ReLU. For the others it is known by random signs v (Bekas, Kokiopoulou and
Saad 2007) that are fresh for every block b of 32 samples, R_b for R: off-diagonal entries are noise, which B blocks
bring down by sqrt(B) at the cost of one pass. Where a sample has many outputs G is known by signs too, a fresh one for
each sample; where H is not taken apart v ∘ H_b v estimates it.

Legend: P parameters, B blocks, k probes a block, g packs of probes, T tensors, r cotangents.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from landscape.curvature.gauss_newton import DiagonalSum, probes, squared_products
from landscape.curvature.hessian import Matrix, batch_products
from landscape.curvature.per_sample import PerSampleGradients
from landscape.curvature.products import Way
from landscape.linalg.precision import wide
from landscape.linalg.probes import rademacher
from landscape.measures.gauss_newton import shared_gradients, shared_linear, squares_within
from landscape.measures.metering import Progress, announce
from landscape.measures.sharing import Shared
from landscape.measures.trace_estimate import TraceEstimate
from landscape.measures.trace_parts import Blocks, SquaredProducts
from landscape.parameters import group_positions
from landscape.problem import Problem
from landscape.work import WEIGHTS

_PACKS = 4  # parts of the probes whose spread tells the error of what is no sum
_SCALARS_AT_ONCE = 2**26
_OWN_PROBES = 1_000_021  # keeps the signs apart from those of other measures


@dataclass(frozen=True)
class Diagonal:
    """An estimate of diag H.

    Attributes:
        values: (P,).
        variances: of the probes, (P,).
        packs: estimates from a part of the probes each, (g, P); their mean is `values`.
        trace: the same by block, probe and tensor, for sums over tensors.
        relative_error: the norm of the error over that of the diagonal.
        converged: whether that is at most what was asked.
        probes: k.
        estimator: `gauss-newton` where H was taken apart, with `exact` for its Gauss-Newton part, or `hutchinson`.
    """

    values: Tensor
    variances: Tensor
    packs: Tensor
    trace: TraceEstimate
    relative_error: float
    converged: bool
    probes: int
    estimator: str

    def error_of(self, statistic: Callable[[Tensor], np.ndarray]) -> np.ndarray:
        """The root of the mean squared error of a statistic of the diagonal (P,) -> (m,), by the jackknife over packs.

        It holds what the probes' noise adds at random and, as a statistic that is not linear is biased by it, by the
        jackknife's estimate of that.
        """
        packs = len(self.packs)
        if packs < 2:  # nothing was probed
            return np.zeros_like(statistic(self.values))
        left = np.stack([statistic((packs * self.values - pack) / (packs - 1)) for pack in self.packs])
        mean = left.mean(0)
        random = (packs - 1) / packs * ((left - mean) ** 2).sum(0)
        bias = (packs - 1) * (mean - statistic(self.values))
        error: np.ndarray = np.sqrt(random + bias**2)
        return error


def estimate_diagonal(
    problem: Problem,
    *,
    rtol: float,
    budget: float,
    seed: int,
    hvp: Way,
    shared: Shared,
    on_progress: Progress | None,
) -> Diagonal:
    """Probe until the error of the diagonal, in norm, is `rtol` times the diagonal, or the budget is spent.

    At least two probes, four where the budget allows; then at most twice as many at once.

    Cost: 2.4 gradient-equivalents a probe, and (1 + 2K)/3 for the Gauss-Newton part, or 2/3 a probe of it.
    """

    def compute() -> Diagonal:
        return _Estimation(problem, budget, seed, hvp, shared).run(rtol, budget, on_progress)

    return shared.get("diagonal", (rtol, budget, seed, hvp), compute)


class _Estimation:
    """The sums over the sweeps so far."""

    def __init__(self, problem: Problem, budget: float, seed: int, hvp: Way, shared: Shared) -> None:
        self._problem, self._seed, self._hvp = problem, seed, hvp
        self._blocks = Blocks.of(problem)
        shared.expect("diagonal")
        two_probes = 2 * WEIGHTS["hessian_product"]
        squares = squares_within(
            problem, self._blocks, "gauss-newton", seed=seed, budget=budget - two_probes, shared=shared
        )
        self._exact: SquaredProducts | None = squares if squares is not None and squares.exact else None
        self._signed: PerSampleGradients | None = None
        self._first, self._cost = 0.0, WEIGHTS["hessian_product"]
        if self._exact is not None:
            self._first = self._exact.exact_cost
        elif squares is not None:
            self._signed = shared_gradients(problem, shared)
            self._first, self._cost = WEIGHTS["gradient"], self._cost + WEIGHTS["gradient"]
        self._matrix: Matrix = "hessian" if squares is None else "residual"
        known = frozenset() if squares is None else shared_linear(problem, shared)
        self._probed = {n: tensor for n, tensor in problem.parameters.items() if n not in known}
        self._at = group_positions(problem.infos, {"probed": tuple(self._probed)})["probed"].to(problem.device)
        if not self._probed:
            self._cost = 0.0 if self._signed is None else WEIGHTS["gradient"]

    def run(self, rtol: float, budget: float, on_progress: Progress | None) -> Diagonal:
        """As `estimate_diagonal`."""
        problem, size = self._problem, self._problem.size
        if self._cost == 0.0:
            return self._exactly()
        affordable = max(2, int((budget - self._first) / self._cost + 1e-9))
        packs = min(_PACKS, affordable)
        affordable -= affordable % packs
        # 16 degrees of freedom make the variance within blocks known to some extent
        wanted = min(affordable, _multiple(1 + math.ceil(16 / len(self._blocks.spans)), packs))
        announce(on_progress, self._first + self._cost * wanted)
        kind, device = wide(problem.device), problem.device
        fixed, fixed_NT = self._fixed()
        mean_gP, variance = torch.zeros(packs, size, dtype=kind, device=device), torch.zeros_like(fixed)
        forms_BkT = np.empty((len(self._blocks.spans), 0, len(problem.infos)))
        done = 0
        while True:
            new = wanted - done
            means, own, forms = self._sweep(range(done, wanted), packs)
            mean_gP = (done * mean_gP + new * means) / wanted
            variance = (done**2 * variance + new**2 * own) / wanted**2
            forms_BkT = np.concatenate([forms_BkT, forms], axis=1)
            done = wanted
            values = fixed + mean_gP.mean(0)
            noise = float(variance.sum())
            signal = max(float(values.square().sum()) - noise, 0.0)
            error = math.sqrt(noise / signal) if signal > 0 else (0.0 if noise == 0 else math.inf)
            needed = done * (error / rtol) ** 2 if math.isfinite(error) else math.inf
            more = max(done, min(affordable, _multiple(math.ceil(min(needed, 2 * done)), packs)))
            converged, wanted = problem.group.first((error <= rtol, more))
            if converged or wanted == done:
                break
            if on_progress is not None:
                on_progress(f"error {error:.2g}", self._first + self._cost * wanted)
        forms_BkT = forms_BkT + self._of_blocks(fixed_NT)[:, None, :]
        share = len(problem) / problem.population
        trace = TraceEstimate(self._blocks, {"trace": forms_BkT}, converged, share)
        estimator = "hutchinson" if self._matrix == "hessian" else "gauss-newton"
        packed = fixed + mean_gP
        return Diagonal(values, variance, packed, trace, error, converged, done, estimator)

    def _exactly(self) -> Diagonal:
        """The diagonal where no probe has anything to add."""
        values, rows_NT = self._fixed()
        zero, share = torch.zeros_like(values), len(self._problem) / self._problem.population
        twice_BkT = np.repeat(self._of_blocks(rows_NT)[:, None, :], 2, axis=1)  # as two probes that agree
        trace = TraceEstimate(self._blocks, {"trace": twice_BkT}, True, share)
        return Diagonal(values, zero, values[None], trace, 0.0, True, 0, "gauss-newton")

    def _of_blocks(self, values_NT: np.ndarray) -> np.ndarray:
        """Sums over the samples of each block over its weight, (B, T)."""
        sums = np.stack([values_NT[low:high].sum(0) for _, low, high in self._blocks.spans])
        result: np.ndarray = sums / self._blocks.omega[:, None]
        return result

    def _fixed(self) -> tuple[Tensor, np.ndarray]:
        """What is known without probes of the diagonal, (P,), and of the samples' traces by tensor, (N, T).

        All of the Gauss-Newton part, or its terms along the slopes of the losses; nothing where H is not taken apart.
        """
        problem = self._problem
        if self._exact is not None:
            return self._exact.diagonal(), self._exact.values()
        rows = np.zeros((len(problem), len(problem.infos)))
        if self._signed is None:
            return torch.zeros(problem.size, dtype=wide(problem.device), device=problem.device), rows
        sums = DiagonalSum(problem, self._signed)
        for batch in problem.batches():
            chosen = probes(problem, batch, "gauss-newton", lambda outputs: [], along=True)
            squares = squared_products(problem, self._signed, batch, chosen, diagonal=sums)
            rows[batch.start : batch.stop] = squares.plain[0].numpy()
        return problem.group.sum(sums.vector()), problem.group.sum_array(rows)

    def _sweep(self, numbers: range, packs: int) -> tuple[Tensor, Tensor, np.ndarray]:
        """Means by pack (g, P), the variance of their mean (P,), and the sums over each tensor (B, k, T)."""
        problem = self._problem
        kind, device, k = wide(problem.device), problem.device, len(numbers)
        sizes = [info.size for info in problem.infos]
        means = torch.zeros(packs, problem.size, dtype=kind, device=device)
        variance = torch.zeros(problem.size, dtype=kind, device=device)
        forms = np.zeros((len(self._blocks.spans), k, len(sizes)))
        own = {b for b, _, _ in problem.own_blocks()}
        at_once = max(1, _SCALARS_AT_ONCE // problem.size)
        for row, (b, low, high) in enumerate(self._blocks.spans):
            if b not in own:
                continue
            total, squares = torch.zeros_like(variance), torch.zeros_like(variance)
            for first in range(0, k, at_once):
                some = numbers[first : first + at_once]
                d_kP = self._of_block(b, low, high, some).to(kind)
                for number, d in zip(some, d_kP, strict=True):
                    means[number % packs] += d * (packs / k)
                total += d_kP.sum(0)
                squares += d_kP.square().sum(0)
                pieces = torch.split(d_kP, sizes, dim=1)
                forms[row, first : first + len(some)] = torch.stack([p.sum(1) for p in pieces], dim=1).cpu().numpy()
            if k > 1:
                variance += ((squares - total.square() / k) / (k - 1)).clamp_min(0) / k
        group = problem.group
        forms = group.sum_array(forms) / self._blocks.omega[:, None, None]
        return group.sum(means), group.sum(variance), forms

    def _of_block(self, block: int, low: int, high: int, numbers: Sequence[int]) -> Tensor:
        """The block's share of the diagonal by each probe, (k, P)."""
        problem, theta = self._problem, self._probed
        V = torch.stack([self._signs(len(self._at), number, block) for number in numbers], dim=1).to(problem.device)
        found = torch.zeros(len(numbers), problem.size, dtype=wide(problem.device), device=problem.device)
        for batch in problem.batches(low, high):
            if theta:
                product = V * batch_products(problem, theta, batch, V, matrix=self._matrix, way=self._hvp)
                found[:, self._at] += product.T
            if self._signed is None:
                continue

            def signs(outputs: Tensor, start: int = batch.start, stop: int = batch.stop) -> list[Tensor]:
                shape = (high - low, *outputs.shape[1:])
                size = math.prod(shape)
                e = [self._signs(size, number, block, 1).view(shape) for number in numbers]
                return [one[start - low : stop - low].to(outputs.device) for one in e]

            sums = DiagonalSum(problem, self._signed, rows=len(numbers))
            chosen = probes(problem, batch, "gauss-newton", signs, along=False)
            squared_products(problem, self._signed, batch, chosen, diagonal=sums)
            found += sums.vector()
        return found

    def _signs(self, size: int, *keys: int) -> Tensor:
        return rademacher(size, self._seed, _OWN_PROBES, *keys, dtype=self._problem.dtype)


def _multiple(number: int, of: int) -> int:
    """The smallest multiple of `of` that is at least `number`."""
    return -(-number // of) * of
