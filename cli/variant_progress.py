"""What a command shows while it measures several variants of a network: a live bar in a terminal, lines elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from landscape_cli import console


@contextmanager
def watch_variants(*, quiet: bool) -> Iterator[Callable[[str, str, int, int], None] | None]:
    """Give the callback that shows the variant, what is measured of it, and how many measurements are done."""
    if quiet:
        yield None
    elif console.messages().is_terminal:
        columns = (TextColumn("{task.description}", markup=False), BarColumn(bar_width=20), MofNCompleteColumn())
        with Progress(
            *columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console.messages(), transient=True
        ) as progress:
            task = progress.add_task("", total=None)

            def show(variant: str, what: str, done: int, total: int) -> None:
                progress.update(task, description=f"{variant}: {what}", completed=done, total=total)

            yield show
    else:

        def say(variant: str, what: str, done: int, total: int) -> None:
            if variant:
                console.say(f"  {done}/{total} {variant}: {what} ...")

        yield say
