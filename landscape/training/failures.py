"""PyTorch's failures of a forward or backward pass that a user can mend, in the user's words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from landscape.errors import OptionError, OutOfMemoryError

# What the CPU's allocator and the accelerators' say; only CUDA's has an exception class of its own.
_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")


@contextmanager
def user_errors(batch_size: int) -> Iterator[None]:
    """Turn what the block raises for a batch too large for memory or too small for BatchNorm into our errors.

    Raises:
        OutOfMemoryError: memory ran out; the message suggests micro-batches of half of `batch_size`.
        OptionError: BatchNorm in train mode met one value a channel.
    """
    try:
        yield
    except RuntimeError as error:
        words = str(error).lower()
        if isinstance(error, torch.OutOfMemoryError) or any(phrase in words for phrase in _MEMORY):
            remedy = (
                f"try micro_batch_size {batch_size // 2}, whose gradients add up to the same batch's"
                if batch_size > 1
                else "use a smaller network"
            )
            samples = "1 sample" if batch_size == 1 else f"{batch_size} samples"
            raise OutOfMemoryError(f"out of memory with {samples} in a pass; {remedy}.") from error
        raise
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise OptionError(
            f"batch normalisation needs more than one value a channel, and a batch of one sample (the last of an "
            f"epoch holds what is left) has one; choose another batch size than {batch_size}."
        ) from error
