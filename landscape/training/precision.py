"""How precisely the training passes compute: in full, with products rounded to TF32, or in bfloat16.

    fp32   as the weights' own type, with whatever PyTorch is set to
    tf32   what goes into a product is rounded to 10 bits of mantissa, where the GPU has that; elsewhere as fp32
    bf16   forward passes under autocast to bfloat16, their backward passes alike; weights, gradients, the loss, the
           running statistics and the optimizer in float32

That holds for the passes that give a gradient to step along (both of SAM's) and for the one that chooses which samples
are discarded. Evaluation, products with the Hessian (CBLR), K-FAC's statistics and the eigenvalue of the two-phase
schedule are computed in full: they measure the loss's curvature, which the rounding would hide.

Reference: Micikevicius et al., Mixed precision training, ICLR 2018 (bfloat16 needs no scaling of the loss).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch

from landscape.config.training import TrainConfig
from landscape.errors import OptionError
from landscape.float32_products import tf32_products


@dataclass(frozen=True)
class Precision:
    """The precision `name` on devices of the type `device`."""

    name: Literal["fp32", "tf32", "bf16"] = "fp32"
    device: str = "cpu"

    def forward(self) -> AbstractContextManager[Any]:
        """Surrounds a forward pass, and not its backward pass."""
        return torch.autocast(self.device, dtype=torch.bfloat16) if self.name == "bf16" else nullcontext()

    @contextmanager
    def products(self) -> Iterator[None]:
        """Surrounds forward and backward passes; PyTorch's own settings are put back after."""
        if self.name != "tf32":
            yield
            return
        with tf32_products():
            yield


FULL = Precision()


def check_precision(config: TrainConfig) -> None:
    """Refuse what contradicts itself.

    Raises:
        OptionError: weights in float64 with less than full precision.
    """
    if config.precision != "fp32" and config.dtype == "float64":
        raise OptionError(
            f"precision {config.precision} computes with less than float32, and dtype is float64; leave one out."
        )
