"""Which process measures which checkpoint, and what came of it.

Several processes take a checkpoint each, where there are at least as many checkpoints; else they share the samples of
one checkpoint after another. Process 0 shows everything, in the order of the command line.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from landscape.catalog import PRESETS
from landscape.errors import LandscapeError, NotApplicableError, ProcessError
from landscape_cli import console

if TYPE_CHECKING:
    from landscape.config.analysis import AnalysisRun, AnalysisSettings
    from landscape.distributed import Group
    from landscape.records import Analysis
    from landscape.workflows.source import Source

_LOOK_EVERY = 0.1


@dataclass(frozen=True)
class Task:
    """What is asked of the command: every checkpoint with the name of its document."""

    checkpoints: Sequence[Path]
    documents: Sequence[str]
    settings: AnalysisSettings
    run: AnalysisRun
    source: Source
    out: Path | None
    cache: bool
    quiet: bool
    tables: bool
    told: set[str] = field(default_factory=set)

    def title(self, number: int) -> str:
        """The name of a checkpoint, for people."""
        count = len(self.checkpoints)
        path = str(self.checkpoints[number])
        return path if count == 1 else f"{path} ({number + 1} of {count})"

    def document(self, number: int) -> Path | None:
        """Where the document of a checkpoint goes."""
        return None if self.out is None else self.out / self.documents[number]


@dataclass
class Outcome:
    """What came of the checkpoints so far; `broke_off` where an error ended the measuring of one."""

    finished: list[Analysis] = field(default_factory=list)
    failures: list[tuple[Path, LandscapeError]] = field(default_factory=list)
    interrupted: bool = False
    broke_off: bool = False

    def add(self, other: Outcome) -> None:
        """Take in what came of further checkpoints."""
        self.finished += other.finished
        self.failures += other.failures
        self.interrupted = self.interrupted or other.interrupted
        self.broke_off = self.broke_off or other.broke_off


def measure_all(task: Task, group: Group) -> Outcome:
    """Measure the checkpoints of `task`; process 0 of the group has the outcome of all."""
    count = len(task.checkpoints)
    if group.size == 1:
        return _one_after_another(task, group)
    several = f"{group.size} processes"
    if count >= group.size:
        _say(task, f"{several}: each takes one of the {count} checkpoints at a time")
        return _one_each(task, group)
    _say(task, f"{several} share the samples" + (" of each checkpoint" if count > 1 else ""))
    return _one_after_another(task, group)


def _one_after_another(task: Task, group: Group) -> Outcome:
    whole = Outcome()
    for number in range(len(task.checkpoints)):
        part = _measure(task, number, group)
        if part.broke_off:
            error = part.failures[0][1]
            if isinstance(error, ProcessError) or not group.meets(f"failure {number}"):
                raise error  # of this process alone: the others cannot go on without it
        for analysis in part.finished:
            _show(analysis, task, number)
            if group.rank == 0:
                _write(analysis, task.document(number))
        whole.add(part)
        if whole.interrupted:
            break
    return whole


def _one_each(task: Task, group: Group) -> Outcome:
    """Each process draws the next checkpoint when it is done with one, and leaves what came of it for process 0."""
    from landscape.distributed import ALONE

    alone = replace(ALONE, device=group.device)
    count = len(task.checkpoints)
    while (number := group.next_item("checkpoints")) < count:
        part = _measure(task, number, alone)
        for analysis in part.finished:
            if not part.interrupted:
                _write(analysis, task.document(number), tell=False)
        group.put(f"outcome {number}", part)
        if part.interrupted:
            break
    if group.rank > 0:
        return Outcome()
    return _collected(task, group, wait=number >= count)


def _collected(task: Task, group: Group, *, wait: bool) -> Outcome:
    """Show what came of every checkpoint, in their order; without `wait` of those that are done."""
    whole, parts = Outcome(interrupted=not wait), dict[int, Outcome]()
    try:
        while wait and len(parts) < len(task.checkpoints):
            _look(task, group, parts)
            time.sleep(_LOOK_EVERY)
    except KeyboardInterrupt:
        whole.interrupted = True
    _look(task, group, parts)
    for number, part in sorted(parts.items()):
        for analysis in part.finished:
            _show(analysis, task, number)
            if part.interrupted:
                _write(analysis, task.document(number))
            elif (document := task.document(number)) is not None:
                console.say(f"wrote {document}")
        whole.add(part)
    return whole


def _look(task: Task, group: Group, parts: dict[int, Outcome]) -> None:
    for number in range(len(task.checkpoints)):
        if number not in parts and (part := group.look(f"outcome {number}")) is not None:
            parts[number] = part


def _measure(task: Task, number: int, group: Group) -> Outcome:
    """Measure one checkpoint; what goes wrong with it is noted, so that the others are still measured."""
    from landscape.records import Analysis
    from landscape.workflows.analyze import analyze_checkpoint
    from landscape.workflows.events import Interrupted
    from landscape_cli.progress import watch_analysis

    path, outcome = task.checkpoints[number], Outcome()
    try:
        with watch_analysis(task.title(number), quiet=task.quiet, told=task.told) as on_event:
            analysis = analyze_checkpoint(
                path,
                settings=task.settings,
                run=task.run,
                source=task.source,
                on_event=on_event,
                cache=task.cache,
                group=group,
            )
    except Interrupted as stop:
        return Outcome([stop.partial] if stop.partial.measures else [], interrupted=True)
    except KeyboardInterrupt:
        return Outcome(interrupted=True)
    except LandscapeError as error:
        kept, error.partial = error.partial, None
        finished = [kept] if isinstance(kept, Analysis) and kept.measures else []
        return Outcome(finished, [(path, error)], broke_off=True)
    outcome.finished.append(analysis)
    for name in task.settings.measures:
        if name in PRESETS:
            continue  # of a list, what does not apply is told in the table
        reason = analysis.measures[name].skipped
        if reason is not None:
            outcome.failures.append((path, NotApplicableError(f"{name} does not apply: {reason}")))
    return outcome


def _show(analysis: Analysis, task: Task, number: int) -> None:
    from landscape_cli.tables import analysis_tables

    if analysis.problem.get("published_md5") is False:
        console.say(f"note: the files of {analysis.problem['data']} are not the published ones (their md5 differs)")
    if task.tables:
        console.show(analysis_tables(analysis, task.title(number)))


def _write(analysis: Analysis, document: Path | None, *, tell: bool = True) -> None:
    if document is not None:
        analysis.write(document)
        if tell:
            console.say(f"wrote {document}")


def _say(task: Task, text: str) -> None:
    if not task.quiet:
        console.say(text)
