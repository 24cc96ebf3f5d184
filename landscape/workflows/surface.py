"""From a checkpoint to a surface: the slice, the values on its grid, and the file that a stopped run goes on with."""

from __future__ import annotations

import copy
import hashlib
import io
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from landscape.checkpoint import check_finite, load_tensors, read_checkpoint
from landscape.config.analysis import AnalysisRun
from landscape.config.surface import SurfaceSettings
from landscape.distributed import ALONE, Group
from landscape.errors import CheckpointError, OptionError
from landscape.files import write_atomically
from landscape.problem import Problem
from landscape.problem.load import load, load_problem_file
from landscape.surfaces.curves import bezier, train_control
from landscape.surfaces.eigen_directions import eigen_directions
from landscape.surfaces.grid import Surface, places, read_surface
from landscape.surfaces.plane import Slice, covering, difference, displacement, inner, orthonormal, plane
from landscape.surfaces.random_directions import random_directions
from landscape.surfaces.trajectory import trajectory_plane
from landscape.surfaces.values import Recalibration, value_at
from landscape.workflows.analyze import Source, memory_errors

Vectors = list[dict[str, Tensor]]
OnProgress = Callable[[str, int, int], None]
"""Hears (what is done, how much of it, of how much): `points`, or `steps` of training a curve."""

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
        LandscapeError: what is wrong with the files, the data or the settings; `out` holds another surface.
        KeyboardInterrupt: Ctrl-C; what was finished is in `out`.
    """
    settings, run, source = settings or SurfaceSettings(), run or AnalysisRun(), source or Source()
    settings.check()
    identity = _identity(Path(path), settings, source)
    known: Surface | None = group.first(_known(out, identity) if group.rank == 0 else None)
    if known is not None and known.finished:
        return known
    batch_size = run.batch_size or (known.about["batch_size"] if known is not None else None)
    with memory_errors(batch_size):
        problem = _load(Path(path), settings, source, group.device, batch_size)
        slice_ = _slice(problem, settings, source, out, known, group, on_progress)
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
                _kept(out).unlink(missing_ok=True)
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


def _slice(
    problem: Problem,
    settings: SurfaceSettings,
    source: Source,
    out: Path | None,
    known: Surface | None,
    group: Group,
    on_progress: OnProgress | None,
) -> Slice:
    theta, names, count = problem.parameters, [info.name for info in problem.infos], len(settings.counts)
    if settings.kind == "random":
        how = settings.normalize or "filter"
        drawn = random_directions(
            theta, problem.infos, count, normalize=how, ignore=settings.ignored, seed=settings.seed
        )
        scaled = {"filter": ", filter-normalised", "layer": ", layer-normalised", "none": ""}[how]
        return plane(theta, drawn, [f"random direction {k + 1}{scaled}" for k in range(count)])
    if settings.kind == "eigen":
        facts: dict[str, object] = dict(known.about["facts"]) if known is not None else {}

        def find() -> Vectors:
            found = eigen_directions(problem, count, seed=settings.seed)
            facts.update({"eigenvalues": found.values, "residuals": found.residuals, "converged": found.converged})
            return found.vectors

        vectors = _made_once(find, [theta] * count, out, known, group)
        facts = group.first(facts)
        values = facts["eigenvalues"]
        assert isinstance(values, list)
        return plane(theta, vectors, [f"eigenvector {k + 1}, λ = {values[k]:.4g}" for k in range(count)], facts=facts)
    if settings.kind == "pca":
        return _trajectory(problem, settings, source, theta, names, count)
    assert settings.other is not None
    buffers = _others(problem, problem.model)
    other = _tensors(problem, settings.other, source.key)
    if settings.kind == "line":
        moved = {name: tensor for name, tensor in {**theta, **buffers}.items() if name in other}
        way = difference({name: other[name] for name in moved}, moved)
        return plane({**theta, **buffers}, [way], [f"from the checkpoint (0) to {settings.other.name} (1)"],
                     measured=names)  # fmt: skip
    if count == 2 and settings.bn == "eval" and any(name.endswith("running_var") for name in buffers):
        raise OptionError("the running statistics saved with one end do not fit the other: use --bn recalibrate.")
    end = {name: other[name] for name in names}

    def train() -> Vectors:
        curved = problem if settings.bn == "eval" else problem.choose(bn="train")
        heard = None if on_progress is None else (lambda step, _: on_progress("steps", step, settings.curve_steps))
        return [
            train_control(
                curved, theta, end, steps=settings.curve_steps, rate=settings.curve_rate, seed=settings.seed,
                on_step=heard,
            )
        ]  # fmt: skip

    control = _made_once(train, [theta], out, known, group)[0]
    return _curve(theta, control, end, names, buffers, other, count, settings.other.name)


def _curve(
    start: Mapping[str, Tensor],
    control: Mapping[str, Tensor],
    end: Mapping[str, Tensor],
    names: Sequence[str],
    buffers: Mapping[str, Tensor],
    other: Mapping[str, Tensor],
    count: int,
    label: str,
) -> Slice:
    """The curve itself (count 1), or the plane through its ends and its control point with the curve on it."""
    if count == 1:

        def at(t: float, _: float) -> dict[str, Tensor]:
            between = {name: b + t * (other[name] - b) for name, b in buffers.items()}
            return bezier(start, control, end, t) | between

        return Slice(at, 1, (f"along the Bezier curve from the checkpoint (0) to {label} (1)",), (math.nan,))
    to_end, to_control = difference(end, start), difference(control, start)
    axes = orthonormal([to_end, to_control], names)
    if not any(bool(t.any()) for t in axes[1].values()):
        raise OptionError("the curve is a straight line and spans no plane: give one count, --points 51.")
    to_end, to_control = ({n: t.cpu().double() for n, t in d.items()} for d in (to_end, to_control))
    corners = np.array([[inner(d, a, names) for a in axes] for d in (to_control, to_end)])
    t = np.linspace(0, 1, 41)[:, None]
    path = 2 * t * (1 - t) * corners[0] + t**2 * corners[1]
    return plane(
        start,
        [{n: v.to(start[n]) for n, v in a.items()} for a in axes],
        ["from the checkpoint to the other network", "towards the bend of the curve"],
        path=path,
        path_labels=["checkpoint", *[""] * 39, label],
        path_title="trained Bezier curve",
        ranges=covering(np.vstack([path, corners]), 0.25),
    )


def _trajectory(
    problem: Problem,
    settings: SurfaceSettings,
    source: Source,
    theta: Mapping[str, Tensor],
    names: Sequence[str],
    count: int,
) -> Slice:
    assert settings.other is not None
    files = trajectory_files(settings.other)
    points = [_tensors(problem, file, source.key) for file in files]
    found = trajectory_plane(points, theta, names, count)
    path = found.path if count == 2 else np.hstack([found.path, np.zeros((len(files), 1))])
    return plane(
        theta,
        [{name: t.to(theta[name]) for name, t in d.items()} for d in found.directions],
        [f"principal direction {k + 1}, {100 * share:.0f}% of the path" for k, share in enumerate(found.explained)],
        path=path,
        path_labels=[_epoch_label(file) for file in files],
        path_title="training",
        ranges=covering(np.vstack([found.path, np.zeros((1, count))])),
        facts={"explained": found.explained, "off_plane": [float(v) for v in found.off]},
    )


def trajectory_files(run: Path) -> list[Path]:
    """The checkpoints of a run folder in the order of training: those of the epochs, then the final one.

    Raises:
        CheckpointError: there are fewer than two.
    """
    files = sorted((run / "checkpoints").glob("epoch-*.pt"), key=lambda file: int(file.stem.partition("-")[2]))
    files += [file for file in (run / "final.pt", run / "checkpoints" / "last.pt") if file.is_file()][:1]
    if len(files) < 2:
        raise CheckpointError(
            f"{run} holds {len(files) or 'no'} checkpoint{'s' * (len(files) != 1)} of a training; expected a run "
            "folder of landscape train --checkpoint-every 1."
        )
    return files


def _epoch_label(file: Path) -> str:
    return f"epoch {int(file.stem.partition('-')[2])}" if file.stem.startswith("epoch-") else "end"


def _made_once(
    make: Callable[[], Vectors],
    like: Sequence[Mapping[str, Tensor]],
    out: Path | None,
    known: Surface | None,
    group: Group,
) -> Vectors:
    """What `make` gives, by process 0 for all; kept beside `out` until the surface is finished."""
    vectors = [{name: torch.zeros_like(t) for name, t in one.items()} for one in like]
    if group.rank == 0:
        file = None if out is None else _kept(out)
        found = _read_vectors(file, like) if file is not None and known is not None else None
        vectors = found if found is not None else make()
        if file is not None and found is None:
            content = io.BytesIO()
            arrays = {f"{k}/{name}": t.cpu().numpy() for k, one in enumerate(vectors) for name, t in one.items()}
            np.savez(content, **arrays)  # type: ignore[arg-type]
            write_atomically(file, content.getvalue())
    return [{name: group.sum(t) for name, t in one.items()} for one in vectors]


def _read_vectors(file: Path, like: Sequence[Mapping[str, Tensor]]) -> Vectors | None:
    if not file.is_file():
        return None
    with np.load(file, allow_pickle=False) as arrays:
        return [{n: torch.from_numpy(arrays[f"{k}/{n}"]).to(t) for n, t in one.items()} for k, one in enumerate(like)]


def _kept(out: Path) -> Path:
    return out.with_name(f".{out.stem}.directions.npz")


# -- files -----------------------------------------------------------------------------------------------------------


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


def _load(path: Path, settings: SurfaceSettings, source: Source, device: str, batch_size: int | None) -> Problem:
    common: dict[str, Any] = {
        "samples": settings.samples,
        "key": source.key,
        "dtype": getattr(torch, settings.dtype),
        "bn": "eval",
        "batch_size": batch_size,
        "seed": settings.seed,
        "device": device,
    }
    if source.problem_file is not None:
        return load_problem_file(source.problem_file, path, **common)
    return load(path, model=source.model, data=source.data, split=settings.split, normalize=source.normalize, **common)


def _tensors(problem: Problem, path: Path, key: str | None) -> dict[str, Tensor]:
    """The parameters and the buffers of real numbers that another checkpoint has for the problem's network."""
    model = copy.deepcopy(problem.model)
    load_tensors(model, read_checkpoint(path, key).tensors, path)
    named = {name: p.detach() for name, p in model.named_parameters()}
    check_finite(named, path)
    wanted = {info.name for info in problem.infos}
    cast = {n: p.to(problem.device, problem.dtype) for n, p in named.items() if n in wanted}
    return cast | _others(problem, model)


def _others(problem: Problem, model: torch.nn.Module) -> dict[str, Tensor]:
    """What else of real numbers a network has: buffers, and parameters that are frozen."""
    wanted = {info.name for info in problem.infos}
    frozen = ((name, p) for name, p in model.named_parameters() if name not in wanted)
    return {
        name: t.detach().to(problem.device, problem.dtype)
        for name, t in (*model.named_buffers(), *frozen)
        if t.is_floating_point() and bool(torch.isfinite(t).all())
    }


__all__ = ["SurfaceSettings", "surface_checkpoint", "trajectory_files"]
