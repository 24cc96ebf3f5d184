"""From a checkpoint to a surface: the slice, the values on its grid, and the file that a stopped run goes on with."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch

from landscape.config.analysis import AnalysisRun
from landscape.config.surface import SurfaceSettings
from landscape.distributed import ALONE, Group
from landscape.errors import CheckpointError, OptionError
from landscape.float32_products import full_products
from landscape.locks import only_writer_of
from landscape.problem import Problem
from landscape.surfaces.grid import Surface, places, read_surface
from landscape.surfaces.plane import Slice, displacement
from landscape.surfaces.values import Recalibration, value_at
from landscape.workflows.out_of_memory import memory_errors
from landscape.workflows.source import Source
from landscape.workflows.surface_slice import OnProgress, kept_file, make_slice, trajectory_files

_SAVE_SECONDS = 5.0
_RANGES = {"random": (-1.0, 1.0), "eigen": (-1.0, 1.0), "line": (-0.25, 1.25), "bezier": (0.0, 1.0)}


def surface_checkpoint(
    path: Path | str,
    out: Path | None = None,
    *,
    settings: SurfaceSettings | None = None,
    run: AnalysisRun | None = None,
    source: Source | None = None,
    on_progress: OnProgress | None = None,
    save_every: int | None = None,
    group: Group = ALONE,
) -> Surface:
    """Compute the surface around a checkpoint.

    Args:
        path: the checkpoint; the origin of the slice.
        out: the .npz to write while the points are computed, and to go on with where it is there; None: none.
        settings: what decides the values.
        run: how it is run.
        source: where the network and the data come from, as for `analyze_checkpoint`.
        on_progress: hears of the progress.
        save_every: points between two writings; None: as many as take about five seconds.
        group: the processes that share the points; each calls this function and gets the same surface.

    Raises:
        LandscapeError: what is wrong with the files, the data or the settings; `out` holds another surface, or another
            process writes it.
        KeyboardInterrupt: Ctrl-C; what was finished is in `out`.
    """
    settings, run, source = settings or SurfaceSettings(), run or AnalysisRun(), source or Source()
    settings.check()
    identity = _identity(Path(path), settings, source)
    writes = group.rank == 0
    known: Surface | None = group.first(_known(out, identity) if writes else None)
    if known is not None and known.finished:
        return known
    with only_writer_of(out) if out is not None and writes else nullcontext():
        return _surface(Path(path), out, identity, settings, run, source, on_progress, save_every, group)


@full_products()
def _surface(
    path: Path,
    out: Path | None,
    identity: Mapping[str, Any],
    settings: SurfaceSettings,
    run: AnalysisRun,
    source: Source,
    on_progress: OnProgress | None,
    save_every: int | None,
    group: Group,
) -> Surface:
    """What is in `out` completed, or a new one; no other process writes it."""
    # Once more: another may have written it before.
    known: Surface | None = group.first(_known(out, identity) if group.rank == 0 else None)
    batch_size = run.batch_size or (known.about["batch_size"] if known is not None else None)
    with memory_errors(batch_size):
        problem = source.problem(
            path,
            split=settings.split,
            samples=settings.samples,
            seed=settings.seed,
            dtype=settings.dtype,
            device=group.device,
            batch_size=batch_size,
        )
        slice_ = make_slice(problem, settings, source, out, known, group, on_progress)
        recalibration = Recalibration(problem) if settings.bn == "recalibrate" else None

        def value(x: float, y: float) -> tuple[float, float]:
            theta = slice_.at(x, y)
            return value_at(problem, theta if recalibration is None else theta | recalibration.buffers(theta))

        surface = known if known is not None else _empty(problem, slice_, settings, identity, value)
        if out is not None and known is None and group.rank == 0:
            surface.write(out)
        try:
            _fill(surface, value, group, out, save_every, on_progress)
        finally:
            if out is not None and group.rank == 0 and surface.finished:
                kept_file(out).unlink(missing_ok=True)
    return surface


def _fill(
    surface: Surface,
    value: Callable[[float, float], tuple[float, float]],
    group: Group,
    out: Path | None,
    save_every: int | None,
    on_progress: OnProgress | None,
) -> None:
    """Compute what is missing, round after round; a round is shared among the processes and then written."""
    missing = np.argwhere(~surface.done)
    total, start, size = surface.done.size, 0, save_every or group.size
    while start < len(missing):
        part, began = missing[start : start + size], time.monotonic()
        found = np.zeros((len(part), 2))
        computed = 0
        try:
            for k in group.share(len(part)):
                j, i = part[k]
                found[k] = value(float(surface.x[i]), float(surface.y[j]))
                computed += 1
                if on_progress is not None:
                    on_progress("points", total - len(missing) + start + group.size * computed, total)
        except KeyboardInterrupt:
            if group.size == 1:
                _take(surface, part[:computed], found[:computed], out)
            raise
        _take(surface, part, group.sum_array(found), out if group.rank == 0 else None)
        start += len(part)
        if save_every is None:
            grown = 2 * size if time.monotonic() - began < _SAVE_SECONDS / 2 else size
            size = int(group.first(grown))


def _take(surface: Surface, part: np.ndarray, found: np.ndarray, out: Path | None) -> None:
    rows, columns = part[:, 0], part[:, 1]
    surface.loss[rows, columns], surface.accuracy[rows, columns] = found[:, 0], found[:, 1]
    surface.done[rows, columns] = True
    if out is not None:
        surface.write(out)


def _empty(
    problem: Problem,
    slice_: Slice,
    settings: SurfaceSettings,
    identity: Mapping[str, Any],
    value: Callable[[float, float], tuple[float, float]],
) -> Surface:
    """The grid with nothing on it, and what is known before."""
    automatic = slice_.ranges or (_RANGES.get(settings.kind, (-1.0, 1.0)),) * slice_.dimensions
    chosen = [given or auto for given, auto in zip(settings.ranges, automatic, strict=False)]
    axes = [places(*limits, count) for limits, count in zip(chosen, settings.counts, strict=True)]
    x, y = axes[0], axes[1] if len(axes) == 2 else np.zeros(1)
    shape = (len(y), len(x))
    loss, accuracy = value(0.0, 0.0)
    about = {
        "dimensions": slice_.dimensions,
        "labels": list(slice_.labels),
        "norms": [None if math.isnan(norm) else norm for norm in slice_.norms],
        "cosine": slice_.cosine,
        "path_labels": list(slice_.path_labels),
        "path_title": slice_.path_title,
        "facts": dict(slice_.facts),
        "origin": {"loss": loss, "accuracy": accuracy},
        "loss": problem.loss_name,
        "samples": len(problem),
        "parameters": problem.size,
        "batch_size": problem.batch_size,
        "problem": dict(problem.about),
        "torch": str(torch.__version__),
    }
    return Surface(
        x,
        y,
        np.full(shape, np.nan),
        np.full(shape, np.nan),
        np.array([[displacement(slice_, float(a), float(b)) for a in x] for b in y]),
        np.zeros(shape, dtype=bool),
        np.zeros((0, 2)) if slice_.path is None else np.asarray(slice_.path, dtype=np.float64),
        dict(identity),
        about,
    )


# -- the slice -------------------------------------------------------------------------------------------------------


def _identity(path: Path, settings: SurfaceSettings, source: Source) -> dict[str, Any]:
    """All that decides the values: the settings and the contents of the files."""
    files = {"checkpoint": [path]}
    if settings.other is not None:
        files["other"] = trajectory_files(settings.other) if settings.kind == "pca" else [settings.other]
    if source.problem_file is not None:
        files["problem_file"] = [source.problem_file]
    named = {"model": source.model, "data": source.data, "image_normalize": source.normalize, "key": source.key}
    hashes = {name: hashlib.sha256("".join(map(_sha256, paths)).encode()).hexdigest() for name, paths in files.items()}
    return {**settings.identity(), **named, **hashes}


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        raise CheckpointError(f"there is no checkpoint {path}.") from None
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}.") from error


def _known(out: Path | None, identity: Mapping[str, Any]) -> Surface | None:
    """The surface that is in `out`, if it is the one that is asked for.

    Raises:
        OptionError: it is another; the message shows what differs.
    """
    if out is None or not out.exists():
        return None
    known = read_surface(out)
    names = dict.fromkeys((*identity, *known.settings))
    different = [name for name in names if known.settings.get(name) != identity.get(name)]
    if different:
        told = "; ".join(
            f"{name}: {_short(known.settings.get(name))} there, {_short(identity.get(name))} asked"
            for name in different
        )
        raise OptionError(f"{out} holds another surface ({told}); choose another --out, or remove it.")
    return known


def _short(value: Any) -> str:
    text = str(value)
    return f"{text[:8]}..." if len(text) == 64 else text
