"""The table with a row a step: appended to, cut back to a step, and mended after a crash."""

import pytest

from landscape.errors import CheckpointError, WriteError
from landscape.training.history import read_history
from landscape.training.step_table import append_steps, keep_steps


def rows(first, last):
    return [{"step": step, "a": step / 3, "b": float("inf")} for step in range(first, last + 1)]


def test_epochs_are_appended_and_read_back(tmp_path):
    path = tmp_path / "new" / "ratios.csv"
    append_steps(path, rows(1, 3))
    append_steps(path, [])
    append_steps(path, rows(4, 5))
    assert read_history(path) == rows(1, 5)


def test_steps_after_the_checkpoint_go(tmp_path):
    path = tmp_path / "ratios.csv"
    append_steps(path, rows(1, 5))
    with path.open("a") as file:
        file.write("6,0.3")  # a crash within a line
    keep_steps(path, 4)
    assert read_history(path) == rows(1, 4)
    append_steps(path, rows(5, 6))
    assert read_history(path) == rows(1, 6)
    keep_steps(path, 0)
    assert not path.exists()
    keep_steps(path, 0)
    keep_steps(path, 3)
    assert not path.exists()


def test_what_is_no_table_or_cannot_be_written_is_said(tmp_path):
    path = tmp_path / "ratios.csv"
    path.write_text("step,a\nx,1\n")
    with pytest.raises(CheckpointError, match="cannot read the steps"):
        keep_steps(path, 3)
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match="cannot write"):
        append_steps(tmp_path / "file" / "ratios.csv", rows(1, 1))
