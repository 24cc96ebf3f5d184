"""Activation checkpointing (`torch.utils.checkpoint`) put out of action while a network is measured.

A checkpointed segment is run again during the backward pass. Here that would be outside of the call that gave the
network its parameters, so that it would see other ones, and under `torch.func` it fails. The segments compute the same
function when they keep their activations; the size of a batch is found with the memory that this takes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch.utils.checkpoint as checkpointing

from landscape.process_state import ProcessState

# what `checkpoint` looks up when it is called, reentrant and not, whatever name a network has imported it by
_REENTRANT, _OTHER = "CheckpointFunction", "_checkpoint_without_reentrant_generator"


def no_recomputation() -> AbstractContextManager[None]:
    """Let `torch.utils.checkpoint.checkpoint` call its function inside the block and keep what it computes.

    A version of PyTorch that is built otherwise is left as it is.
    """
    return _NOTHING_AGAIN.as_(True)


@contextmanager
def _exchanged(_: bool) -> Iterator[None]:
    before = {name: getattr(checkpointing, name, None) for name in (_REENTRANT, _OTHER)}
    instead = {_REENTRANT: _Plain, _OTHER: _around_nothing}
    known = [name for name, value in before.items() if value is not None]
    try:
        for name in known:
            setattr(checkpointing, name, instead[name])
        yield
    finally:
        for name in known:
            setattr(checkpointing, name, before[name])


class _Plain:
    @staticmethod
    def apply(function: Callable[..., Any], preserve: bool, *args: Any) -> Any:
        """The function itself."""
        return function(*args)


def _around_nothing(*_: Any, **__: Any) -> Iterator[None]:
    """Runs before the function up to its `yield` and after it from there on."""
    yield


_NOTHING_AGAIN = ProcessState(_exchanged)
