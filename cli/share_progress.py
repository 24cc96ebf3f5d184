"""How much of one computation is done: a live bar in a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from landscape_cli import console

SECONDS_BETWEEN_LINES = 10.0


@contextmanager
def watch_share(title: str, *, quiet: bool) -> Iterator[Callable[[float], None] | None]:
    """Give the callback that shows the share, 0..1, of what is called `title`."""
    if quiet:
        yield None
    elif console.messages().is_terminal:
        columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
        with Progress(*columns, TimeRemainingColumn(), console=console.messages(), transient=True) as progress:
            task = progress.add_task(title, total=1.0)
            yield lambda share: progress.update(task, completed=share)
    else:
        last = time.monotonic()

        def say(share: float) -> None:
            nonlocal last
            if time.monotonic() - last >= SECONDS_BETWEEN_LINES:
                console.say(f"  {title}: {100 * share:.0f} %")
                last = time.monotonic()

        yield say
