"""A table with a row a step, which grows by an epoch's rows at a time: CSV, `step` (from 1) first.

Appended to, unlike the tables that are written whole: a long run has many steps, and writing all of them after each
epoch would cost more than the epochs. Rows after the last checkpoint, and a line that a crash cut short, go when the
run goes on.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from landscape.errors import CheckpointError, WriteError
from landscape.files import write_atomically
from landscape.training.history import Row


def append_steps(path: Path, rows: Sequence[Row]) -> None:
    """Add `rows`, which have the same columns as those before; the first ones bring the header.

    Raises:
        WriteError: the file cannot be written.
    """
    if not rows:
        return
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    if not path.exists():
        writer.writeheader()
    writer.writerows(rows)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8", newline="") as file:
            file.write(text.getvalue())
    except OSError as error:
        raise WriteError(f"cannot write {path}: {error.strerror or error}. Choose another --out.") from error


def keep_steps(path: Path, last: int) -> None:
    """Drop the rows of steps after `last`; with 0 the file.

    Raises:
        CheckpointError: the file cannot be read, or is no such table.
        WriteError: it cannot be written.
    """
    if last == 0:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise WriteError(f"cannot remove {path}: {error.strerror}. Choose another --out.") from error
        return
    if not path.exists():
        return
    try:
        header, *lines, _ = path.read_text(encoding="utf-8").split("\n")  # the last ends in no line break
        kept = [line for line in lines if int(line.partition(",")[0]) <= last]
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise CheckpointError(f"cannot read the steps in {path}: {error}.") from error
    write_atomically(path, "\n".join([header, *kept, ""]).encode())
