"""What a GPU makes of products in float32: as they are written, or with their factors rounded to TF32.

TF32 keeps 10 of the 23 bits of a factor's mantissa. PyTorch lets cuDNN's convolutions round so by default; a curvature
then carries an error of some 1e-3, whatever its standard error says. Everything that is measured is therefore computed
in full. On a CPU nothing is changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch

from landscape.process_state import ProcessState

Factors = Literal["full", "tf32"]


@contextmanager
def full_products() -> Iterator[None]:
    """Compute float32 products in float32 inside the block; PyTorch's own settings are put back after."""
    with _FACTORS.as_("full"):
        yield


@contextmanager
def tf32_products() -> Iterator[None]:
    """Let GPUs that can round the factors of float32 products to TF32 inside the block; the settings are put back."""
    with _FACTORS.as_("tf32"):
        yield


@contextmanager
def _rounded(factors: Factors) -> Iterator[None]:
    try:
        before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    except RuntimeError:  # set by the newer settings, which the older ones refuse to read
        with _rounded_by_operator("tf32" if factors == "tf32" else "ieee"):
            yield
        return
    torch.set_float32_matmul_precision("high" if factors == "tf32" else "highest")
    torch.backends.cudnn.allow_tf32 = factors == "tf32"
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]


@contextmanager
def _rounded_by_operator(name: str) -> Iterator[None]:
    """By the settings of PyTorch 2.9 and newer, one for each kind of operator."""
    backends: Any = torch.backends
    places = (backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn)
    before = [place.fp32_precision for place in places]
    for place in places:
        place.fp32_precision = name
    try:
        yield
    finally:
        for place, was in zip(places, before, strict=True):
            place.fp32_precision = was


_FACTORS: ProcessState[Factors] = ProcessState(_rounded)
