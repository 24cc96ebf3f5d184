"""Functions exchanged for others of the same values whose second derivative is right.

- `torch._weight_norm`, which weight normalisation of both kinds calls: its kernel keeps the norms of its forward pass
  and takes them for constants in the second derivative, which comes out wrong, and not symmetric, without a word.
- `torch.nn.functional.hardsigmoid`: its kernel has no second derivative.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode


class Exchanged(TorchFunctionMode):
    """Exchanges the functions that are called inside the block.

    Attributes:
        met: whether there was any.
    """

    def __init__(self) -> None:
        super().__init__()
        self.met = False

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        other = _OTHERS.get(function)
        self.met = self.met or other is not None
        return (other or function)(*args, **(kwargs or {}))


def _weight_norm(v: Tensor, g: Tensor, dim: int = 0) -> Tensor:
    """g v / ||v||, the norm over all axes but `dim` (-1: over all)."""
    return v * (g / torch.norm_except_dim(v, 2, dim))


def _hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    """min(max(x + 3, 0), 6) / 6; never in place, which changes no value."""
    return F.relu6(input + 3) / 6


_OTHERS: Mapping[Callable[..., Any], Callable[..., Tensor]] = {
    torch._weight_norm: _weight_norm,
    F.hardsigmoid: _hardsigmoid,
}
