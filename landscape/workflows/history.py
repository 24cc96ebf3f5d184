"""The history of a run, read back from its folder: tables, the best epoch, what was tracked. Loads no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from landscape.config.recipe import read_recipe
from landscape.errors import CheckpointError, OptionError, near
from landscape.training.history import OF_EVERY_RUN, read_history
from landscape.training.run_folder import RunFolder
from landscape.training.track_file import COLUMNS, read_track
from landscape.workflows.names import distinct_names


@dataclass(frozen=True)
class RunHistory:
    """What a run folder tells of its training.

    Attributes:
        name: for people; different among runs that were read together.
        config: the settings.
        history: a row an epoch, as in `history.csv`.
        track: as in `track.csv`, with `at`, the epochs done as a number that grows within them; may be empty.
        decay: as in `decay.csv`; may be empty.
        finished: whether the run came to its end.
    """

    name: str
    config: Mapping[str, Any]
    history: pd.DataFrame
    track: pd.DataFrame
    decay: pd.DataFrame
    finished: bool

    @property
    def best(self) -> dict[str, float]:
        """`epoch` and `test_accuracy` of the first epoch with the highest test accuracy."""
        accuracies = self.history["test_accuracy"].tolist()
        row = accuracies.index(max(accuracies))
        return {"epoch": int(self.history["epoch"].tolist()[row]), "test_accuracy": float(accuracies[row])}

    def whole(self) -> pd.DataFrame:
        """For each quantity of the track its values of the whole network: `first`, `last`, `lowest`, `highest`."""
        rows = self.track[self.track["group"] == ""]
        found = rows.groupby("quantity", sort=False)["value"].agg(["first", "last", "min", "max"])
        return found.rename(columns={"min": "lowest", "max": "highest"}).reset_index()

    def to_plain(self) -> dict[str, Any]:
        """All of it as plain JSON values."""
        return {
            "run": self.name,
            "config": dict(self.config),
            "finished": self.finished,
            "best": self.best,
            "history": _plain(self.history),
            "track": _plain(self.track.drop(columns="at")),
        }


def read_runs(folders: Sequence[Path]) -> list[RunHistory]:
    """Read run folders, each once.

    Raises:
        OptionError: a folder is not there or holds no run; near names are offered.
        CheckpointError: a file in it is damaged.
    """
    paths = list(dict.fromkeys(folders))
    names = distinct_names(paths)
    return [_read(path, name) for path, name in zip(paths, names, strict=True)]


def table_of(runs: Sequence[RunHistory]) -> pd.DataFrame:
    """The histories of all runs as one table; of several with their name in the column `run`."""
    if len(runs) == 1:
        return runs[0].history
    return pd.concat([run.history.assign(run=run.name) for run in runs], ignore_index=True).pipe(
        lambda table: table[["run", *(name for name in table.columns if name != "run")]]
    )


def _what_it_is(path: Path) -> str:
    if not path.exists():
        return "is not there"
    if not path.is_dir():
        return "is a file"
    runs = sorted(h.parent.name for h in path.glob("*/history.csv"))
    if not runs:
        return "holds no history.csv"
    first = path / runs[0]
    return f"is a folder of {len(runs)} runs ({first}, ...)" if len(runs) > 1 else f"is a folder of 1 run ({first})"


def _read(path: Path, name: str) -> RunHistory:
    folder = RunFolder(path)
    if not folder.history.is_file():
        known = [str(h.parent) for h in path.parent.glob("*/history.csv")] if path.parent.is_dir() else []
        offer = near(str(path), known) if known else ""
        raise OptionError(f"{path} {_what_it_is(path)}; expected a run folder of landscape train.{offer}")
    rows = read_history(folder.history, OF_EVERY_RUN)
    if not rows:
        raise CheckpointError(f"{folder.history} is no history of a run: it has no epoch.")
    history = pd.DataFrame(rows)
    track = pd.DataFrame(
        [vars(row) for row in read_track(folder.track)] if folder.track.is_file() else [], columns=list(COLUMNS)
    )
    decay = pd.DataFrame(read_history(folder.decay, ["step"]) if folder.decay.is_file() else [])
    config = read_recipe(folder.config_file) if folder.config_file.is_file() else {}
    return RunHistory(name, config, history, track.assign(at=_at(track, history)), decay, folder.finished)


def _at(track: pd.DataFrame, history: pd.DataFrame) -> list[float]:
    """The epoch of each row as a number: whole at the end of an epoch, else by its share of the steps."""
    steps, epochs = history["step"].tolist(), history["epoch"].tolist()
    places = []
    for epoch, step in zip(track["epoch"], track["step"], strict=True):
        later = next((i for i, known in enumerate(steps) if known >= step), None)
        if later is None or later == 0:
            places.append(float(epoch))
            continue
        low, high = steps[later - 1], steps[later]
        places.append(epochs[later - 1] + (epochs[later] - epochs[later - 1]) * (step - low) / max(high - low, 1))
    return places


def _plain(table: pd.DataFrame) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = [
        {
            str(name): None if value is None or (isinstance(value, float) and not math.isfinite(value)) else value
            for name, value in row.items()
        }
        for row in table.astype(object).to_dict("records")
    ]
    return rows
