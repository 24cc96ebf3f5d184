"""The history comes back as it was written, and a damaged one is refused."""

import pandas
import pytest

from landscape.errors import CheckpointError, WriteError
from landscape.training.history import read_history, write_history

ROWS = [
    {"epoch": 0, "step": 0, "train_loss": 2.302585092994046, "lr": 0.1},
    {"epoch": 1, "step": 23, "train_loss": 1 / 3, "lr": 0.1, "phase": "explore"},
]


def test_rows_come_back_to_the_last_bit(tmp_path):
    write_history(tmp_path / "history.csv", ROWS)
    assert read_history(tmp_path / "history.csv") == [{**ROWS[0], "phase": None}, ROWS[1]]


def test_pandas_reads_it(tmp_path):
    write_history(tmp_path / "history.csv", ROWS)
    table = pandas.read_csv(tmp_path / "history.csv")
    assert list(table.columns) == ["epoch", "step", "train_loss", "lr", "phase"]
    assert table["train_loss"].tolist() == pytest.approx([row["train_loss"] for row in ROWS], rel=1e-15)


@pytest.mark.parametrize("text", ["epoch,step\n1\n", "epoch,step\n1,2,3\n"])
def test_a_row_that_does_not_fit_is_refused(tmp_path, text):
    (tmp_path / "history.csv").write_text(text)
    with pytest.raises(CheckpointError, match="line 2"):
        read_history(tmp_path / "history.csv")


def test_a_missing_history_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="cannot read"):
        read_history(tmp_path / "history.csv")


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match="cannot write"):
        write_history(tmp_path / "file" / "history.csv", ROWS)
