"""How a training shows on standard error: a live bar in a terminal, lines elsewhere, and how to go on after Ctrl-C."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeRemainingColumn

from landscape.numbers import format_plain
from landscape.training.events import (
    AlreadyFinished,
    EpochFinished,
    Event,
    NotTracked,
    OnEvent,
    StepDone,
    Tracked,
    TrainingStarted,
    ignore,
)
from landscape_cli import console


@contextmanager
def watch_training(title: str, *, quiet: bool) -> Iterator[OnEvent]:
    """Give the callback that shows a training on standard error: a live bar in a terminal, lines elsewhere.

    When the training is interrupted, how to go on is said before the interruption passes on.
    """
    resume = _ResumeHint()
    try:
        if quiet:
            yield _both(resume, ignore)
        elif console.messages().is_terminal:
            with Progress(
                SpinnerColumn(finished_text="[green]✓"),
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=16),
                TextColumn("{task.fields[message]}", markup=False),
                TextColumn("left"),
                TimeRemainingColumn(),
                console=console.messages(),
                transient=True,
            ) as progress:
                yield _both(resume, _Bar(progress, title))
        else:
            yield _both(resume, _Lines(title))
    except KeyboardInterrupt:
        resume.say()
        raise


class _Bar:
    """One bar over all steps, with the last epoch's result beside it."""

    def __init__(self, progress: Progress, title: str) -> None:
        self._progress = progress
        self._task: TaskID = progress.add_task(title, total=None, message="")

    def __call__(self, event: Event) -> None:
        match event:
            case TrainingStarted():
                self._progress.update(self._task, completed=event.first_step, total=event.steps)
            case StepDone():
                self._progress.update(self._task, completed=event.step)
            case EpochFinished():
                # Short, so that the whole line fits a terminal of 80 columns.
                words = f"epoch {event.row['epoch']}: test {event.row['test_accuracy']:.4f}"
                self._progress.update(self._task, message=words)
            case NotTracked() | AlreadyFinished():
                self._progress.console.print(_note(event), markup=False, highlight=False)


class _Lines:
    """A line at the start and after each epoch."""

    def __init__(self, title: str) -> None:
        self._title = title

    def __call__(self, event: Event) -> None:
        match event:
            case TrainingStarted():
                went_on = f", from epoch {event.first_epoch}" if event.first_epoch else ""
                console.say(
                    f"train {self._title}: {event.parameters} parameters, {event.samples} samples, "
                    f"{event.epochs} epochs, {event.steps} steps{went_on}, into {event.folder}"
                )
            case EpochFinished():
                console.say(f"  {_row(event.row)}")
            case Tracked():
                console.say(f"    {_tracked(event)}")
            case NotTracked() | AlreadyFinished():
                console.say(_note(event))


class _ResumeHint:
    """Remembers the run folder once something can be resumed from it."""

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._saved = False

    def __call__(self, event: Event) -> None:
        match event:
            case TrainingStarted():
                self._folder, self._saved = event.folder, event.first_epoch > 0
            case EpochFinished():
                self._saved = True

    def say(self) -> None:
        if self._folder is not None and self._saved:
            console.say(
                f"finished epochs are kept; go on with: landscape train --resume --out {shlex.quote(str(self._folder))}"
            )


def _both(first: OnEvent, second: OnEvent) -> OnEvent:
    def call(event: Event) -> None:
        first(event)
        second(event)

    return call


def _row(row: Mapping[str, Any]) -> str:
    return (
        f"epoch {row['epoch']}: loss {row['train_loss']:.4f} train, {row['test_loss']:.4f} test; "
        f"accuracy {row['train_accuracy']:.4f} train, {row['test_accuracy']:.4f} test ({row['seconds']:.1f} s)"
    )


def _tracked(event: Tracked) -> str:
    """The values of whole networks; those of substructures are in the file."""
    if not event.rows:
        return "tracked: no value"
    shown = [f"{row.quantity} {format_plain(row.value)}" for row in event.rows if not row.group][:4]
    more = len(event.rows) - len(shown)
    return f"tracked at step {event.rows[0].step}: " + ", ".join((*shown, *([f"{more} more"] if more else [])))


def _note(event: NotTracked | AlreadyFinished) -> str:
    if isinstance(event, NotTracked):
        return f"    note: {event.name} is not tracked in full: {event.reason}"
    return f"{event.folder} holds a finished run of {event.epochs} epochs; nothing to do"
