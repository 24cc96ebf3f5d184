"""Figures of the papers that show trainings epoch by epoch: train, follow, write the histories."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path

from landscape.config.tracked_figures import TrackedFigure
from landscape.errors import DivergedError
from landscape.files import write_atomically
from landscape.training.run_folder import RunFolder
from landscape.workflows.history import RunHistory, read_runs
from landscape.workflows.study_pool import run_jobs
from landscape.workflows.study_run import Job, do, missing
from landscape.workflows.train import resolve

SCHEMA = "landscape.tracked-figure/1"

OnDone = Callable[[str, int, int], None]


def reproduce_tracked(
    figure: TrackedFigure,
    folder: Path,
    *,
    small: bool,
    data: Mapping[str, str],
    workers: int = 1,
    devices: Sequence[str] = ("cpu",),
    on_done: OnDone | None = None,
) -> list[RunHistory]:
    """Train the networks of `figure` in `folder`, or what is left of them, and return how the trainings went.

    Networks that have the same settings in the small variant (two data sets become one) are trained once.

    Args:
        figure: which networks, and what is followed.
        folder: where each has its run folder.
        small: which of the two variants.
        data: folders of data sets by name.
        workers: processes, each with one thread.
        devices: of the processes, in turn.
        on_done: hears of each run that was made: its name, how many are done, of how many.

    Raises:
        LandscapeError: what is wrong with the settings or the data, or a folder holds a run of other settings.
        DivergedError: a run diverged; the others are made first.
    """
    jobs: dict[str, Job] = {}
    for line in figure.lines:
        config = resolve(line.config(small=small, data=data))
        if config.digest() in jobs:
            continue
        here = RunFolder(folder / line.label(small=small))
        if here.holds_run:
            here.must_hold(config)
        jobs[config.digest()] = Job(here.path, config, track=figure.settings(small=small))
    left = missing(list(jobs.values()))
    with closing(run_jobs(left, workers, devices)) as ended:
        for number, end in enumerate(ended, start=1):
            if end.error is not None:
                raise end.error
            if on_done is not None:
                on_done(end.job.folder.name, number, len(left))
    for job in jobs.values():
        if told := do(job).diverged:
            raise DivergedError(f"{job.folder.name}: {told}")
    return read_runs([job.folder for job in jobs.values()])


def write_tracked(name: str, figure: TrackedFigure, runs: Sequence[RunHistory], path: Path, *, small: bool) -> None:
    """Write the histories and what was followed as JSON.

    Raises:
        WriteError: the file cannot be written.
    """
    document = {
        "schema": SCHEMA, "figure": name, "paper": figure.paper, "of": figure.of, "title": figure.title,
        "claim": figure.claim, "small": small, "runs": [run.to_plain() for run in runs],
    }  # fmt: skip
    write_atomically(path, (json.dumps(document, indent=1, allow_nan=False) + "\n").encode())
