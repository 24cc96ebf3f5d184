"""Random probe vectors that depend on a seed and integer keys alone.

The bits come from numpy's PCG64, whose stream is fixed across versions and machines, so that a probe is the same on
every device, in every dtype and on any number of processes.
"""

from __future__ import annotations

import numpy as np
import scipy.special
import torch
from torch import Tensor


def rademacher(size: int, seed: int, *keys: int, dtype: torch.dtype, device: torch.device | str = "cpu") -> Tensor:
    """A vector (size,) of independent signs +1, -1 with probability 1/2: E v v' = I and v_i^2 = 1.

    Args:
        size: the length.
        seed: the user's seed, at least 0.
        keys: what makes this probe another one than the next (probe number, block number), each at least 0.
        dtype: floating type of the result.
        device: where the result goes.
    """
    generator = np.random.default_rng(np.random.SeedSequence([seed, *keys]))
    bits = np.unpackbits(np.frombuffer(generator.bytes((size + 7) // 8), dtype=np.uint8), count=size)
    return torch.from_numpy(bits).to(device=device, dtype=dtype).mul_(2).sub_(1)


def gaussian(size: int, seed: int, *keys: int, dtype: torch.dtype, device: torch.device | str = "cpu") -> Tensor:
    """A vector (size,) of independent standard normal values.

    Its direction is uniform on the sphere, in every subspace that it is projected to; that of a sign vector is not, and
    in few dimensions a sign vector may lie in a given subspace or be orthogonal to it.

    Args:
        size: the length.
        seed: the user's seed, at least 0.
        keys: what makes this probe another one than the next, each at least 0.
        dtype: floating type of the result.
        device: where the result goes.
    """
    values = scipy.special.ndtri(_open_interval(size, seed, *keys))
    return torch.from_numpy(values).to(device=device, dtype=dtype)


def uniform(size: int, seed: int, *keys: int, dtype: torch.dtype, device: torch.device | str = "cpu") -> Tensor:
    """A vector (size,) of independent values, uniform in (-1, 1): E v v' = I/3. Arguments as for `gaussian`."""
    values = 2 * _open_interval(size, seed, *keys) - 1
    return torch.from_numpy(values).to(device=device, dtype=dtype)


def _open_interval(size: int, seed: int, *keys: int) -> np.ndarray:
    """Uniform values in (0, 1), 53 bits."""
    generator = np.random.default_rng(np.random.SeedSequence([seed, *keys]))
    bits = np.frombuffer(generator.bytes(8 * size), dtype="<u8")
    return np.asarray(((bits >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53)
