"""The floating type that a problem is computed in."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from landscape.errors import OptionError

_TYPES: Mapping[str, torch.dtype] = {"float32": torch.float32, "float64": torch.float64}
_HALVES = (torch.float16, torch.bfloat16)


def working_dtype(chosen: torch.dtype | str | None, parameters: Sequence[Tensor] = ()) -> torch.dtype:
    """`chosen`, or the widest type of the parameters; float32 where that is a half, which has no digits for curvature.

    A second derivative is a difference of numbers of the size of the first: of the 8 bits of bfloat16 and the 11 of
    float16 nothing is left in it, while every weight of theirs is a float32 number.

    Raises:
        OptionError: neither float32 nor float64.
    """
    if chosen is None:
        widest = functools.reduce(torch.promote_types, [p.dtype for p in parameters])
        chosen = torch.float32 if widest in _HALVES else widest
    name = chosen if isinstance(chosen, str) else str(chosen).removeprefix("torch.")
    if name not in _TYPES:
        raise OptionError(
            f"dtype must be 'float32' or 'float64', got {name!r}; half-precision weights are measured in "
            "float32, which holds them exactly."
        )
    return _TYPES[name]
