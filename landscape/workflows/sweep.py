"""Many trainings from one file: planned and checked whole, spread over processes, taken up again, told in one table.

FOLDER/NAME/    the run folder of each run, as `landscape train` writes it
FOLDER/sweep.csv   a row a run: name, status, settings, final metrics, and why it failed
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from landscape.config.sweep import SweepRun
from landscape.config.training import TrainConfig
from landscape.data import parse_data
from landscape.errors import DataError, DivergedError, LandscapeError, OptionError
from landscape.files import write_atomically
from landscape.locks import only_writer_in
from landscape.training.run_folder import RunFolder
from landscape.workflows.study_pool import Ended, run_jobs
from landscape.workflows.study_run import Job, Outcome, do, missing
from landscape.workflows.train import METRICS, resolve

TABLE = "sweep.csv"

_DEFECT = 70  # as of any internal error, see EX_SOFTWARE of sysexits.h

Status = Literal["waiting", "running", "finished", "diverged", "failed"]


@dataclass
class RunState:
    """Where a run of a sweep is.

    Attributes:
        name: of the run and its folder.
        folder: the run folder.
        config: its settings, written out.
        status: `diverged` and `failed` are ends too.
        metrics: of the final weights, once it is finished.
        reason: why it failed.
        exit_code: what the failure would be on the command line.
    """

    name: str
    folder: Path
    config: TrainConfig
    status: Status = "waiting"
    metrics: dict[str, float] = field(default_factory=dict)
    reason: str = ""
    exit_code: int = 0


OnChange = Callable[[RunState], None]


def plan_sweep(runs: Sequence[SweepRun], folder: Path) -> list[RunState]:
    """Look at every run before the first begins, and at what is finished in `folder`.

    Raises:
        OptionError, ModelError, DataError: the settings of a run make no sense together, two runs have the same
            settings, or its folder holds a run of other settings; the message names the run.
    """
    states: list[RunState] = []
    known: dict[str, str] = {}
    for run in runs:
        try:
            config = resolve(run.config)
            data = parse_data(config.data)
            if data.folder is not None and not data.folder.is_dir():
                raise DataError(f"there is no folder {data.folder} with the files of {data.name}.")
            here = RunFolder(folder / run.name)
            if here.holds_run:
                here.must_hold(config)
        except LandscapeError as error:
            raise type(error)(f"run {run.name}: {error}") from error
        key = config.digest()
        if key in known:
            raise OptionError(f"the runs {known[key]} and {run.name} have the same settings; leave one out.")
        known[key] = run.name
        state = RunState(run.name, folder / run.name, config)
        job = _job(state)
        if not missing([job]):
            _note(state, do(job))  # it is there; this reads it
        states.append(state)
    return states


def run_sweep(
    states: Sequence[RunState],
    folder: Path,
    *,
    workers: int = 1,
    devices: Sequence[str] = ("cpu",),
    on_change: OnChange | None = None,
) -> None:
    """Make the runs of `states` that are not finished; each state is kept up to date, and the table written at the end.

    Runs that fail do not stop the others. The table is also written when the sweep is interrupted.

    Args:
        states: from `plan_sweep`.
        folder: of the sweep.
        workers: processes, each with one thread.
        devices: of the processes, in turn.
        on_change: hears of each run that begins or ends.

    Raises:
        OptionError: another process makes a sweep in the folder.
        WriteError: the table cannot be written.
        KeyboardInterrupt: Ctrl-C; what was finished is kept, the last epoch of each other run too.
    """
    by_folder = {state.folder: state for state in states}

    def begin(job: Job) -> None:
        by_folder[job.folder].status = "running"
        if on_change is not None:
            on_change(by_folder[job.folder])

    def note(end: Ended) -> None:
        state = by_folder[end.job.folder]
        if end.outcome is not None:
            _note(state, end.outcome)
        else:
            state.status, state.reason = "failed", str(end.error)
            state.exit_code = end.error.exit_code if isinstance(end.error, LandscapeError) else _DEFECT
        if on_change is not None:
            on_change(state)

    left = [_job(state) for state in states if state.status == "waiting"]
    with only_writer_in(folder):
        try:
            with closing(run_jobs(left, workers, devices, begin)) as ended:
                for end in ended:
                    note(end)
        finally:
            write_atomically(folder / TABLE, table(states).encode())


def exit_code(states: Sequence[RunState]) -> int:
    """0 where all runs finished, else the largest exit code of a failure."""
    return max((state.exit_code for state in states), default=0)


def table(states: Sequence[RunState]) -> str:
    """The runs as CSV: name, status, settings, final metrics, reason.

    Settings are as they were written out, without folders of data.
    """
    settings: list[dict[str, Any]] = [state.config.identity() for state in states]
    columns = list(dict.fromkeys(name for values in settings for name in values))
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["run", "status", *columns, *METRICS, "reason"])
    for state, values in zip(states, settings, strict=True):
        status = "unfinished" if state.status in ("waiting", "running") else state.status
        metrics = [state.metrics.get(name) for name in METRICS]
        writer.writerow([state.name, status, *(values.get(name) for name in columns), *metrics, state.reason])
    return text.getvalue()


def _job(state: RunState) -> Job:
    return Job(state.folder, state.config)


def _note(state: RunState, outcome: Outcome) -> None:
    if outcome.diverged is not None:
        state.status, state.reason, state.exit_code = "diverged", outcome.diverged, DivergedError.exit_code
    else:
        state.status = "finished"
        state.metrics = {name: outcome.values[name] for name in METRICS if name in outcome.values}
