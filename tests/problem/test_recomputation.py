"""Networks with activation checkpointing give the numbers that they give without."""

from __future__ import annotations

import pytest
import torch
import torch.utils.checkpoint as checkpointing
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint, checkpoint_sequential

import landscape
from landscape import Problem
from landscape.problem.recomputation import no_recomputation
from landscape.problem.running import differentiable_kernels


class Segments(nn.Module):
    """A network of which the middle is checkpointed, reentrant, otherwise, in a row, or (None) not at all."""

    def __init__(self, way: str | None) -> None:
        super().__init__()
        self.way = way
        self.first, self.middle, self.last = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 3)

    def segment(self, h: Tensor) -> Tensor:
        return torch.tanh(self.middle(h))

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.first(x))
        if self.way is None:
            h = self.segment(h)
        elif self.way == "row":
            h = checkpoint_sequential([self.segment], 1, h, use_reentrant=False)
        else:
            h = checkpoint(self.segment, h, use_reentrant=self.way == "reentrant")
        return self.last(h)


def problem(way: str | None) -> Problem:
    torch.manual_seed(0)
    model = Segments(way).double()
    return Problem(model, nn.CrossEntropyLoss(), (torch.randn(40, 4).double(), torch.arange(40) % 3), batch_size=16)


@pytest.mark.parametrize("way", ["reentrant", "other", "row"])
@pytest.mark.parametrize("hvp", ["exact", "forward"])
def test_every_default_measure_is_that_of_the_network_without(way: str, hvp: str) -> None:
    with torch.random.fork_rng():
        plain, checkpointed = (
            landscape.analyze(problem(w), rtol=0.2, budget=60, hvp=hvp).measures for w in (None, way)
        )
    for name, record in checkpointed.items():
        assert record.skipped is None, name
        assert (record.value, record.cost) == pytest.approx((plain[name].value, plain[name].cost), rel=1e-12), name


def test_checkpointing_is_back_after_the_block() -> None:
    """Training recomputes as before, also where the block ended by an error."""
    before = dict(vars(checkpointing))

    def fail() -> None:
        with no_recomputation():
            assert vars(checkpointing) != before
            raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        fail()
    assert vars(checkpointing) == before
    calls = []
    x = torch.ones(2, requires_grad=True)
    checkpoint(lambda t: (calls.append(1), t.sin())[1], x, use_reentrant=False).sum().backward()
    assert len(calls) == 2


def test_blocks_of_several_threads_may_end_in_any_order() -> None:
    """The first to begin ends first: the second goes on without recomputation, and the end of both leaves none."""
    before, fast = dict(vars(checkpointing)), torch.backends.mha.get_fastpath_enabled()
    model = nn.LSTM(2, 2)
    first, second = differentiable_kernels(model), differentiable_kernels(model)
    fused = torch._C._get_mkldnn_enabled()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert vars(checkpointing) != before
    assert not torch.backends.mha.get_fastpath_enabled()
    assert not torch._C._get_mkldnn_enabled()
    second.__exit__(None, None, None)
    assert vars(checkpointing) == before
    assert torch.backends.mha.get_fastpath_enabled() == fast
    assert torch._C._get_mkldnn_enabled() == fused
