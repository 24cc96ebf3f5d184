"""The history of a run: one row an epoch, plain values, as CSV.

Columns of every run: `epoch` (0: before any step), `step` (steps done), `train_loss`, `train_accuracy`,
`test_loss`, `test_accuracy` (eval mode, whole split; accuracies 0..1, losses in nats), `lr` (of the epoch's last
step; in epoch 0 of the first to come), `seconds` (wall-clock, with the evaluation). With adaptive beta decay also
`decayed`: the share of the epoch's pairs of a step and a normalisation layer whose beta was decayed.
With the two-phase schedule: `phase` (explore, extra or converge), `plateau` (1 in the epoch after which it is seen),
`batch_loss` (mean of the mini-batches' losses), `top_eigenvalue` (of the last weight layer, where it is asked for) and
`cut` (1 in the epoch after which the rate is cut).
"""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from landscape.errors import CheckpointError
from landscape.files import write_atomically

Row = Mapping[str, Any]

OF_EVERY_RUN = ("epoch", "step", "train_loss", "train_accuracy", "test_loss", "test_accuracy", "lr")
_COUNTS = frozenset({"epoch", "step", "plateau", "cut"})
_WORDS = frozenset({"phase"})


def write_history(path: Path, rows: Sequence[Row]) -> None:
    """Write `rows` to `path`, whole or not at all; columns in the order in which they first come.

    Numbers are written so that reading gives the same floats back.
    """
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(path, text.getvalue().encode())


def read_history(path: Path, needs: Collection[str] = ()) -> list[dict[str, Any]]:
    """Read what `write_history` wrote: counts as int, numbers as float, an empty cell as None, a phase as text.

    Args:
        path: the file.
        needs: columns that must be there, and filled in every row.

    Raises:
        CheckpointError: the file cannot be read, a row is not as long as the header, or a cell is not of its kind.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            header = list(reader.fieldnames or [])
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CheckpointError(f"cannot read the history {path}: {error}.") from error
    missing = [name for name in needs if name not in header]
    if missing or len(set(header)) < len(header):
        raise CheckpointError(f"the history {path} has {f'no column {missing[0]}' if missing else 'a column twice'}.")
    for number, row in enumerate(rows, start=2):
        if None in row or None in row.values() or any(row[name] == "" for name in needs):
            raise CheckpointError(f"line {number} of the history {path} does not fit its header.")
    return [
        {name: _value(name, text, number, path) for name, text in row.items()}
        for number, row in enumerate(rows, start=2)
    ]


def _value(name: str, text: str, number: int, path: Path) -> int | float | str | None:
    if text == "":
        return None
    if name in _WORDS:
        return text
    try:
        return int(text) if name in _COUNTS else float(text)
    except ValueError:
        raise CheckpointError(
            f"line {number} of the history {path}: expected a number as {name}, got {text[:40]!r}."
        ) from None
