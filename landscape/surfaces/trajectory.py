"""The plane that a training's trajectory lies in best: Li et al. 2018, section 7.

    M = [theta_1 - theta_0; ...; theta_n - theta_0],   M = U S V',   d_k = column k of V

theta_0 is the point that the plane goes through (the checkpoint); M is not centred, so that of all planes through
theta_0 this one has the least sum of squared distances to the trajectory. The path's coordinates are its projections.

Legend: n checkpoints, P parameters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from landscape.errors import OptionError
from landscape.surfaces.plane import inner, orthonormal


@dataclass(frozen=True)
class TrajectoryPlane:
    """Directions of norm 1 at right angles, the path's coordinates (n, k), and what of it the plane holds.

    `explained` is, for each direction, its share of the sum of squared displacements; `off` (n,) the distances of the
    path's points from the plane.
    """

    directions: list[dict[str, Tensor]]
    path: np.ndarray
    explained: list[float]
    off: np.ndarray


def trajectory_plane(
    points: Sequence[Mapping[str, Tensor]], origin: Mapping[str, Tensor], names: Sequence[str], count: int
) -> TrajectoryPlane:
    """The first `count` principal directions of `points` as seen from `origin`.

    The sign is fixed: the first point has no negative coordinate. Computed in float64 by the Gram matrix M M' (n, n).

    Raises:
        OptionError: the trajectory has fewer dimensions than `count`.
    """
    rows = {name: torch.stack([p[name].cpu().double() - origin[name].cpu().double() for p in points]) for name in names}
    gram = np.zeros((len(points),) * 2)
    for block in rows.values():
        flat = block.flatten(1)
        gram += (flat @ flat.T).numpy()
    values, vectors = np.linalg.eigh(gram)
    values, vectors = values[::-1].clip(0), vectors[:, ::-1]
    if count > len(values) or values[count - 1] <= 1e-14 * max(values[0], 1e-300):
        raise OptionError(
            f"the trajectory has {len(points)} points that span fewer than {count} dimensions around the checkpoint; "
            "train with --checkpoint-every 1, or ask for a line (--points 51)."
        )
    directions = []
    for k in range(count):
        weights = torch.from_numpy(vectors[:, k].copy())
        directions.append({name: torch.tensordot(weights, block, dims=1) for name, block in rows.items()})
    directions = orthonormal(directions, names)
    path = np.array(
        [[inner({n: block[i] for n, block in rows.items()}, d, names) for d in directions] for i in range(len(points))]
    )
    for k in range(count):
        if next((value for value in path[:, k] if value != 0), 0.0) < 0:
            path[:, k] *= -1
            directions[k] = {name: -t for name, t in directions[k].items()}
    total = float(np.trace(gram))
    off = np.sqrt(np.clip(np.diag(gram) - (path**2).sum(1), 0, None))
    explained = [float((path[:, k] ** 2).sum() / total) for k in range(count)]
    return TrajectoryPlane(directions, path, explained, off)
