"""Normalisation parameters that are not trained: gamma = 1, beta = 0, in BatchNorm, LayerNorm, GroupNorm and the like.

Reference: "Bias decay matters", section 4.1, table 3 (BN frozen, gamma frozen, beta frozen).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

from landscape.errors import OptionError
from landscape.parameters import describe

Frozen = Literal["bn", "gamma", "beta"]

_ROLES: dict[str, dict[str, float]] = {
    "bn": {"norm.gamma": 1.0, "norm.beta": 0.0},
    "gamma": {"norm.gamma": 1.0},
    "beta": {"norm.beta": 0.0},
}


def freeze(model: nn.Module, what: Frozen) -> tuple[str, ...]:
    """Set the parameters of `what` to their neutral value and train them no more; return their names.

    Raises:
        OptionError: the network has none.
    """
    values = _ROLES[what]
    found = [info for info in describe(model) if info.role in values]
    if not found:
        parts = " or ".join(role.removeprefix("norm.") for role in values)
        raise OptionError(
            f"freeze {what}: this network has no normalisation layer with a {parts}; leave freeze out or "
            "choose a network with normalisation."
        )
    for info in found:
        parameter = model.get_parameter(info.name)
        with torch.no_grad():
            parameter.fill_(values[info.role])
        parameter.requires_grad_(False)
    return tuple(info.name for info in found)
