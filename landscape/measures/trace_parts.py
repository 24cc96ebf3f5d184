"""The parts that a trace is taken from: probes of a part of the Hessian, squared products for the Gauss-Newton part.

Both are drawn freshly for every fixed block of samples, and cut by tensor.

Legend: B blocks, k probes a block, P parameters, N samples, T tensors, r rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from landscape.curvature.gauss_newton import all_columns, squared_products
from landscape.curvature.hessian import block_forms
from landscape.curvature.per_sample import PerSampleGradients
from landscape.curvature.products import Part, Way
from landscape.linalg.probes import rademacher
from landscape.problem import Batch, Problem
from landscape.work import WEIGHTS

_SCALARS_AT_ONCE = 2**26
_FEW_OUTPUTS = 3  # of a sample: that many backward passes give the Gauss-Newton trace exactly
_GAUSS_NEWTON = 1_000_004  # keeps its signs apart from the residual's


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
        fixed: what is known of it without probes and is added to them, (B, T) or 0.
    """

    cost: float
    fixed: np.ndarray | float

    def sweep(self, probes: range) -> np.ndarray:
        """The values of these probes, by block and tensor: (B, k, T)."""
        ...


class Hutchinson:
    """v' A v for a part A of the Hessian, with signs that are fresh for every block."""

    def __init__(self, problem: Problem, blocks: Blocks, seed: int, part: Part, hvp: Way) -> None:
        self._problem, self._blocks, self._seed, self._part, self._hvp = problem, blocks, seed, part, hvp
        self.cost = WEIGHTS["hessian_product"]
        self.fixed: np.ndarray | float = 0.0

    def sweep(self, probes: range) -> np.ndarray:
        """As `Component`. Cost: 2.4 gradient-equivalents a probe."""
        problem, theta = self._problem, self._problem.parameters
        at_once = max(1, _SCALARS_AT_ONCE // problem.size)
        values = np.zeros((len(self._blocks.spans), len(probes), len(theta)))
        own = {b for b, _, _ in problem.own_blocks()}
        for row, (b, low, high) in enumerate(self._blocks.spans):
            if b not in own:
                continue
            for first in range(probes.start, probes.stop, at_once):
                keys = range(first, min(first + at_once, probes.stop))
                V = torch.stack([self._signs(k, b) for k in keys], dim=1)
                forms = block_forms(problem, theta, low, high, V, matrix=self._part, way=self._hvp)
                values[row, first - probes.start : first - probes.start + len(keys)] = forms.T.numpy()
        result: np.ndarray = problem.group.sum_array(values) / self._blocks.omega[:, None, None]
        return result

    def _signs(self, probe: int, block: int) -> Tensor:
        problem = self._problem
        return rademacher(problem.size, self._seed, probe, block, dtype=problem.dtype, device=problem.device)


class GaussNewton:
    """The trace of the Gauss-Newton part from squared per-sample products, with fresh signs for every sample."""

    def __init__(self, problem: Problem, blocks: Blocks, seed: int, gradients: PerSampleGradients) -> None:
        self._problem, self._blocks, self._seed, self._gradients = problem, blocks, seed, gradients
        self.cost = WEIGHTS["backward"]
        self.fixed: np.ndarray | float = 0.0
        self._exact = False
        self._begun = False
        with torch.no_grad():
            one = next(problem.batches(0, 1))
            size = problem.outputs(problem.parameters, one.inputs)[0].numel()
        self._columns = size if size <= _FEW_OUTPUTS else None  # in place of signs

    def sweep(self, probes: range) -> np.ndarray:
        """As `Component`. Cost: a forward pass, a backward pass a probe, and one more the first time."""
        if self._exact or not len(probes):
            return np.zeros((len(self._blocks.spans), len(probes), len(self._problem.infos)))
        along, self._begun = not self._begun, True
        self._exact = self._columns is not None
        rows = [self._rows(batch, probes, along=along) for batch in self._problem.batches()]
        summed = self._by_block(rows, along + (len(probes) if self._columns is None else self._columns))
        if self._exact:
            self.fixed = summed.sum(1)
            return np.zeros((len(self._blocks.spans), len(probes), len(self._problem.infos)))
        if along:
            self.fixed = summed[:, 0]
            return summed[:, 1:]
        return summed

    def _rows(self, batch: Batch, probes: range, *, along: bool) -> Tensor:
        """The squared products of a batch: (r, N, T)."""

        def signs(outputs: Tensor) -> Sequence[Tensor]:
            if self._exact:
                return all_columns(outputs)
            return [self._signs(k, batch, outputs) for k in probes]

        return squared_products(self._problem, self._gradients, batch, signs, along=along)

    def _signs(self, probe: int, batch: Batch, outputs: Tensor) -> Tensor:
        """The signs of a batch's samples, which are those of their blocks."""
        block = self._problem.block_size
        pieces = []
        for b in range(batch.start // block, (batch.stop - 1) // block + 1):
            low, high = b * block, min((b + 1) * block, len(self._problem))
            size = (high - low) * outputs[0].numel()
            e = rademacher(size, self._seed, _GAUSS_NEWTON, probe, b, dtype=outputs.dtype).view(-1, *outputs.shape[1:])
            pieces.append(e[max(batch.start - low, 0) : batch.stop - low])
        return torch.cat(pieces).to(outputs.device)

    def _by_block(self, rows: Sequence[Tensor], count: int) -> np.ndarray:
        """Sums over the samples of each block over its weight, (B, r, T), from `count` = r rows of the own samples."""
        problem, spans = self._problem, self._blocks.spans
        sums = np.zeros((len(spans), count, len(problem.infos)))
        own = {b: (low, high) for b, low, high in problem.own_blocks()}
        if own:
            start = min(low for low, _ in own.values())
            rows_rNT = torch.cat(list(rows), dim=1).numpy()
            for row, (b, low, high) in enumerate(spans):
                if b in own:
                    sums[row] = rows_rNT[:, low - start : high - start].sum(1)
        result: np.ndarray = problem.group.sum_array(sums) / self._blocks.omega[:, None, None]
        return result
