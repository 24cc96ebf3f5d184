"""Sweeps: many trainings from one file, a grid or a list over any settings of `landscape train`.

    settings   of all runs
    grid       setting -> values: every combination is a run
    runs       a list of runs, each with settings of its own and, if wanted, a `name`
    small      what replaces `settings` in the small variant; a run may have a `small` of its own

With a grid and a list each run of the list is made at each point of the grid. A run's settings are, each over the ones
before it: `settings`, its own, its point of the grid; for the small variant `settings`, `small`, its own, its own
`small`, the grid. null takes a setting back to its default.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from itertools import product
from pathlib import Path
from typing import Any

from pydantic import Field

from landscape.config.recipe import digest, parse_recipe, read_recipe, validate
from landscape.config.settings import Settings
from landscape.config.training import TrainConfig
from landscape.errors import OptionError, near

LONGEST = 120
"""Letters of a run's name; file systems take 255 bytes, and some tools add to it."""


class Sweep(Settings):
    """A sweep as its file has it; see the module."""

    settings: dict[str, Any] = Field(default_factory=dict)
    small: dict[str, Any] | None = None
    grid: dict[str, list[Any]] = Field(default_factory=dict)
    runs: list[dict[str, Any]] = Field(default_factory=list)


@dataclass(frozen=True)
class SweepRun:
    """A run of a sweep.

    Attributes:
        name: of its folder: what differs from the other runs.
        config: its settings.
    """

    name: str
    config: TrainConfig


def read_sweep(source: str) -> Sweep:
    """Read the sweep that comes with landscape under the name `source`, or else the file `source`.

    Raises:
        OptionError: there is neither, or the file is no sweep; near names are offered.
    """
    known = builtin_sweeps()
    if source in known:
        folder = resources.files("landscape.recipes") / "sweeps"
        return _sweep(parse_recipe((folder / f"{source}.yaml").read_text(encoding="utf-8"), source), source)
    path = Path(source)
    if not path.exists():
        raise OptionError(f"no sweep at {source}: expected a YAML file, or one that is built in.{near(source, known)}")
    return _sweep(read_recipe(path), source)


def builtin_sweeps() -> list[str]:
    """The sweeps that come with landscape."""
    folder = resources.files("landscape.recipes") / "sweeps"
    return sorted(file.name.removesuffix(".yaml") for file in folder.iterdir() if file.name.endswith(".yaml"))


def with_changes(sweep: Sweep, settings: Mapping[str, Any], seeds: int | None = None) -> Sweep:
    """The sweep with other `settings` for all runs, and each run with the seeds 0 ... `seeds` - 1.

    Raises:
        OptionError: one of `settings`, or the seed, is what the sweep varies.
    """
    varied = {*sweep.grid, *(key for run in sweep.runs for key in {**run, **_own_small(run)})}
    for name in settings:
        if name in varied:
            raise OptionError(f"{name} is what the sweep varies; change it in its file.")
    if seeds is not None and "seed" in {*varied, *settings}:
        raise OptionError("the seed is set by the sweep already; give the seeds in one place.")
    grid = sweep.grid if seeds is None else {**sweep.grid, "seed": list(range(seeds))}
    # Over `small` too: what the user asks for is asked for in either variant.
    small = None if sweep.small is None else {**sweep.small, **settings}
    return sweep.model_copy(update={"settings": {**sweep.settings, **settings}, "small": small, "grid": grid})


def runs_of(sweep: Sweep, *, small: bool = False) -> list[SweepRun]:
    """All runs, in the order of the list, then of the grid with its last setting changing fastest.

    Raises:
        OptionError: a setting of a run is unknown (near names are offered), of another type or out of range; a small
            variant is asked for and there is none.
    """
    if small and sweep.small is None and not any(_own_small(run) for run in sweep.runs):
        raise OptionError("the sweep has no small variant; its file needs the settings under `small:`.")
    base = {**sweep.settings, **((sweep.small or {}) if small else {})}
    found = []
    for run in sweep.runs or [{}]:
        own = {key: value for key, value in run.items() if key not in ("name", "small")}
        own_small = _own_small(run) if small else {}
        for point in _points(sweep.grid):
            for name in point:
                if name in own:
                    raise OptionError(f"{name} is set by the grid and by a run; vary it in one of them.")
            label = _label(run.get("name"), {**own, **own_small}, point)
            values = {**base, **own, **own_small, **point}
            try:
                config = validate(TrainConfig, {key: value for key, value in values.items() if value is not None})
            except OptionError as error:
                raise OptionError(f"run {label}: {error}") from error
            found.append((label, config))
    names = _distinct([label for label, _ in found], [config for _, config in found])
    return [SweepRun(name, config) for name, (_, config) in zip(names, found, strict=True)]


def _sweep(values: Mapping[str, Any], where: str) -> Sweep:
    try:
        sweep = validate(Sweep, values)
        for run in sweep.runs:
            _own_small(run)
            if not isinstance(run.get("name", ""), str):
                raise OptionError(f"the name of a run: expected text, got {run['name']!r}.")
    except OptionError as error:
        raise OptionError(f"{where}: {error}") from error
    if not sweep.grid and not sweep.runs:
        raise OptionError(f"{where}: expected `grid:` with values of settings, or `runs:`; it has neither.")
    for name, values_of in sweep.grid.items():
        if not values_of:
            raise OptionError(f"{where}: the grid has no value of {name}.")
    return sweep


def _own_small(run: Mapping[str, Any]) -> dict[str, Any]:
    small = run.get("small", {})
    if not isinstance(small, dict):
        raise OptionError(f"the `small` of a run: expected settings, got {small!r}.")
    return small


def _points(grid: Mapping[str, Sequence[Any]]) -> Iterator[dict[str, Any]]:
    for values in product(*grid.values()):
        yield dict(zip(grid, values, strict=True))


def _label(name: str | None, own: Mapping[str, Any], point: Mapping[str, Any]) -> str:
    """What differs: the name or the run's own settings, then its point of the grid."""
    parts = [_safe(name)] if name is not None else [f"{key}={_text(value)}" for key, value in own.items()]
    parts += [f"{key}={_text(value)}" for key, value in point.items()]
    return ",".join(parts) or "base"


def _text(value: Any) -> str:
    if value is None:
        return "default"
    if isinstance(value, bool):
        return str(value).lower()
    return _safe("-".join(map(str, value)) if isinstance(value, list | tuple) else str(value))


def _safe(text: str) -> str:
    """Letters that every file system and shell takes as they are."""
    return re.sub(r"[^A-Za-z0-9.+_-]+", "-", text).strip(".") or "run"


def _distinct(labels: Sequence[str], configs: Sequence[TrainConfig]) -> list[str]:
    """The labels, shortened where they are long, with a part of the digest where that does not tell them apart."""
    counts = Counter(label.casefold()[:LONGEST] for label in labels)
    names = []
    for label, config in zip(labels, configs, strict=True):
        short = label[:LONGEST]
        if len(label) > LONGEST or counts[short.casefold()] > 1:
            short += f"-{digest(config.plain())[:8]}"
        names.append(short)
    return names
