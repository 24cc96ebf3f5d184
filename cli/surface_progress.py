"""What `landscape surface` shows on standard error while it works: a live bar in a terminal, lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from landscape_cli import console

SECONDS_BETWEEN_LINES = 10.0
_TITLES = {"points": "points", "steps": "training the curve"}


@contextmanager
def watch_points(*, quiet: bool) -> Iterator[Callable[[str, int, int], None] | None]:
    """Give the callback that shows how many of the points, or of a curve's training steps, are done."""
    if quiet:
        yield None
    elif console.messages().is_terminal:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, TimeRemainingColumn(), console=console.messages(), transient=True) as progress:
            tasks: dict[str, TaskID] = {}

            def show(what: str, done: int, total: int) -> None:
                if what not in tasks:
                    tasks[what] = progress.add_task(_TITLES[what], total=total)
                progress.update(tasks[what], completed=min(done, total))

            yield show
    else:
        last = time.monotonic()

        def say(what: str, done: int, total: int) -> None:
            nonlocal last
            if time.monotonic() - last >= SECONDS_BETWEEN_LINES:
                console.say(f"  {_TITLES[what]}: {min(done, total):,} of {total:,}")
                last = time.monotonic()

        yield say
