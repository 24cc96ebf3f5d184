"""Random directions, scaled to the weights: Li et al. 2018, "Visualizing the loss landscape of neural nets", section 4.

A Gaussian vector is cut into units and each unit is scaled to the norm of the weights it moves:

    filter   a unit is the weights of one output, a slice of the tensor's first axis; a vector (bias, gamma) is one
    layer    a unit is a tensor
    none     no scaling; the whole vector has norm 1, so that the axis is the displacement

With `filter` and `layer` the whole direction has the norm of the weights it moves: 1 on the axis is a displacement as
long as these weights. A second direction is made orthogonal to the first within each unit before it is scaled, so that
the two stay orthogonal after it; units of one number, which have one direction only, are the exception.

Departs from the authors' code in that vectors which are not ignored move in a random direction too (there: their own).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from landscape.config.surface import IGNORABLE
from landscape.errors import OptionError
from landscape.linalg.probes import gaussian
from landscape.parameters import ParameterInfo

Normalize = Literal["filter", "layer", "none"]
_KEY = 1_000_101  # keeps these draws apart from those of the measures


def moved_names(infos: Sequence[ParameterInfo], ignored: Sequence[str]) -> list[str]:
    """The parameters that directions move: `bias` leaves out the biases of convolutions and linear layers, `bn` gamma
    and beta of normalisation layers.

    Raises:
        OptionError: none is left.
    """

    def kept(info: ParameterInfo) -> bool:
        is_norm = info.role.startswith("norm.")
        is_bias = info.role.endswith(".bias") or (info.role == "other" and info.name.endswith("bias"))
        return not (is_norm and "bn" in ignored) and not (is_bias and "bias" in ignored)

    names = [info.name for info in infos if kept(info)]
    if not names:
        raise OptionError(f"--ignore {','.join(ignored)} leaves no parameter to move; use --ignore none.")
    return names


def random_directions(
    theta: Mapping[str, Tensor],
    infos: Sequence[ParameterInfo],
    count: int,
    *,
    normalize: Normalize = "filter",
    ignore: Sequence[str] = IGNORABLE,
    seed: int = 0,
) -> list[dict[str, Tensor]]:
    """Draw `count` (1 or 2) directions of the shapes of `theta`, in its dtype.

    The draws depend on the seed and the names' order alone, not on dtype or device: they are made in float64.
    """
    names = moved_names(infos, ignore)
    drawn = [_draw(theta, names, seed, k) for k in range(count)]
    done: list[dict[str, Tensor]] = []
    for raw in drawn:
        direction = {}
        for name in names:
            w = _units(theta[name].cpu().double(), normalize)
            d = _units(raw[name], normalize)
            if normalize == "none":
                direction[name] = d.reshape(theta[name].shape)
                continue
            for other in done:
                d = _without(d, _units(other[name], normalize))
            direction[name] = _scaled(d, w).reshape(theta[name].shape)
        done.append(direction if normalize != "none" else _unit(direction, done))
    return [{name: t.to(theta[name]) for name, t in direction.items()} for direction in done]


def _draw(theta: Mapping[str, Tensor], names: Sequence[str], seed: int, number: int) -> dict[str, Tensor]:
    size = sum(theta[name].numel() for name in names)
    pieces = torch.split(gaussian(size, seed, _KEY, number, dtype=torch.float64), [theta[n].numel() for n in names])
    return {name: piece.view(theta[name].shape) for name, piece in zip(names, pieces, strict=True)}


def _units(tensor: Tensor, normalize: Normalize) -> Tensor:
    """The tensor as rows (units, numbers of a unit)."""
    if normalize == "filter" and tensor.ndim > 1:
        return tensor.reshape(tensor.shape[0], -1)
    return tensor.reshape(1, -1)


def _without(d: Tensor, other: Tensor) -> Tensor:
    """The rows of `d` less their parts along those of `other`; rows of one number as they are."""
    if d.shape[1] == 1:
        return d
    for _ in range(2):
        share = (d * other).sum(1, keepdim=True) / other.square().sum(1, keepdim=True).clamp_min(1e-300)
        d = d - share * other
    return d


def _scaled(d: Tensor, w: Tensor) -> Tensor:
    """The rows of `d` at the norms of those of `w`; a row of zeros stays one."""
    length = torch.linalg.vector_norm(d, dim=1, keepdim=True)
    wanted = torch.linalg.vector_norm(w, dim=1, keepdim=True)
    return torch.where(length > 0, d * (wanted / length.clamp_min(1e-300)), torch.zeros_like(d))


def _unit(direction: dict[str, Tensor], done: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The whole vector orthogonal to those before it, of norm 1."""
    flat = torch.cat([t.reshape(-1) for t in direction.values()])[None]
    for other in done:
        flat = _without(flat, torch.cat([t.reshape(-1) for t in other.values()])[None])
    flat = flat[0] / torch.linalg.vector_norm(flat)
    pieces = torch.split(flat, [t.numel() for t in direction.values()])
    return {name: piece.view(t.shape) for (name, t), piece in zip(direction.items(), pieces, strict=True)}
