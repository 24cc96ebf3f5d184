"""kill -9 at random moments: what is called again goes on, and ends as if it had never been stopped."""

from __future__ import annotations

import contextlib
import json
import math
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from children import PATIENCE, Child, run

from landscape.training.history import read_history
from landscape.training.track_file import read_track

MLP = ("--model", "mlp:width=4,depth=2", "--epochs", "4", "--batch-size", "128", "--checkpoint-every", "2", "-q")
# Every file that a run can have, and every kind of state that it carries.
RUNS = {
    "sgd": MLP,
    "adam, tracked": (*MLP, "--optimizer", "adam", "--track", "norms,margin", "--track-every", "7steps"),
    "two-phase, decay": (
        "--model", "own_network:bn", "--epochs", "4", "--batch-size", "128", "--decay", "adaptive-beta",
        "--schedule", "two-phase", "--patience", "1", "-q",
    ),
    "asam around kfac": (*MLP, "--optimizer", "asam:base=lamb"),
}  # fmt: skip
OWN_NETWORK = """
from torch import nn
def bn():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.BatchNorm1d(4), nn.Dropout(0.2), nn.Linear(4, 10))
"""


def same(a: Any, b: Any, where: str = "") -> None:
    """Two values are equal to the last bit; seconds do not count."""
    if isinstance(a, dict):
        assert a.keys() == b.keys(), where
        for key in a:
            if key not in ("seconds", "peak_memory"):
                same(a[key], b[key], f"{where}/{key}")
    elif isinstance(a, list | tuple):
        assert len(a) == len(b), where
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            same(x, y, f"{where}/{i}")
    elif isinstance(a, torch.Tensor):
        assert a.dtype == b.dtype, where
        assert torch.equal(a, b), where
    else:
        assert a == b or (isinstance(a, float) and math.isnan(a) and math.isnan(b)), where


def same_run(a: Path, b: Path) -> None:
    # the lock of a process that was killed as its run was done: it locks nothing any more
    files, others = ({p.relative_to(f) for p in f.rglob("*") if p.is_file() and p.name != ".lock"} for f in (a, b))
    assert files == others
    for file in files:
        match file.name:
            case name if name.endswith(".pt"):
                same(*(torch.load(folder / file, weights_only=True) for folder in (a, b)), str(file))
            case "track.csv":
                assert [repr(row) for row in read_track(a / file)] == [repr(row) for row in read_track(b / file)]
            case name if name.endswith(".csv"):
                same(read_history(a / file), read_history(b / file), str(file))
            case _:
                assert (a / file).read_bytes() == (b / file).read_bytes(), file


def kill_at(arguments: Sequence[str], folder: Path, cache: Path, seconds: float) -> None:
    child = Child(arguments, folder, cache)
    time.sleep(seconds)
    child.kill()
    child.ended()


def test_train(tmp_path: Path, cache: Path) -> None:
    _train(tmp_path, cache, "adam, tracked", kills=3)


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_train_with_every_kind_of_state(tmp_path: Path, cache: Path, name: str) -> None:
    _train(tmp_path, cache, name, kills=5)


def _train(tmp_path: Path, cache: Path, name: str, kills: int) -> None:
    (tmp_path / "own_network.py").write_text(OWN_NETWORK)
    command = ["train", *RUNS[name]]
    started = time.monotonic()
    whole = run([*command, "--out", "whole"], tmp_path, cache)
    took = time.monotonic() - started
    assert whole.code == 0, whole.err
    draw = random.Random(name)
    for _ in range(kills):
        kill_at([*command, *_killed(tmp_path)], tmp_path, cache, took * draw.random())
    last = run([*command, *_killed(tmp_path)], tmp_path, cache)
    assert last.code == 0, last.err
    same_run(tmp_path / "whole", tmp_path / "killed")


def _killed(folder: Path) -> list[str]:
    return ["--out", "killed", *(["--resume"] if (folder / "killed" / "config.yaml").exists() else [])]


def test_analyze(tmp_path: Path, cache: Path) -> None:
    _analyze(tmp_path, cache, kills=2)


@pytest.mark.slow
def test_analyze_more(tmp_path: Path, cache: Path) -> None:
    _analyze(tmp_path, cache, kills=10)


def _analyze(tmp_path: Path, cache: Path, kills: int) -> None:
    trained = run(["train", *MLP, "--out", "run"], tmp_path, cache)
    assert trained.code == 0, trained.err
    command = ["analyze", "run/final.pt", "run/checkpoints/epoch-0000.pt", "--samples", "64", "--budget", "40", "-q"]
    started = time.monotonic()
    whole = run([*command, "--no-cache", "--out", "whole"], tmp_path, cache)
    took = time.monotonic() - started
    assert whole.code == 0, whole.err
    draw = random.Random(kills)
    for _ in range(kills):
        kill_at([*command, "--out", "killed"], tmp_path, cache, took * draw.random())
    last = run([*command, "--out", "killed"], tmp_path, cache)
    assert last.code == 0, last.err
    names = {path.name for path in (tmp_path / "whole").iterdir()}
    assert names == {path.name for path in (tmp_path / "killed").iterdir()}
    for name in names:
        a, b = (json.loads((tmp_path / folder / name).read_text()) for folder in ("whole", "killed"))
        for document in (a, b):  # when it was made, and how much of it was known
            del document["provenance"], document["total"]
        same(a, b, name)


SWEEP = """
settings: {model: "mlp:width=4,depth=2", epochs: 3, batch_size: 128}
grid: {seed: [0, 1], optimizer: [sgd, adam]}
"""


def test_sweep(tmp_path: Path, cache: Path) -> None:
    _sweep(tmp_path, cache, kills=1)


@pytest.mark.slow
def test_sweep_more(tmp_path: Path, cache: Path) -> None:
    _sweep(tmp_path, cache, kills=10)


def _sweep(tmp_path: Path, cache: Path, kills: int) -> None:
    """The runs of a sweep that was killed are those that `landscape train` makes. Only its first process is killed."""
    (tmp_path / "s.yaml").write_text(SWEEP)
    command = ["sweep", "s.yaml", "--out", "killed", "--jobs", "1", "-q"]
    draw = random.Random(kills)
    for _ in range(kills):
        child = Child(command, tmp_path, cache)
        # its process of the runs starts anew and loads torch: only then is there something to break
        _wait_for_change(tmp_path / "killed", child)
        time.sleep(0.5 * draw.random())
        child.kill()
        child.ended()
    last = run(command, tmp_path, cache)
    assert last.code == 0, last.err
    assert "finished  4 of 4 runs" in last.out
    for seed in (0, 1):
        for optimizer in ("sgd", "adam"):
            name = f"seed={seed},optimizer={optimizer}"
            options = [*MLP[:2], "--epochs", "3", "--batch-size", "128", "--seed", str(seed), "--optimizer", optimizer]
            alone = run(["train", *options, "--out", name, "-q"], tmp_path, cache)
            assert alone.code == 0, alone.err
            same_run(tmp_path / name, tmp_path / "killed" / name)


def _wait_for_change(folder: Path, child: Child) -> None:
    """Wait until the sweep writes in a run's folder, or is done."""

    def seen() -> dict[Path, int]:
        found = {}
        for path in folder.glob("*/*"):
            with contextlib.suppress(FileNotFoundError):  # replaced as it was looked at
                found[path] = path.stat().st_mtime_ns
        return found

    before, end = seen(), time.monotonic() + PATIENCE
    while seen() == before and child.process.is_alive():
        assert time.monotonic() < end, "the sweep made no run"
        time.sleep(0.02)
