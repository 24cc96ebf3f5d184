"""A disk that is full at some moment: one line, exit code 2, nothing half-written, and what was good before stays good.

A limit on the size of a file stands in for the disk: the system refuses the write in the same place, with other words.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from children import run
from test_kills import same_run
from wholeness import files_in, must_be_whole

TRAIN = ("train", "--model", "mlp:width=4,depth=2", "--epochs", "2", "--batch-size", "512", "--optimizer", "adam", "-q")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    ended = run([*TRAIN, "--out", "run", "--checkpoint-every", "1"], folder, folder / "cache")
    assert ended.code == 0, ended.err
    return folder


def whole(folder: Path) -> None:
    for path in files_in(folder):
        must_be_whole(path)


# before anything, at the history, at the first checkpoint, and at the first one with moments in it
@pytest.mark.parametrize(
    "place", ["config.yaml", *(pytest.param(p, marks=pytest.mark.slow) for p in ("history.csv", "epoch 0")), "epoch 1"]
)
def test_training(tmp_path: Path, cache: Path, trained: Path, place: str) -> None:
    initial = (trained / "run" / "checkpoints" / "epoch-0000.pt").stat().st_size
    largest = {"config.yaml": 0, "history.csv": 150, "epoch 0": initial - 1, "epoch 1": initial}[place]
    ended = run([*TRAIN, "--out", "run", "--checkpoint-every", "1"], tmp_path, cache, largest)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("error: cannot write ")
    assert len(ended.err.splitlines()) == 1
    whole(tmp_path)
    if place == "epoch 1":
        last = torch.load(tmp_path / "run" / "checkpoints" / "last.pt", weights_only=True)
        assert last["progress"]["epoch"] == 0
    # with room again, the same command goes on
    again = ["--resume"] if (tmp_path / "run" / "config.yaml").exists() else []
    ended = run([*TRAIN, "--out", "run", "--checkpoint-every", "1", *again], tmp_path, cache)
    assert ended.code == 0, ended.err
    same_run(tmp_path / "run", trained / "run")


@pytest.mark.parametrize("largest", [0, pytest.param(1500, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "command",
    [
        ("analyze", "run/final.pt", "--samples", "16", "--budget", "4", "--out", "new", "-q"),
        ("analyze", "run/final.pt", "--samples", "16", "--measures", "margin", "--report", "new/report.pdf", "-q"),
        ("surface", "run/final.pt", "--samples", "16", "--points", "3x3", "--out", "new/grid.npz", "-q"),
        pytest.param(("history", "run", "--plot", "--out", "new/history.png"), marks=pytest.mark.slow),
    ],
    ids=lambda command: f"{command[0]} {command[-1]}",
)
def test_results(tmp_path: Path, cache: Path, trained: Path, command: tuple[str, ...], largest: int) -> None:
    (tmp_path / "run").symlink_to(trained / "run")
    (tmp_path / "new").mkdir()
    ended = run(command, tmp_path, cache, largest)
    assert ended.code == 2, ended
    assert len(ended.err.splitlines()) == 1
    assert ended.err.startswith("error: cannot write new/")
    assert list((tmp_path / "new").iterdir()) == []
    # what the cache could keep is whole; with room the same command comes to its end
    ended = run(command, tmp_path, cache)
    assert ended.code == 0, ended.err
    whole(tmp_path / "new")
