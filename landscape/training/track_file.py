"""The track of a run: what was measured at each moment, one value a row. Knows no torch.

Columns of `track.csv`: `epoch` (epochs done), `step` (optimizer steps done), `quantity`, `group` (a substructure; empty
for the whole), `value`, `stderr` (of the estimate on the tracked samples: 0 where exact, empty where unknown).
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from landscape.errors import CheckpointError, WriteError
from landscape.files import write_atomically


@dataclass(frozen=True)
class TrackRow:
    """One value at one moment; NaN where a value was not finite or an error is unknown."""

    epoch: int
    step: int
    quantity: str
    group: str
    value: float
    stderr: float


COLUMNS = tuple(field.name for field in fields(TrackRow))


class TrackFile:
    """The file that a track is appended to, a moment at a time; None keeps it in memory alone."""

    def __init__(self, path: Path | None) -> None:
        self.path = path

    def append(self, rows: Sequence[TrackRow]) -> None:
        """Add rows at the end, the header first where there is no file.

        Raises:
            WriteError: the file cannot be written.
        """
        if self.path is None:
            return
        if not self.path.exists():
            self.replace(rows)
            return
        try:
            with self.path.open("a", newline="", encoding="utf-8") as file:
                file.write(_text(rows))
        except OSError as error:
            raise WriteError(f"cannot write {self.path}: {error.strerror or error}.") from error

    def replace(self, rows: Sequence[TrackRow]) -> None:
        """Write the header and `rows`, whole or not at all."""
        if self.path is not None:
            write_atomically(self.path, (",".join(COLUMNS) + "\n" + _text(rows)).encode())

    def read(self) -> list[TrackRow]:
        """What is in the file; nothing where there is none."""
        return read_track(self.path) if self.path is not None and self.path.exists() else []


def read_track(path: Path) -> list[TrackRow]:
    """Read a track. A last line without its end is left out: its moment was being written.

    Raises:
        CheckpointError: the file cannot be read or is no track; the message names the line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"cannot read the track {path}: {error}.") from error
    whole = text[: text.rfind("\n") + 1]
    lines = list(csv.reader(io.StringIO(whole, newline="")))
    if not lines or tuple(lines[0]) != COLUMNS:
        raise CheckpointError(f"{path} is no track: expected the columns {', '.join(COLUMNS)}.")
    rows = []
    for number, line in enumerate(lines[1:], start=2):
        try:
            epoch, step, quantity, group, value, stderr = line
            rows.append(TrackRow(int(epoch), int(step), quantity, group, _number(value), _number(stderr)))
        except ValueError as error:
            raise CheckpointError(f"line {number} of the track {path} does not fit its header.") from error
    return rows


def _text(rows: Iterable[TrackRow]) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    for row in rows:
        writer.writerow("" if isinstance(cell, float) and math.isnan(cell) else cell for cell in astuple(row))
    return text.getvalue()


def _number(text: str) -> float:
    return math.nan if text == "" else float(text)
