"""What the checks look at, and what several of them need once."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from landscape.curvature.hessian import HessianOperator, gradient
from landscape.linalg.probes import gaussian
from landscape.measures import evaluate, spectral_density, top_eigenvalues
from landscape.problem import Problem
from landscape.records import Record
from landscape.workflows.verification.causes import likely_causes
from landscape.workflows.verification.reference import Reference

_DIRECTIONS = 1_000_011  # keeps the vectors of the checks apart from the probes of measures
_FEW = 16
_EIGENVALUE_RTOL = 1e-3


class Subject:
    """A problem in float64 with the plain network beside it.

    Args:
        problem: the problem; measured as it is, but for the dtype.
        seed: of directions and probes.
        rtol: what estimates with an error bar are driven to.
        budget: gradient-equivalents at most for each of them.
    """

    def __init__(self, problem: Problem, *, seed: int, rtol: float, budget: float) -> None:
        self.problem = problem
        self.seed, self.rtol, self.budget = seed, rtol, budget

    @cached_property
    def reference(self) -> Reference:
        """The plain network."""
        return Reference(self.problem)

    @cached_property
    def few(self) -> Problem:
        """The problem on its first samples, for what costs a pass a sample or a class."""
        return self.problem.choose(torch.arange(min(_FEW, len(self.problem))))

    @cached_property
    def causes(self) -> list[str]:
        """Why numbers of this network may be wrong."""
        return likely_causes(self.problem)

    @cached_property
    def loss(self) -> float:
        """L."""
        return evaluate(self.problem).loss

    @cached_property
    def gradient(self) -> Tensor:
        """grad L."""
        return gradient(self.problem)

    @cached_property
    def operator(self) -> HessianOperator:
        """The Hessian."""
        return HessianOperator(self.problem)

    def direction(self, number: int) -> Tensor:
        """A unit vector (P,), uniform on the sphere."""
        v = gaussian(
            self.problem.size, self.seed, _DIRECTIONS, number, dtype=self.problem.dtype, device=self.problem.device
        )
        unit: Tensor = v / v.norm()
        return unit

    def product(self, v: Tensor) -> Tensor:
        """H v by this project."""
        return self.operator.matmat(v[:, None])[:, 0]

    @cached_property
    def top(self) -> Record:
        """The largest eigenvalue, driven so far that a larger one is hardly missed (at 5% one run in 1,000 may)."""
        rtol = min(self.rtol, _EIGENVALUE_RTOL)
        return top_eigenvalues(self.problem, rtol=rtol, budget=self.budget, top=1, seed=self.seed)

    @cached_property
    def density(self) -> Record:
        """The spectral density, whose mean owes nothing to the trace."""
        return spectral_density(self.problem, rtol=self.rtol, budget=self.budget, seed=self.seed, mean="products")
