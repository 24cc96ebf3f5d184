"""The interface between networks and linear algebra: a symmetric matrix known by its products."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor


class SymmetricOperator(Protocol):
    """A real symmetric (P, P) matrix A known only by A V."""

    @property
    def size(self) -> int:
        """P."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """The floating type of the products."""
        ...

    @property
    def device(self) -> torch.device:
        """Where the products are computed."""
        ...

    def matmat(self, V: Tensor) -> Tensor:
        """A V for a block of vectors V (P, k), as a new tensor (P, k)."""
        ...
