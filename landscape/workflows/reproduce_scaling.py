"""Repeating figures of CB: gradients and strides against batch size over several seeds, with a fitted exponent each.

What a figure says is decided by the exponents of the seeds, which are independent runs: with their mean e, standard
deviation s and the 97.5% quantile t of Student's t with n - 1 degrees of freedom, the paper's exponent is `shown` if it
lies in e ± t s/√n, else `not shown`.
"""

from __future__ import annotations

import json
import math
import platform
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats

import landscape
from landscape.config.analysis import AnalysisRun
from landscape.config.batch_scaling import BatchScalingSettings
from landscape.config.scaling_figures import ScalingFigure, ScalingRun
from landscape.config.tracking import TrackSettings
from landscape.errors import LandscapeError
from landscape.files import write_atomically
from landscape.study.power_law import fit_power
from landscape.training.run_folder import RunFolder
from landscape.training.track_file import read_track
from landscape.workflows.batch_scaling import batch_scaling_checkpoint
from landscape.workflows.batch_scaling_document import BatchScaling, read_batch_scaling
from landscape.workflows.study_pool import run_jobs
from landscape.workflows.study_run import Job, missing

SCHEMA = "landscape.scaling-figure/1"
_KEPT = "batch-scaling.json"

OnDone = Callable[[str, int, int], None]
"""(the run, number done, number in all)"""


def reproduce_scaling(
    name: str,
    figure: ScalingFigure,
    runs: Sequence[ScalingRun],
    folder: Path,
    *,
    small: bool,
    workers: int = 1,
    devices: Sequence[str] = ("cpu",),
    on_done: OnDone | None = None,
) -> dict[str, Any]:
    """Make the runs that are not there, measure them and fit the exponents.

    Returns:
        A document of `SCHEMA`: `figure`, `layer`, `points` (size, mean, standard deviation and values by seed),
        `exponents` by seed, `exponent` with `low` and `high`, `claimed`, `verdict`, `noise_scale` by seed where the
        initial networks are measured.

    Raises:
        LandscapeError: what is wrong with the settings or the data of a run.
        KeyboardInterrupt: Ctrl-C; what was finished is kept.
    """
    tell: OnDone = on_done or (lambda *_: None)
    track = None if figure.first_step else TrackSettings(names=("strides",), samples="64", by="layer")
    jobs = {run.name: Job(folder / run.name, run.config, track=track) for run in runs}
    left = missing(list(jobs.values()))
    with closing(run_jobs(left, workers, devices)) as ended:
        for number, end in enumerate(ended, start=1):
            if end.error is not None:
                raise end.error
            if end.outcome is not None and end.outcome.diverged is not None:
                raise LandscapeError(f"run {end.job.folder.name} of {name}: {end.outcome.diverged}.")
            tell(end.job.folder.name, number, len(left))
    scale = figure.scale(small)
    values: dict[int, dict[int, float]] = defaultdict(dict)
    noise: dict[int, float] = {}
    for run in runs:
        if figure.first_step:
            study = _measured(folder / run.name, scale.layer, scale.counts(), devices[0])
            for point in study.groups[scale.layer].points:
                values[point.size][run.seed] = point.gradient
            noise[run.seed] = study.groups[scale.layer].noise_scale.scale
        else:
            stride = _stride(folder / run.name, figure.quantity, scale.layer)
            assert run.config.lr is not None, "the runs of a figure have a rate"
            values[run.size][run.seed] = stride / run.config.lr
    return _document(name, figure, small, values, noise)


def write_scaling(document: Mapping[str, Any], path: Path) -> None:
    """Write a document.

    Raises:
        WriteError: the file cannot be written.
    """
    write_atomically(path, (json.dumps(document, indent=1, allow_nan=False) + "\n").encode())


def _measured(folder: Path, layer: str, sizes: Sequence[int], device: str) -> BatchScaling:
    """The study of an initial network, kept beside it."""
    kept = folder / _KEPT
    if kept.exists():
        known = read_batch_scaling(kept)
        if list(known.sizes) == list(sizes) and layer in known.groups:
            return known
    settings = BatchScalingSettings(batch_sizes=",".join(map(str, sizes)), by=f"{layer}.*", samples="all", lr=1.0)
    study = batch_scaling_checkpoint(RunFolder(folder).final, settings=settings, run=AnalysisRun(devices=device))
    named = BatchScaling(**{**vars(study), "groups": _named(study, layer)})
    write_atomically(kept, named.to_json().encode())
    return named


def _named(study: BatchScaling, layer: str) -> dict[str, Any]:
    """The groups with that of the layer under its own name, not its pattern."""
    return {layer if name == f"{layer}.*" else name: group for name, group in study.groups.items()}


def _stride(folder: Path, quantity: str, layer: str) -> float:
    """The mean over the steps of the first epoch."""
    rows = [
        row for row in read_track(folder / "track.csv") if (row.quantity, row.group, row.epoch) == (quantity, layer, 1)
    ]
    if not rows:
        raise LandscapeError(f"{folder / 'track.csv'} has no {quantity} of {layer} after epoch 1; remove the folder.")
    return rows[-1].value


def _document(
    name: str,
    figure: ScalingFigure,
    small: bool,
    values: Mapping[int, Mapping[int, float]],
    noise: Mapping[int, float],
) -> dict[str, Any]:
    scale = figure.scale(small)
    sizes = sorted(values)
    seeds = sorted(values[sizes[0]])
    table = np.array([[values[size][seed] for size in sizes] for seed in seeds])
    n = np.array(sizes, dtype=float)
    # as many batches as an epoch has, as `landscape batch-scaling` weights them
    exponents, intercepts = fit_power(n, table, np.floor(scale.samples / n))
    mean, bound = float(exponents.mean()), math.nan
    if len(seeds) > 1:
        bound = float(stats.t.ppf(0.975, len(seeds) - 1) * exponents.std(ddof=1) / math.sqrt(len(seeds)))
    shown = abs(mean - figure.claimed) <= bound
    return {
        "schema": SCHEMA,
        "figure": name,
        "small": small,
        "quantity": figure.quantity,
        "settings": dict(scale.settings),
        "layer": scale.layer,
        "seeds": seeds,
        "points": [
            {
                "size": size,
                "mean": float(column.mean()),
                "deviation": float(column.std(ddof=1)) if len(seeds) > 1 else None,
                "values": column.tolist(),
            }
            for size, column in zip(sizes, table.T, strict=True)
        ],
        "exponents": exponents.tolist(),
        "exponent": mean,
        "low": None if math.isnan(bound) else mean - bound,
        "high": None if math.isnan(bound) else mean + bound,
        "intercept": float(intercepts.mean()),
        "claimed": figure.claimed,
        "verdict": "no verdict" if math.isnan(bound) else "shown" if shown else "not shown",
        "noise_scale": [None if math.isnan(noise[seed]) else noise[seed] for seed in seeds] if noise else [],
        "versions": {
            "landscape": landscape.__version__,
            "torch": str(torch.__version__),
            "python": platform.python_version(),
        },
    }
