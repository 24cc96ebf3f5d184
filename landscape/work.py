"""Counting the passes over the data, in gradient-equivalents.

One gradient-equivalent is a forward and a backward pass over all chosen samples. The weights below are the
convention of the analysis document: cost = sum over passes of weight * samples in the pass / N.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

WEIGHTS = {"forward": 1 / 3, "backward": 2 / 3, "gradient": 1.0, "jvp": 2 / 3, "hessian_product": 2.4}


@dataclass
class Work:
    """Sample passes by kind since the counter was opened; `on_charge` hears of each."""

    samples: dict[str, float] = field(default_factory=lambda: dict.fromkeys(WEIGHTS, 0.0))
    on_charge: Callable[[Work], None] | None = None

    def gradient_equivalents(self, n: int) -> float:
        """The cost of the counted passes relative to one gradient pass over `n` samples."""
        return sum(WEIGHTS[kind] * count for kind, count in self.samples.items()) / n


_open: ContextVar[tuple[Work, ...]] = ContextVar("open_counters", default=())
_share: ContextVar[float] = ContextVar("share_of_a_pass", default=1.0)


@contextmanager
def count_work(on_charge: Callable[[Work], None] | None = None) -> Iterator[Work]:
    """Count every pass made inside the block; blocks may nest, each counts all that happens in it."""
    work = Work(on_charge=on_charge)
    token = _open.set((*_open.get(), work))
    try:
        yield work
    finally:
        _open.reset(token)


@contextmanager
def through_part(share: float) -> Iterator[None]:
    """Count the passes made inside the block as this share of whole ones: they go through a part of the network."""
    token = _share.set(share * _share.get())
    try:
        yield
    finally:
        _share.reset(token)


def charge(kind: str, samples: int) -> None:
    """Note one pass of `kind` over `samples` samples with every open counter."""
    assert kind in WEIGHTS, f"unknown kind of pass {kind!r}"
    for work in _open.get():
        work.samples[kind] += samples * _share.get()
        if work.on_charge is not None:
            work.on_charge(work)
