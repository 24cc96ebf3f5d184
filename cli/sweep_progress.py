"""How a sweep shows on standard error: a live table of its runs in a terminal, lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.live import Live
from rich.table import Table
from rich.text import Text

from landscape.errors import CheckpointError
from landscape_cli import console

if TYPE_CHECKING:
    from landscape.workflows.sweep import RunState

OnChange = Callable[["RunState"], None]

_STYLES = {"running": "cyan", "finished": "green", "diverged": "red", "failed": "red"}
# What is worth its line most, where the terminal has too few of them.
_ORDER = ("running", "failed", "diverged", "finished", "waiting")


@contextmanager
def watch_sweep(states: Sequence[RunState], *, quiet: bool) -> Iterator[OnChange]:
    """Give the callback that shows the runs: a live table in a terminal, a line a run elsewhere."""
    if quiet:
        yield lambda state: None
    elif console.messages().is_terminal:
        board = _Board(states)
        with Live(get_renderable=board.table, console=console.messages(), refresh_per_second=2, transient=True) as live:
            yield lambda state: live.refresh()
    else:
        yield _Lines(states)


class _Board:
    """The table, read anew from the run folders: other processes write them."""

    def __init__(self, states: Sequence[RunState]) -> None:
        self._states = states

    def table(self) -> Table:
        """The runs that fit the terminal, those that run first."""
        counts = {status: sum(state.status == status for state in self._states) for status in _ORDER}
        words = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
        table = Table(title=Text(words), title_justify="left", show_edge=False, pad_edge=False)
        table.add_column("run", no_wrap=True, overflow="ellipsis")
        table.add_column("status", no_wrap=True)
        for title in ("epoch", "train loss", "test accuracy"):
            table.add_column(title, justify="right", no_wrap=True)
        ordered = sorted(self._states, key=lambda state: _ORDER.index(state.status))
        for state in ordered[: max(3, console.messages().height - 5)]:
            row = _last_row(state)
            cells = (
                f"{row['epoch']}/{state.config.epochs}" if row else "",
                f"{row['train_loss']:.4f}" if row else "",
                f"{row['test_accuracy']:.4f}" if row else "",
            )
            status = Text(state.status, style=_STYLES.get(state.status, ""))
            table.add_row(Text(state.name), status, *(Text(cell) for cell in cells))
        return table


class _Lines:
    """A line for each run that is over, with the time that is left as the ones before it took."""

    def __init__(self, states: Sequence[RunState]) -> None:
        self._left = sum(state.status == "waiting" for state in states)
        self._total = self._left
        self._begun = time.monotonic()
        there = len(states) - self._left
        kept = f", {there} are there already" if there else ""
        console.say(f"sweep: {self._total} runs to make{kept}")

    def __call__(self, state: RunState) -> None:
        if state.status == "running":
            return
        self._left -= 1
        done = self._total - self._left
        minutes = (time.monotonic() - self._begun) / done * self._left / 60
        what = state.reason or f"test accuracy {state.metrics['test_accuracy']:.4f}"
        console.say(f"[{done}/{self._total}, {minutes:.0f} min left] {state.name}: {what}")


def _last_row(state: RunState) -> dict[str, float] | None:
    """The last row of the run's history, where there is one."""
    # Loaded here: `landscape --help` must not wait for it.
    from landscape.training.history import read_history
    from landscape.training.run_folder import RunFolder

    history = RunFolder(state.folder).history
    try:
        rows = read_history(history) if state.status != "waiting" and history.is_file() else []
    except CheckpointError:
        rows = []
    return rows[-1] if rows else None
