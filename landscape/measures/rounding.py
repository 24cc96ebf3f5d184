"""What is 0 but for rounding, entry by entry of a vector over the parameters."""

from __future__ import annotations

import torch
from torch import Tensor

from landscape.problem import Problem

_UNITS = 10.0  # of rounding of the largest entry of its tensor: what is closer to 0 has no sign


def zero_rounding(problem: Problem, values: Tensor) -> Tensor:
    """The vector (P,) with 0 in place of entries within rounding of 0, by the largest entry of each tensor.

    Such are the slopes along parameters that the loss does not depend on (the bias of attention's keys): they come out
    as another number with every batch size, and a ratio with one says nothing.
    """
    unit = _UNITS * torch.finfo(problem.dtype).eps
    pieces = torch.split(values, [info.size for info in problem.infos])
    return torch.cat([torch.where(piece.abs() > unit * piece.abs().max(), piece, 0.0) for piece in pieces])
