"""Changes to the state of the whole process that blocks in several threads may want at the same time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Generic, TypeVar

Value = TypeVar("Value")


class ProcessState(Generic[Value]):
    """A state that is set by the first block that wants it and put back by the last, in whatever order they end.

    Each block on its own would take the state that another has set for the one to put back. Of blocks that want
    different values the one that began last has its way, and the others again as it ends.

    Args:
        setting: gives for a value a block that sets it and puts back what it found.
    """

    def __init__(self, setting: Callable[[Value], AbstractContextManager[None]]) -> None:
        self._setting = setting
        self._lock = threading.Lock()
        self._wanted: dict[object, Value] = {}  # by the block, in the order in which they began
        self._made = ExitStack()
        self._set: list[Value] = []  # what the state is set to now: one value, or none

    @contextmanager
    def as_(self, value: Value) -> Iterator[None]:
        """The block that wants `value`."""
        block = object()
        with self._lock:
            self._wanted[block] = value
            try:
                self._settle()
            except BaseException:
                del self._wanted[block]
                raise
        try:
            yield
        finally:
            with self._lock:
                del self._wanted[block]
                self._settle()

    def _settle(self) -> None:
        latest = list(self._wanted.values())[-1:]
        if latest != self._set:
            self._set = []
            self._made.close()
            for value in latest:
                self._made.enter_context(self._setting(value))
            self._set = latest
