"""Changes to the state of the whole process that blocks in several threads may want at the same time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager


class ProcessState:
    """One change, made by the first block that wants it and undone by the last, in whatever order they end.

    Each block on its own would take the state that another has changed for the one to put back.

    Args:
        change: gives a block that makes the change and undoes it.
    """

    def __init__(self, change: Callable[[], AbstractContextManager[None]]) -> None:
        self._change = change
        self._lock = threading.Lock()
        self._blocks = 0
        self._made = ExitStack()

    @contextmanager
    def changed(self) -> Iterator[None]:
        """The block that wants it."""
        with self._lock:
            if not self._blocks:
                self._made.enter_context(self._change())
            self._blocks += 1
        try:
            yield
        finally:
            with self._lock:
                self._blocks -= 1
                if not self._blocks:
                    self._made.close()
