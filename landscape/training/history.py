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
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from landscape.errors import CheckpointError
from landscape.files import write_atomically

Row = Mapping[str, Any]

_COUNTS = frozenset({"epoch", "step", "plateau", "cut"})


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


def read_history(path: Path) -> list[dict[str, Any]]:
    """Read what `write_history` wrote: counts as int, numbers as float, an empty cell as None, the rest as text.

    Raises:
        CheckpointError: the file cannot be read, or a row is not as long as the header.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CheckpointError(f"cannot read the history {path}: {error}.") from error
    for number, row in enumerate(rows, start=2):
        if None in row or None in row.values():
            raise CheckpointError(f"line {number} of the history {path} does not fit its header.")
    return [{name: _value(name, text) for name, text in row.items()} for row in rows]


def _value(name: str, text: str) -> int | float | str | None:
    if text == "":
        return None
    try:
        return int(text) if name in _COUNTS else float(text)
    except ValueError:
        return text
