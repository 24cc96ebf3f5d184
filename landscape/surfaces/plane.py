"""Lines and planes in the space of parameters, by an origin and one or two directions.

    theta(x, y) = theta_0 + x d_1 + y d_2

A point is x units of d_1 and y of d_2 away from the origin; one unit is a displacement of ||d||.

Legend: P parameters.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

Named = Mapping[str, Tensor]


@dataclass(frozen=True)
class Slice:
    """A function from coordinates to the tensors that the network is run with.

    Attributes:
        at: (x, y) -> tensors by name; y is 0 where the slice has one dimension.
        dimensions: 1 or 2.
        labels: what an axis is, for people, one a dimension.
        norms: ||d|| of each axis: the displacement in the space of parameters that 1 on the axis is; NaN along a curve.
        cosine: of the angle between the two directions; 0 with one.
        path: places (n, 2) on the plane that something went through; None without.
        path_labels: a name for each of them.
        path_title: what the path is.
        ranges: what the grid should cover, one (low, high) a dimension; None where nothing says so.
        facts: further plain values, for the file.
    """

    at: Callable[[float, float], dict[str, Tensor]]
    dimensions: int
    labels: tuple[str, ...]
    norms: tuple[float, ...]
    cosine: float = 0.0
    path: np.ndarray | None = None
    path_labels: tuple[str, ...] = ()
    path_title: str = ""
    ranges: tuple[tuple[float, float], ...] | None = None
    facts: Mapping[str, object] = field(default_factory=dict)


def plane(
    origin: Named,
    directions: Sequence[Named],
    labels: Sequence[str],
    *,
    measured: Sequence[str] | None = None,
    path: np.ndarray | None = None,
    path_labels: Sequence[str] = (),
    path_title: str = "",
    ranges: tuple[tuple[float, float], ...] | None = None,
    facts: Mapping[str, object] | None = None,
) -> Slice:
    """The line or plane through `origin` along one or two `directions`.

    Args:
        origin: tensors by name.
        directions: tensors of the same shapes; a name that is missing does not move.
        labels: of the axes.
        measured: the names that norms and angles are taken over; all by default (buffers are no parameters).
        path, path_labels, path_title, ranges, facts: as in `Slice`.
    """
    names = list(measured) if measured is not None else list(origin)

    def at(x: float, y: float) -> dict[str, Tensor]:
        moved = dict(origin)
        for step, direction in zip((x, y), directions, strict=False):
            for name, tensor in direction.items():
                moved[name] = moved[name] + step * tensor
        return moved

    norms = tuple(math.sqrt(inner(d, d, names)) for d in directions)
    cosine = 0.0
    if len(directions) == 2 and all(norms):
        cosine = inner(directions[0], directions[1], names) / (norms[0] * norms[1])
    return Slice(
        at, len(directions), tuple(labels), norms, cosine, path, tuple(path_labels), path_title, ranges, facts or {}
    )


def inner(one: Named, other: Named, names: Sequence[str]) -> float:
    """The inner product over the named tensors that both have, in float64 on the CPU."""
    return sum(
        float((one[name].cpu().double() * other[name].cpu().double()).sum())
        for name in names
        if name in one and name in other
    )


def displacement(slice_: Slice, x: float, y: float) -> float:
    """||theta(x, y) - theta(0, 0)|| on a plane; NaN along a curve."""
    first = slice_.norms[0]
    second = slice_.norms[1] if slice_.dimensions == 2 else 0.0
    sine = math.sqrt(max(0.0, 1 - slice_.cosine**2))
    return math.hypot(x * first + y * second * slice_.cosine, y * second * sine)


def covering(path: np.ndarray, margin: float = 0.15) -> tuple[tuple[float, float], ...]:
    """Ranges (low, high) that hold the columns of `path` and a margin, the same share of the longer side all round."""
    low, high = path.min(0), path.max(0)
    room = margin * float((high - low).max()) or 1.0
    return tuple((float(a - room), float(b + room)) for a, b in zip(low, high, strict=True))


def difference(one: Named, other: Named) -> dict[str, Tensor]:
    """one - other, by name."""
    return {name: tensor - other[name] for name, tensor in one.items()}


def orthonormal(directions: Sequence[Named], names: Sequence[str]) -> list[dict[str, Tensor]]:
    """Gram-Schmidt in float64 on the CPU, twice, each vector of norm 1; one that is 0 beside the others stays 0."""
    done: list[dict[str, Tensor]] = []
    for direction in directions:
        v = {name: direction[name].cpu().double() for name in names}
        start = math.sqrt(inner(v, v, names))
        for _ in range(2):
            for u in done:
                share = inner(v, u, names)
                v = {name: v[name] - share * u[name] for name in names}
        norm = math.sqrt(inner(v, v, names))
        small = norm <= 1e-12 * start
        done.append({name: torch.zeros_like(t) if small else t / norm for name, t in v.items()})
    return done
