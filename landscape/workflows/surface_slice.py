"""Which slice of parameter space a surface shows: from settings and other checkpoints to directions.

Where finding the directions costs something (eigenvectors, a trained curve) process 0 does it for all, and keeps
them in a file beside the surface's own until that is finished: a stopped run goes on with the very same slice.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from landscape.checkpoint import check_finite, load_tensors, read_checkpoint
from landscape.config.surface import SurfaceSettings
from landscape.distributed import Group
from landscape.errors import CheckpointError, OptionError
from landscape.files import write_atomically
from landscape.problem import Problem
from landscape.problem.running import duplicate
from landscape.surfaces.curves import bezier, train_control
from landscape.surfaces.eigen_directions import eigen_directions
from landscape.surfaces.grid import Surface
from landscape.surfaces.plane import Slice, covering, difference, inner, orthonormal, plane
from landscape.surfaces.random_directions import random_directions
from landscape.surfaces.trajectory import trajectory_plane
from landscape.workflows.source import Source

Vectors = list[dict[str, Tensor]]
OnProgress = Callable[[str, int, int], None]
"""Hears (what is done, how much of it, of how much): `points`, or `steps` of training a curve."""


def make_slice(
    problem: Problem,
    settings: SurfaceSettings,
    source: Source,
    out: Path | None,
    known: Surface | None,
    group: Group,
    on_progress: OnProgress | None,
) -> Slice:
    """The slice that `settings` names; directions that cost something are kept beside `out` until it is finished.

    Cost: none but for `eigen` (a Lanczos run) and `bezier` (a gradient a step of its training).

    Raises:
        LandscapeError: another checkpoint cannot be read or does not fit, or the slice does not exist.
    """
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
        file = None if out is None else kept_file(out)
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


def kept_file(out: Path) -> Path:
    """Where directions wait, beside `out`, for a run that goes on."""
    return out.with_name(f".{out.stem}.directions.npz")


def _tensors(problem: Problem, path: Path, key: str | None) -> dict[str, Tensor]:
    """The parameters and the buffers of real numbers that another checkpoint has for the problem's network."""
    model = duplicate(problem.model)
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
