"""What single samples give under random noise on the weights.

Legend: P parameters, N samples, J scales of one draw.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from landscape.linalg.ball import Norm
from landscape.linalg.probes import gaussian, uniform
from landscape.measures.sample_groups import SampleGroups

# A mean over samples has the same expectation however many of them share their noise, and a smaller error where fewer
# do; to draw noise costs P values a group.
SHARED_BY = 128


def noisy_values(
    groups: SampleGroups, scales: Sequence[Tensor], *, norm: Norm = 2, seed: int, key: int, draw: int
) -> np.ndarray:
    """The samples' losses and right labels at theta + s ∘ z for each scale s, with one z a group: (J, 2, N).

    Args:
        groups: the samples that share a z.
        scales: s (P,); s and -s make a pair of opposite shifts.
        norm: z ~ N(0, I) for 2, uniform in (-1, 1)^P for inf.
        seed: with `key`, the draw's number and the group's number it decides z.
        key: keeps the noise of different measures apart.
        draw: the number of the draw.
    """
    rows_J2N = np.zeros((len(scales), 2, groups.samples))
    values = gaussian if norm == 2 else uniform
    for g, shifted in groups.own():
        z = values(len(scales[0]), seed, key, draw, g, dtype=scales[0].dtype, device=scales[0].device)
        low, high = groups.rows(g)
        for j, scale in enumerate(scales):
            found = shifted.values(scale * z)
            rows_J2N[j, :, low:high] = found.losses, found.correct
    return groups.of_all(rows_J2N)
