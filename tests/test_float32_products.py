"""Whatever PyTorch is set to, what is measured is computed in float32 itself, and the settings are put back."""

from __future__ import annotations

import contextlib
import itertools
import subprocess
import sys

import torch
from torch import nn

from landscape import Problem
from landscape.float32_products import full_products, tf32_products
from landscape.measures import connectivity


def settings() -> tuple[str, bool]:
    return torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32


def test_the_settings_hold_inside_and_are_put_back_after_an_error() -> None:
    before = settings()
    for block, inside in ((full_products, ("highest", False)), (tf32_products, ("high", True))):
        try:
            with block():
                assert settings() == inside
                raise ZeroDivisionError
        except ZeroDivisionError:
            assert settings() == before


def test_a_measure_computes_in_full_whatever_the_settings_are() -> None:
    seen = []

    class Watched(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(settings())
            return super().forward(x)

    before = settings()
    torch.set_float32_matmul_precision("medium")
    torch.backends.cudnn.allow_tf32 = True
    try:
        connectivity(Problem(Watched(3, 2), nn.CrossEntropyLoss(), (torch.randn(8, 3), torch.arange(8) % 2)))
        assert settings() == ("medium", True)
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]
    assert len(seen) > 2
    assert set(seen) == {("highest", False)}


def test_blocks_that_end_in_any_order_leave_the_settings_as_they_were() -> None:
    """As those of several threads do: one trains in TF32 while another measures."""
    before = settings()
    kinds = {"a": full_products, "b": tf32_products, "c": full_products}
    for order in itertools.permutations(kinds):
        open_blocks = {name: contextlib.ExitStack() for name in kinds}
        for name, kind in kinds.items():
            open_blocks[name].enter_context(kind())
        for name in order:
            latest = max(open_blocks)
            assert settings() == (("high", True) if latest == "b" else ("highest", False))
            open_blocks.pop(name).close()
        assert settings() == before


def test_settings_by_operator_of_newer_pytorch_are_put_back_too() -> None:
    """In a process of its own: once they are mixed, PyTorch refuses to read the older settings."""
    script = """
import torch
from landscape.float32_products import full_products
if hasattr(torch.backends.cuda.matmul, "fp32_precision"):
    places = [torch.backends.cuda.matmul, torch.backends.cudnn.conv, torch.backends.cudnn.rnn]
    for place in places:
        place.fp32_precision = "tf32"
    with full_products():
        assert [place.fp32_precision for place in places] == ["ieee"] * 3
    assert [place.fp32_precision for place in places] == ["tf32"] * 3
"""
    subprocess.run([sys.executable, "-c", script], check=True)
