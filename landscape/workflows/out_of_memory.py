"""Memory that ran out, told with what to try."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from landscape.errors import LandscapeError, OutOfMemoryError


@contextmanager
def memory_errors(batch_size: int | None) -> Iterator[None]:
    """Turn torch's out-of-memory errors into one that names a batch size to try.

    Raises:
        OutOfMemoryError: inside the block, memory ran out.
    """
    try:
        yield
    except LandscapeError:
        raise
    except (MemoryError, RuntimeError) as error:
        text = str(error).lower()
        if not isinstance(error, (MemoryError, torch.OutOfMemoryError)) and not (
            "out of memory" in text or "can't allocate memory" in text
        ):
            raise
        gc.collect()
        advice = f"try --batch-size {batch_size // 2}" if batch_size and batch_size > 1 else "take fewer --samples"
        raise OutOfMemoryError(f"memory ran out; {advice}, or another --device.") from error
