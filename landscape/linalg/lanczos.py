"""Lanczos tridiagonalisation with full reorthogonalisation.

    A Q_m = Q_m T_m + beta_m q_{m+1} e_m',   Q_m' Q_m = I,   T_m = tridiag(beta, alpha, beta)

The eigenpairs (theta, s) of T_m give Ritz pairs (theta, Q_m s) of A with the exact residual norm
||A Q_m s - theta Q_m s|| = beta_m |s_m|. Without reorthogonalisation rounding makes copies of converged eigenvalues;
with it (twice is enough: Parlett, The Symmetric Eigenvalue Problem, section 6.9) the relation holds to rounding.

Legend: P size, m steps, d deflated vectors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.linalg
import torch
from torch import Tensor

from landscape.linalg.operator import SymmetricOperator


@dataclass(frozen=True)
class Ritz:
    """Eigenpairs of T_m: values (m,) descending, residual norms beta_m |s_m| (m,), vectors (m, m) in columns.

    `rounding` is the norm of the products' rounding error: no residual and no bound is known to be below it.
    """

    values: np.ndarray
    residuals: np.ndarray
    vectors: np.ndarray
    rounding: float = 0.0

    def error_bound(self, index: int) -> float:
        """min(residual, residual^2/gap), a bound on |theta - nearest eigenvalue| (Parlett, theorem 11.7.1).

        The gap is the distance to the nearest other Ritz value less that one's residual; an unconverged neighbour
        therefore gives no credit. The bound is exact in the first form and as good as the gap in the second.
        """
        residual = float(self.residuals[index])
        others = np.delete(np.arange(len(self.values)), index)
        if residual <= self.rounding or len(others) == 0:
            return residual
        gaps = np.abs(self.values[others] - self.values[index]) - self.residuals[others]
        gap = float(gaps.min())
        return max(self.rounding, min(residual, residual**2 / gap)) if gap > 0 else residual


@dataclass(frozen=True)
class Tridiagonal:
    """T_m by its diagonal alpha (m,) and its off-diagonal beta (m,) whose last entry leads out of the space.

    `precision` is the relative rounding error of the products.
    """

    alpha: np.ndarray
    beta: np.ndarray
    precision: float = 0.0

    @property
    def steps(self) -> int:
        """m."""
        return len(self.alpha)

    def ritz(self) -> Ritz:
        """The eigenpairs, largest first."""
        values, vectors = scipy.linalg.eigh_tridiagonal(self.alpha, self.beta[:-1])
        values, vectors = values[::-1], vectors[:, ::-1]
        rounding = self.precision * float(np.abs(values).max())
        residuals = np.maximum(abs(self.beta[-1] * vectors[-1]), rounding)
        return Ritz(values.copy(), residuals, vectors.copy(), rounding)


@dataclass(frozen=True)
class KrylovSpace:
    """The result of a Lanczos run: an orthonormal basis (P, m) and the tridiagonal matrix."""

    basis: Tensor
    tridiagonal: Tridiagonal

    def ritz_vectors(self, vectors: np.ndarray) -> Tensor:
        """Q_m S for coefficients S (m, k), as unit columns (P, k)."""
        coefficients = torch.from_numpy(np.ascontiguousarray(vectors)).to(self.basis)
        columns = self.basis @ coefficients
        norms: Tensor = torch.linalg.vector_norm(columns, dim=0, keepdim=True)
        return columns / norms


def lanczos(
    operator: SymmetricOperator,
    start: Tensor,
    steps: int,
    *,
    stop: Callable[[Tridiagonal], bool] | None = None,
    deflate: Tensor | None = None,
    restart: Callable[[int], Tensor] | None = None,
) -> KrylovSpace:
    """Run Lanczos from `start`.

    Args:
        operator: A.
        start: a vector (P,) that is not zero.
        steps: products at most; the run ends earlier where the space is all of R^P (less the deflated directions).
        stop: asked after each step; True ends the run.
        deflate: orthonormal columns U (P, d): A is replaced by (I - UU') A (I - UU').
        restart: j -> a random vector (P,); where the Krylov space is invariant (beta = 0 to rounding) the run goes
            on from it, orthogonalised, with beta = 0. That finds further copies of multiple eigenvalues and the null
            space; without it the run ends there.

    Returns:
        The Krylov space.

    Cost: one product a step, and 4 P m multiplications a step for the orthogonalisation; memory P m.
    """
    blocked = 0 if deflate is None else deflate.shape[1]
    limit = min(steps, operator.size - blocked)
    basis = torch.empty(operator.size, max(limit, 1), dtype=operator.dtype, device=operator.device)
    start = _orthogonalised(start.to(basis), None, deflate)
    norm = float(start.norm())
    if limit < 1 or norm == 0.0:
        raise ValueError("the start vector lies in the deflated space")
    basis[:, 0] = start / norm
    alpha: list[float] = []
    beta: list[float] = []
    scale = 0.0
    precision = 10 * torch.finfo(operator.dtype).eps
    for j in range(limit):
        w = operator.matmat(basis[:, j : j + 1])[:, 0]
        alpha.append(float(torch.dot(w.double(), basis[:, j].double())))
        w = _orthogonalised(w, basis[:, : j + 1], deflate)
        size = float(w.norm())
        scale = max(scale, abs(alpha[-1]), size)
        invariant = size <= precision * scale or j + 1 == operator.size - blocked
        beta.append(0.0 if invariant else size)
        result = Tridiagonal(np.array(alpha), np.array(beta), precision)
        if j + 1 == limit or (stop is not None and stop(result)):
            break
        if invariant:
            if restart is None:
                break
            w = _orthogonalised(restart(j).to(basis), basis[:, : j + 1], deflate)
            size = float(w.norm())
        basis[:, j + 1] = w / size
    return KrylovSpace(basis[:, : len(alpha)], result)


def _orthogonalised(w: Tensor, basis: Tensor | None, deflate: Tensor | None) -> Tensor:
    """`w` less its components in the basis and in the deflated space, by two passes of classical Gram-Schmidt."""
    for _ in range(2):
        for space in (deflate, basis):
            if space is not None:
                w = w - space @ (space.T @ w)
    return w
