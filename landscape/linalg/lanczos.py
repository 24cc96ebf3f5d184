"""Lanczos tridiagonalisation with full reorthogonalisation.

    A Q_m = Q_m T_m + beta_m q_{m+1} e_m',   Q_m' Q_m = I,   T_m = tridiag(beta, alpha, beta)

The eigenpairs (theta, s) of T_m give Ritz pairs (theta, Q_m s) of A with the exact residual norm
||A Q_m s - theta Q_m s|| = beta_m |s_m|. Without reorthogonalisation rounding makes copies of converged eigenvalues;
with it (twice is enough: Parlett, The Symmetric Eigenvalue Problem, section 6.9) the relation holds to rounding.

Legend: P size, m steps, d dimensions taken out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
        """min(residual, residual^2/gap), the error |theta - nearest eigenvalue| (Parlett, theorem 11.7.1).

        The gap is the distance to the nearest other Ritz value less that one's residual; an unconverged neighbour
        therefore gives no credit. The residual is a bound without conditions. The second form is one where the gap is
        that of the matrix: an eigenvalue beside theta that the Krylov space has not met yet escapes it.
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

    def first(self, steps: int) -> KrylovSpace:
        """The space as it was after its first `steps` steps."""
        t = self.tridiagonal
        return KrylovSpace(self.basis[:, :steps], Tridiagonal(t.alpha[:steps], t.beta[:steps], t.precision))

    def ritz_vectors(self, vectors: np.ndarray) -> Tensor:
        """Q_m S for coefficients S (m, k), as unit columns (P, k)."""
        coefficients = torch.from_numpy(np.ascontiguousarray(vectors)).to(self.basis)
        columns = self.basis @ coefficients
        norms: Tensor = torch.linalg.vector_norm(columns, dim=0, keepdim=True)
        return columns / norms


class LanczosProcess:
    """A Lanczos recurrence whose products come from outside: `vector` is to be multiplied, `advance` takes the product.

    Args:
        start: a vector (P,) that is not zero, of the products' dtype and on their device.
        steps: products at most; the process ends earlier where the space is all of R^P (less the deflated directions).
        deflate: orthonormal columns U (P, d), in one tensor or cut into several: A is replaced by
            (I - UU') A (I - UU').
        restart: j -> a random vector (P,); where the Krylov space is invariant (beta = 0 to rounding) the process goes
            on from it, orthogonalised, with beta = 0. That finds further copies of multiple eigenvalues and the null
            space; without it the process ends there.

    Cost: 4 P m multiplications a step for the orthogonalisation; memory P m scalars.
    """

    def __init__(
        self,
        start: Tensor,
        steps: int,
        *,
        deflate: Sequence[Tensor] = (),
        restart: Callable[[int], Tensor] | None = None,
    ) -> None:
        self._deflate, self._restart = tuple(deflate), restart
        self._dimension = start.numel() - sum(U.shape[1] for U in self._deflate)
        self._limit = min(steps, self._dimension)
        start = _orthogonalised(start, self._deflate)
        norm = float(start.norm())
        if self._limit < 1 or norm == 0.0:
            raise ValueError("the start vector lies in the deflated space")
        # a vector a row: where it lies, and so how products with it are rounded, does not depend on the limit
        self._rows = torch.empty(self._limit, start.numel(), dtype=start.dtype, device=start.device)
        self._rows[0] = start / norm
        self._alpha: list[float] = []
        self._beta: list[float] = []
        self._scale = 0.0
        self._precision = 10 * torch.finfo(start.dtype).eps
        self.finished = False

    @property
    def vector(self) -> Tensor:
        """The unit vector (P,) whose product comes next."""
        return self._rows[len(self._alpha)]

    @property
    def tridiagonal(self) -> Tridiagonal:
        """T_m so far."""
        return Tridiagonal(np.array(self._alpha), np.array(self._beta), self._precision)

    @property
    def space(self) -> KrylovSpace:
        """The basis (P, m) and T_m so far."""
        return KrylovSpace(self._rows[: len(self._alpha)].T, self.tridiagonal)

    def advance(self, product: Tensor) -> None:
        """Take A times `vector` and make the next one, or finish."""
        j = len(self._alpha)
        self._alpha.append(float(torch.dot(product.double(), self.vector.double())))
        basis = self._rows[: j + 1].T
        w = _orthogonalised(product, (*self._deflate, basis))
        size = float(w.norm())
        self._scale = max(self._scale, abs(self._alpha[-1]), size)
        invariant = size <= self._precision * self._scale or j + 1 == self._dimension
        self._beta.append(0.0 if invariant else size)
        if j + 1 == self._limit or (invariant and self._restart is None):
            self.finished = True
            return
        if invariant:
            assert self._restart is not None
            w = _orthogonalised(self._restart(j).to(basis), (*self._deflate, basis))
            size = float(w.norm())
        self._rows[j + 1] = w / size


def lanczos(
    operator: SymmetricOperator,
    start: Tensor,
    steps: int,
    *,
    stop: Callable[[Tridiagonal], bool] | None = None,
    deflate: Sequence[Tensor] = (),
    restart: Callable[[int], Tensor] | None = None,
) -> KrylovSpace:
    """Run one Lanczos process on `operator`; `stop` is asked after each step, and True ends the run.

    The other arguments are those of `LanczosProcess`. Cost: one product a step.
    """
    process = LanczosProcess(_like(start, operator), steps, deflate=deflate, restart=restart)
    while not process.finished:
        process.advance(operator.matmat(process.vector[:, None])[:, 0])
        if stop is not None and stop(process.tridiagonal):
            break
    return process.space


def lanczos_together(
    operator: SymmetricOperator, starts: Sequence[Tensor], steps: int, *, deflate: Sequence[Tensor] = ()
) -> list[KrylovSpace]:
    """Run a Lanczos process from each start, all in step, so that one call gives the products of all of them.

    Cost: one product a step and start; the operator sees them as blocks (P, k), which it computes cheaper than singly.
    """
    processes = [LanczosProcess(_like(start, operator), steps, deflate=deflate) for start in starts]
    while running := [process for process in processes if not process.finished]:
        products = operator.matmat(torch.stack([process.vector for process in running], dim=1))
        for column, process in enumerate(running):
            process.advance(products[:, column])
    return [process.space for process in processes]


def _like(start: Tensor, operator: SymmetricOperator) -> Tensor:
    return start.to(dtype=operator.dtype, device=operator.device)


def _orthogonalised(w: Tensor, spaces: Sequence[Tensor]) -> Tensor:
    """`w` less its components in the spaces, which are orthogonal, by two passes of classical Gram-Schmidt."""
    for _ in range(2):
        for space in spaces:
            w = w - space @ (space.T @ w)
    return w
