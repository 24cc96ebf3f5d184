"""The floating type that sums over many samples are kept in."""

from __future__ import annotations

import torch


def wide(device: torch.device) -> torch.dtype:
    """float64, or float32 on accelerators that have no float64 (MPS)."""
    return torch.float32 if device.type == "mps" else torch.float64
