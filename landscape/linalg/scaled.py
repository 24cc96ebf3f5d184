"""A symmetric operator between two diagonal factors."""

from __future__ import annotations

import torch
from torch import Tensor

from landscape.linalg.operator import SymmetricOperator


class Scaled:
    """D A D for a symmetric A (P, P) and a diagonal D: it has the eigenvalues of D^2 A.

    Args:
        inner: A.
        diagonal: of D (P,).
    """

    def __init__(self, inner: SymmetricOperator, diagonal: Tensor) -> None:
        self._inner = inner
        self._diagonal = diagonal.to(dtype=inner.dtype, device=inner.device)[:, None]

    @property
    def size(self) -> int:
        """P."""
        return self._inner.size

    @property
    def dtype(self) -> torch.dtype:
        """That of A."""
        return self._inner.dtype

    @property
    def device(self) -> torch.device:
        """That of A."""
        return self._inner.device

    def matmat(self, V: Tensor) -> Tensor:
        """D A D V for V (P, k). Cost: that of A V."""
        return self._diagonal * self._inner.matmat(self._diagonal * V)
