"""What `analyze` shows on standard error while it works: live bars in a terminal, lines elsewhere, or nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text

from landscape.numbers import format_measured, format_short, rewritten
from landscape.records import Record
from landscape.workflows.events import Event, MeasureFinished, MeasureProgress, MeasureStarted, NotKept
from landscape_cli import console

SECONDS_BETWEEN_LINES = 10.0


@contextmanager
def watch_analysis(
    title: str, *, quiet: bool, told: set[str] | None = None
) -> Iterator[Callable[[Event], None] | None]:
    """Give the callback that shows the events of one analysis, and clear the live bars when it ends.

    Notes that are in `told` are not told again; those that are told go into it.
    """
    told = set() if told is None else told
    if quiet:
        yield None
    elif console.messages().is_terminal:
        with Progress(
            SpinnerColumn(finished_text="[green]✓"),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=16),
            TextColumn("{task.fields[message]}", markup=False),
            TimeElapsedColumn(),
            _TimeLeft(),
            console=console.messages(),
            transient=True,
        ) as progress:
            progress.console.print(title, markup=False, highlight=False, style="bold")
            yield _Bars(progress, told)
    else:
        yield _Lines(title, told)


class _TimeLeft(ProgressColumn):
    """The time that a running measure will still take, once that can be said; nothing for a finished one."""

    max_refresh = 0.5

    def render(self, task: Task) -> Text:
        """The cell of one task."""
        if task.finished or task.time_remaining is None:
            return Text("")
        minutes, seconds = divmod(int(task.time_remaining), 60)
        return Text(f"{minutes}:{seconds:02d} left", style="progress.remaining")


class _Bars:
    """A bar a measure, filled by the share that is done of what it is expected to cost."""

    def __init__(self, progress: Progress, told: set[str]) -> None:
        self._progress = progress
        self._told = told
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, event: Event) -> None:
        match event:
            case MeasureStarted(name=name, index=index, count=count):
                label = f"{index + 1}/{count} {name}"
                self._tasks[name] = self._progress.add_task(label, total=None, message="")
            case MeasureProgress(name=name, done=done, expected=expected, message=message):
                self._progress.update(
                    self._tasks[name], completed=min(done, expected), total=expected, message=rewritten(message)
                )
            case MeasureFinished(name=name, record=record, cached=cached):  # the bar has a column for the seconds
                message = f"{_result(record)}, cached" if cached else _result(record)
                self._progress.update(self._tasks[name], completed=1, total=1, message=message)
            case NotKept(reason=reason) if reason not in self._told:
                self._told.add(reason)
                self._progress.console.print(f"note: {reason}", markup=False, highlight=False, soft_wrap=True)


class _Lines:
    """A line when a measure starts and ends, and every few seconds while it runs."""

    def __init__(self, title: str, told: set[str]) -> None:
        console.say(title)
        self._told = told
        self._last = time.monotonic()

    def __call__(self, event: Event) -> None:
        match event:
            case MeasureStarted(name=name, index=index, count=count):
                self._say(f"  {index + 1}/{count} {name} ...")
            case MeasureProgress(name=name, done=done, expected=expected, message=message):
                if time.monotonic() - self._last >= SECONDS_BETWEEN_LINES:
                    share = f"{format_short(done)} of {format_short(expected)} gradient passes"
                    self._say(f"      {name}: {rewritten(message)} ({share})" if message else f"      {name}: {share}")
            case MeasureFinished(name=name, record=record, cached=cached):
                seconds = ", cached" if cached else f", {format_short(record.seconds)} s"
                took = "" if record.skipped is not None else seconds
                self._say(f"      {name}: {_result(record)}{took}")
            case NotKept(reason=reason) if reason not in self._told:
                self._told.add(reason)
                self._say(f"  note: {reason}")

    def _say(self, text: str) -> None:
        console.say(text)
        self._last = time.monotonic()


def _result(record: Record) -> str:
    if record.skipped is not None:
        return "skipped"
    note = "" if record.converged else ", budget reached"
    return f"{format_measured(record.value, record.stderr)}{note}"
