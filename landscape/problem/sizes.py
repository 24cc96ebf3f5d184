"""How many samples make a block of probes, a group of batch statistics, and the batch of a pass."""

from __future__ import annotations

import math

import torch

from landscape.memory import available_memory

BLOCK = 32  # probe k of block b depends on (seed, k, b): the blocks are part of a measure's definition
BN_GROUP = 128  # with bn="train" the statistics come from each group of this many samples
DEFAULT_BATCH = 128
GPU_BATCH = 2048  # below it a GPU waits for the launches of its kernels more than it computes
# what a pass may hold: half of the free memory, for the graph of a gradient that is differentiated again, which holds
# some four times what the forward pass saves
_SHARE_OF_MEMORY = 0.5
_GRAPHS = 4


def fitting_batch(saved: float, device: torch.device, sharing: int = 1) -> int:
    """The largest default batch, a power of two, whose passes fit into the memory that `sharing` processes share."""
    most = GPU_BATCH if device.type == "cuda" else DEFAULT_BATCH
    free = available_memory(device)
    if free is None or saved == 0:
        return DEFAULT_BATCH
    fitting = _SHARE_OF_MEMORY * free / (sharing * _GRAPHS * saved)
    return most if fitting >= most else 2 ** max(0, math.floor(math.log2(max(fitting, 1))))
