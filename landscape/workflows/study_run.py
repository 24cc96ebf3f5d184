"""One run of a reproduction: train, measure, keep the result beside the run so that nothing is done twice."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from landscape.config.analysis import AnalysisRun, AnalysisSettings
from landscape.config.tracking import TrackSettings
from landscape.config.training import TrainConfig, TrainRun
from landscape.errors import DivergedError, LandscapeError, OptionError
from landscape.files import write_atomically
from landscape.training.history import read_history
from landscape.training.run_folder import RunFolder
from landscape.workflows.analyze import analyze_checkpoint
from landscape.workflows.evidence import ANALYSIS, read_documents
from landscape.workflows.first_gradient import first_gradient
from landscape.workflows.train import train

FIRST_GRADIENT = "first_gradient"


@dataclass(frozen=True)
class Job:
    """A run to make.

    Attributes:
        folder: of the run.
        config: its settings.
        measures: of the trained network, beside the columns of the history.
        analysis: what the trained network is measured by, into `analysis.json` beside it; None: it is not.
        track: what is followed while it trains, into `track.csv` beside it; None: nothing.
    """

    folder: Path
    config: TrainConfig
    measures: tuple[str, ...] = ()
    analysis: AnalysisSettings | None = None
    track: TrackSettings | None = None


@dataclass(frozen=True)
class Outcome:
    """What a run came to.

    Attributes:
        values: the last row of the history, and the measures: MEASURE, MEASURE.GROUP.
        history: the rows of the history.
        diverged: what was said where it diverged; then there are no values.
    """

    values: dict[str, float]
    history: list[dict[str, Any]]
    diverged: str | None = None


def do(job: Job, device: str = "cpu") -> Outcome:
    """Make the run of `job`, or what is left of it; a run that diverged is an outcome too.

    On one thread: their number decides how sums are split, and many runs share the machine.

    Raises:
        LandscapeError: what is wrong with the settings or the data.
    """
    folder, kept = RunFolder(job.folder), job.folder / "measures.json"
    told = json.loads(kept.read_text()) if kept.exists() else {}
    if "diverged" in told:
        return Outcome({}, [], told["diverged"])
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        if not folder.finished:
            train(job.config, TrainRun(out=job.folder, resume=folder.holds_run, device=device, track=job.track))
        for measure in job.measures:
            if measure not in told:
                told[measure] = _measure(measure, folder.final, job.config, device)
                write_atomically(kept, json.dumps(told).encode())
        if job.analysis is not None and not _analyzed(job.folder, job.analysis):
            run = AnalysisRun(devices=device)
            analyze_checkpoint(folder.final, settings=job.analysis, run=run, cache=False).write(job.folder / ANALYSIS)
    except DivergedError as error:
        write_atomically(kept, json.dumps({"diverged": _without_place(error)}).encode())
        return Outcome({}, [], _without_place(error))
    finally:
        torch.set_num_threads(threads)
    history = read_history(folder.history)
    values = {name: float(value) for name, value in history[-1].items() if isinstance(value, int | float)}
    for measure in job.measures:
        values |= told[measure]
    return Outcome(values, history)


def missing(jobs: Sequence[Job]) -> list[Job]:
    """Those of `jobs` that still have to be done, in whole or in part."""
    return [job for job in jobs if not _done(job)]


def _done(job: Job) -> bool:
    kept = job.folder / "measures.json"
    told = json.loads(kept.read_text()) if kept.exists() else {}
    analyzed = job.analysis is None or _analyzed(job.folder, job.analysis)
    done = RunFolder(job.folder).finished and analyzed and all(name in told for name in job.measures)
    return "diverged" in told or done


def _analyzed(folder: Path, settings: AnalysisSettings) -> bool:
    """Whether the analysis beside the checkpoint is there, made by these settings."""
    try:
        (known,) = read_documents(folder / ANALYSIS)
    except (OptionError, ValueError):
        return False
    asked = settings.model_dump(mode="json")
    return all(known.settings.get(name) == value for name, value in asked.items())


def _measure(name: str, checkpoint: Path, config: TrainConfig, device: str) -> dict[str, float]:
    """MEASURE and MEASURE.GROUP of a trained network, on the training split."""
    if name == FIRST_GRADIENT:
        return {name: first_gradient(checkpoint, config)}
    settings = AnalysisSettings(measures=(name,))
    analysis = analyze_checkpoint(checkpoint, settings=settings, run=AnalysisRun(devices=device), cache=False)
    record = analysis.measures[name]
    if record.skipped is not None:
        raise LandscapeError(f"{name} of {config.model}: {record.skipped}")
    values = {name: record.value, **{f"{name}.{group}": value for group, value in record.groups.items()}}
    return {key: value for key, value in values.items() if math.isfinite(value)}


def _without_place(error: DivergedError) -> str:
    """The first sentence: what follows names files of this machine."""
    return str(error).split(". ")[0]
