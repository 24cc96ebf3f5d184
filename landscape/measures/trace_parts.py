"""The parts that a trace is taken from: probes of a matrix, and squared per-sample products.

Both are drawn freshly for every fixed block of samples, and cut by tensor.

Legend: B blocks, k probes a block, P parameters, N samples, T tensors, r rows.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from landscape.curvature.gauss_newton import Cotangents, DiagonalSum, Squares, columns, probes, squared_products
from landscape.curvature.hessian import Matrix, block_forms
from landscape.curvature.output_metrics import Metric, one_tensor
from landscape.curvature.per_sample import PerSampleGradients
from landscape.curvature.products import Way
from landscape.linalg.probes import rademacher
from landscape.measures.sharing import Shared
from landscape.parameters import flatten, group_positions
from landscape.problem import Batch, Problem
from landscape.work import WEIGHTS

_SCALARS_AT_ONCE = 2**26
FEW_OUTPUTS = 16  # of a sample: that many backward passes give a trace exactly
_SQUARES = 1_000_004  # keeps the signs of per-sample products apart from those of the probes


@dataclass(frozen=True)
class Blocks:
    """The blocks that count: (number, first sample, last + 1), and their weights W_b / W (B,)."""

    spans: Sequence[tuple[int, int, int]]
    omega: np.ndarray

    @classmethod
    def of(cls, problem: Problem) -> Blocks:
        """The blocks of a problem in which any label counts."""
        weights = problem.weights.numpy()
        spans = [(b, low, high) for b, (low, high) in enumerate(problem.blocks()) if weights[low:high].sum() > 0]
        return cls(spans, np.array([weights[low:high].sum() for _, low, high in spans]) / problem.total_weight)


class Component(Protocol):
    """A part of the trace that is known by probes.

    Attributes:
        cost: gradient-equivalents a probe.
        first: what the first sweep costs besides.
        fixed: what is known of it without probes and is added to them, (B, T) or 0.
    """

    cost: float
    first: float
    fixed: np.ndarray | float

    def sweep(self, probes: range) -> np.ndarray:
        """The values of these probes, by block and tensor: (B, k, T)."""
        ...


class Hutchinson:
    """v' A v for a matrix A, with signs v that are fresh for every block.

    Args:
        problem: the problem.
        blocks: its blocks.
        seed: of the signs.
        matrix: A.
        hvp: how products with the Hessian are made.
        scaled: whether theta ∘ v takes the place of v: the trace is that of A scaled by theta on both sides.
        zero: tensors s whose diagonal block A_ss is known to have the trace 0; v has no part in them, and no noise
            comes from them.
    """

    def __init__(
        self,
        problem: Problem,
        blocks: Blocks,
        seed: int,
        matrix: Matrix,
        hvp: Way = "exact",
        *,
        scaled: bool = False,
        zero: Collection[str] = (),
    ) -> None:
        self._problem, self._blocks, self._seed, self._matrix, self._hvp = problem, blocks, seed, matrix, hvp
        self._theta = {name: tensor for name, tensor in problem.parameters.items() if name not in zero}
        self._columns = [t for t, name in enumerate(problem.parameters) if name in self._theta]
        self._at = group_positions(problem.infos, {"probed": tuple(self._theta)})["probed"].to(problem.device)
        self._scale = flatten(problem.parameters)[:, None] if scaled else None
        of_hessian = matrix in ("hessian", "residual")
        self.cost = WEIGHTS["hessian_product"] if of_hessian else WEIGHTS["jvp"] + WEIGHTS["gradient"]
        self.first = 0.0
        self.fixed: np.ndarray | float = 0.0

    def sweep(self, probes: range) -> np.ndarray:
        """As `Component`. Cost: 2.4 gradient-equivalents a probe of the Hessian or its residual, else 5/3."""
        problem, theta = self._problem, self._theta
        at_once = max(1, _SCALARS_AT_ONCE // problem.size)
        values = np.zeros((len(self._blocks.spans), len(probes), len(problem.infos)))
        own = {b for b, _, _ in problem.own_blocks()}
        for row, (b, low, high) in enumerate(self._blocks.spans):
            if b not in own:
                continue
            for first in range(probes.start, probes.stop, at_once):
                keys = range(first, min(first + at_once, probes.stop))
                V = torch.stack([self._signs(k, b) for k in keys], dim=1)
                V = V if self._scale is None else V * self._scale
                V = V if len(theta) == len(problem.infos) else V[self._at]
                forms = block_forms(problem, theta, low, high, V, matrix=self._matrix, way=self._hvp)
                for number, form in zip(keys, forms.T.numpy(), strict=True):
                    values[row, number - probes.start, self._columns] = form
        result: np.ndarray = problem.group.sum_array(values) / self._blocks.omega[:, None, None]
        return result

    def _signs(self, probe: int, block: int) -> Tensor:
        problem = self._problem
        return rademacher(problem.size, self._seed, probe, block, dtype=problem.dtype, device=problem.device)


class SquaredProducts:
    """The trace of J' M J, or of it scaled by theta on both sides, from squared per-sample products.

    Args:
        problem: the problem.
        gradients: of it.
        blocks: its blocks.
        seed: of the signs, which are fresh for every sample.
        metric: M.
        scaled: whether by theta.
        few: up to so many outputs of a sample the trace is exact.
        shared: what other measures of the same products know.
    """

    def __init__(
        self,
        problem: Problem,
        gradients: PerSampleGradients,
        blocks: Blocks,
        seed: int,
        metric: Metric,
        *,
        scaled: bool = False,
        few: int = FEW_OUTPUTS,
        shared: Shared | None = None,
    ) -> None:
        self._problem, self._gradients, self._blocks, self._seed = problem, gradients, blocks, seed
        self._metric, self._scaled = metric, scaled
        self._shared = shared or Shared(problem)
        # what is the same matrix is computed once
        same = metric == "fisher" and problem.fisher_factor is problem.factor
        self._name = "gauss-newton" if same else metric
        self.outputs = one_tensor(problem)[0].numel()
        self.exact = self.outputs <= few
        along = 0.0 if metric == "outputs" else WEIGHTS["backward"]
        self.cost = 0.0 if self.exact else WEIGHTS["backward"]
        self.first = self.exact_cost if self.exact else WEIGHTS["forward"] + along
        self.fixed: np.ndarray | float = 0.0
        self._begun = False

    @property
    def exact_cost(self) -> float:
        """Gradient-equivalents of the exact trace."""
        return exact_cost(self.outputs)

    def values(self) -> np.ndarray:
        """w_n/W tr(J_n' M_n J_n) by sample and tensor, exactly: (N, T). Cost: a backward pass for each output."""
        plain, scaled, _ = self._known()
        return scaled if self._scaled else plain

    def diagonal(self) -> Tensor:
        """The diagonal of J' M J, (P,), exactly; not for M = I, nor scaled. Cost: that of `values`, once for both."""
        _, _, diagonal = self._known()
        assert diagonal is not None, "M = I has another reduction, and who asks for the diagonal says so beforehand"
        return diagonal

    def _known(self) -> tuple[np.ndarray, np.ndarray, Tensor | None]:
        return self._shared.get("squares", (self._name, "exact"), self._exact_values)

    def _exact_values(self) -> tuple[np.ndarray, np.ndarray, Tensor | None]:
        problem = self._problem
        found = [np.zeros((len(problem), len(problem.infos))) for _ in range(2)]
        wanted = self._metric != "outputs" and self._shared.expects("diagonal")
        sums = DiagonalSum(problem, self._gradients) if wanted else None
        for batch in problem.batches():
            squares = self._squares(batch, columns(problem, batch, self._metric), sums)
            for into, rows in zip(found, (squares.plain, squares.scaled), strict=True):
                if rows is not None:
                    into[batch.start : batch.stop] = rows.sum(0).numpy()
        plain, scaled = (problem.group.sum_array(into) for into in found)
        return plain, scaled, None if sums is None else problem.group.sum(sums.vector())

    def sweep(self, probes: range) -> np.ndarray:
        """As `Component`. Cost: a forward pass, a backward pass a probe, and one more the first time."""
        if not len(probes):
            return np.zeros((len(self._blocks.spans), 0, len(self._problem.infos)))
        along, self._begun = not self._begun, True
        if self.exact:
            if along:
                self.fixed = self._of_blocks(self.values())
            return np.zeros((len(self._blocks.spans), len(probes), len(self._problem.infos)))
        key = (self._name, self._seed, probes.start, probes.stop, along)
        plain, scaled = self._shared.get("squares", key, lambda: self._probed(probes, along=along))
        found = scaled if self._scaled else plain
        if along and self._metric != "outputs":
            self.fixed = found[:, 0]
            return found[:, 1:]
        return found

    def _probed(self, chosen: range, *, along: bool) -> tuple[np.ndarray, np.ndarray]:
        """Sums over the samples of each block over its weight, (B, r, T), plain and scaled."""
        problem, count = self._problem, len(chosen) + (along and self._metric != "outputs")
        found = [np.zeros((len(problem.blocks()), count, len(problem.infos))) for _ in range(2)]
        for batch in problem.batches():

            def signs(outputs: Tensor, batch: Batch = batch) -> list[Tensor]:
                return [block_signs(problem, batch, outputs, self._seed, _SQUARES, k) for k in chosen]

            squares = self._squares(batch, probes(problem, batch, self._metric, signs, along=along))
            of_block = np.arange(batch.start, batch.stop) // problem.block_size
            for into, rows in zip(found, (squares.plain, squares.scaled), strict=True):
                if rows is not None:
                    np.add.at(into, of_block, rows.transpose(0, 1).numpy())
        counted = [b for b, _, _ in self._blocks.spans]
        plain, scaled = (problem.group.sum_array(into)[counted] / self._blocks.omega[:, None, None] for into in found)
        return plain, scaled

    def _of_blocks(self, values_NT: np.ndarray) -> np.ndarray:
        """Sums over the samples of each block over its weight: (B, T)."""
        sums = np.stack([values_NT[low:high].sum(0) for _, low, high in self._blocks.spans])
        result: np.ndarray = sums / self._blocks.omega[:, None]
        return result

    def _squares(self, batch: Batch, cotangents: Cotangents, diagonal: DiagonalSum | None = None) -> Squares:
        # with M = I the scaled products come along: they are another reduction of the same gradients
        scales = None
        if self._metric == "outputs":
            theta = self._problem.parameters
            scales = {name: self._gradients.cut(name, tensor.square()) for name, tensor in theta.items()}
        assert scales is not None or not self._scaled, "only what is shared is scaled"
        return squared_products(self._problem, self._gradients, batch, cotangents, scales=scales, diagonal=diagonal)


def exact_cost(outputs: int) -> float:
    """What the exact trace takes for so many outputs of a sample, in gradient-equivalents."""
    return WEIGHTS["forward"] + WEIGHTS["backward"] * outputs


def block_signs(problem: Problem, batch: Batch, outputs: Tensor, seed: int, *keys: int) -> Tensor:
    """Random signs in the shape of a batch's outputs: those of its samples' blocks, whatever the batch."""
    block = problem.block_size
    pieces = []
    for b in range(batch.start // block, (batch.stop - 1) // block + 1):
        low, high = b * block, min((b + 1) * block, len(problem))
        size = (high - low) * outputs[0].numel()
        e = rademacher(size, seed, *keys, b, dtype=outputs.dtype).view(-1, *outputs.shape[1:])
        pieces.append(e[max(batch.start - low, 0) : batch.stop - low])
    return torch.cat(pieces).to(outputs.device)
