"""The eigenvectors of the largest eigenvalues of the Hessian, as directions of a slice. Each has norm 1.

Along the i-th of them the loss is, to second order, L(theta) + x g'v_i + x^2 lambda_i / 2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from landscape.curvature.hessian import HessianOperator
from landscape.errors import OptionError
from landscape.linalg.lanczos import Tridiagonal, lanczos
from landscape.linalg.probes import gaussian
from landscape.parameters import unflatten
from landscape.problem import Problem

_KEY, _RESTART = 1_000_102, 1_000_103
_RTOL = 0.01
_MOST = 100


@dataclass(frozen=True)
class EigenDirections:
    """Unit eigenvectors by name, with eigenvalues and residual norms ||H v - lambda v||, largest first."""

    vectors: list[dict[str, Tensor]]
    values: list[float]
    residuals: list[float]

    @property
    def converged(self) -> bool:
        """Whether every residual is at most a hundredth of its eigenvalue."""
        return all(r <= _RTOL * abs(v) for v, r in zip(self.values, self.residuals, strict=True))


def eigen_directions(
    problem: Problem, count: int, *, seed: int = 0, rtol: float = _RTOL, most: int = _MOST
) -> EigenDirections:
    """Find the eigenvectors of the `count` largest eigenvalues by Lanczos.

    The run ends when every residual is at most `rtol` times the eigenvalue, or after `most` products. The sign is
    fixed: the entry of largest magnitude is positive.

    Cost: 2.4 gradient-equivalents a product; memory P times the steps.

    Raises:
        OptionError: there are fewer parameters than directions.
    """
    if problem.size < count:
        raise OptionError(f"{count} eigenvectors were asked of a network with {problem.size} parameters.")

    def random(*keys: int) -> Tensor:
        return gaussian(problem.size, seed, *keys, dtype=problem.dtype, device=problem.device)

    def enough(run: Tridiagonal) -> bool:
        ritz = run.ritz()
        if run.steps <= min(count, problem.size - 1):
            return False
        return bool((ritz.residuals[:count] <= rtol * np.abs(ritz.values[:count])).all())

    space = lanczos(
        HessianOperator(problem),
        random(_KEY),
        min(most, problem.size),
        stop=enough,
        restart=lambda step: random(_RESTART, step),
    )
    ritz = space.tridiagonal.ritz()
    columns = space.ritz_vectors(ritz.vectors[:, :count])
    theta = problem.parameters
    vectors = []
    for k in range(count):
        column = columns[:, k]
        if float(column[int(torch.argmax(column.abs()))]) < 0:
            column = -column
        vectors.append({name: t.clone() for name, t in unflatten(column.contiguous(), theta).items()})
    return EigenDirections(vectors, [float(v) for v in ritz.values[:count]], [float(r) for r in ritz.residuals[:count]])
