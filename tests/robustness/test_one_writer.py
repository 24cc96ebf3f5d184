"""Two processes on one place: the second refuses, in a line that names the first; the first is not disturbed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from children import PATIENCE, Child, run

LONG = ("train", "--model", "mlp:width=4,depth=2", "--epochs", "100000", "-q", "--out", "run")
SHORT = ("train", "--model", "mlp:width=4,depth=2", "--epochs", "1", "--batch-size", "512", "-q")
SWEEP = "settings: {model: 'mlp:width=4,depth=2', epochs: 100000}\ngrid: {seed: [0, 1]}\n"


def until(done: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < end, "the first process did not begin"
        time.sleep(0.02)


@pytest.fixture
def training(tmp_path: Path, cache: Path) -> Iterator[Child]:
    """A training in `run`, under way."""
    child = Child(LONG, tmp_path, cache)
    try:
        until((tmp_path / "run" / "checkpoints" / "last.pt").exists)
        yield child
    finally:
        child.kill()
        child.ended()


def test_a_run_folder(tmp_path: Path, cache: Path, training: Child) -> None:
    for command in ((*LONG, "--resume"), ("train", "--out", "run", "--resume", "-q")):
        second = run(command, tmp_path, cache)
        assert (second.code, second.out) == (2, "")
        assert second.err.startswith(f"error: run is being written by process {training.process.pid} on ")
        assert len(second.err.splitlines()) == 1
    assert training.process.is_alive()
    # reading is no writing
    assert run(("history", "run"), tmp_path, cache).code == 0
    training.kill()
    training.ended()
    third = Child((*LONG, "--resume"), tmp_path, cache)
    before = (tmp_path / "run" / "history.csv").read_bytes()
    until(lambda: (tmp_path / "run" / "history.csv").read_bytes() != before)
    third.kill()
    third.ended()


@pytest.mark.slow
def test_a_run_of_a_sweep(tmp_path: Path, cache: Path) -> None:
    """A run that is trained elsewhere fails for the sweep, in a line, and stops no other."""
    child = Child([*LONG[:-1], "runs/seed=0"], tmp_path, cache)
    try:
        until((tmp_path / "runs" / "seed=0" / "checkpoints" / "last.pt").exists)
        (tmp_path / "s.yaml").write_text(SWEEP.replace("[0, 1]", "[0]"))
        ended = run(["sweep", "s.yaml", "--out", "runs", "--jobs", "1", "-q"], tmp_path, cache)
        assert ended.code == 2
        assert f"seed=0: runs/seed=0 is being written by process {child.process.pid} on " in ended.err
        assert "finished  0 of 1 runs" in ended.out
    finally:
        child.kill()
        child.ended()


def test_a_sweep(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "s.yaml").write_text(SWEEP)
    command = ["sweep", "s.yaml", "--out", "runs", "--jobs", "1", "-q"]
    child = Child(command, tmp_path, cache)
    try:
        until((tmp_path / "runs" / "seed=0" / "checkpoints" / "last.pt").exists)
        second = run(command, tmp_path, cache)
        assert (second.code, second.out) == (2, "")
        assert second.err.startswith(f"error: runs is being written by process {child.process.pid} on ")
        assert len(second.err.splitlines()) == 1
    finally:
        child.kill()
        child.ended()
    # its own process of the run ends with it, and lets go of the run
    history = tmp_path / "runs" / "seed=0" / "history.csv"
    until(lambda: _still(history))


def _still(file: Path) -> bool:
    before = file.read_bytes()
    time.sleep(0.5)
    return file.read_bytes() == before


def test_a_surface(tmp_path: Path, cache: Path) -> None:
    assert run([*SHORT, "--out", "run"], tmp_path, cache).code == 0
    command = ["surface", "run/final.pt", "--samples", "16", "--points", "300x300", "--save-every", "1", "-q"]
    child = Child(command, tmp_path, cache)
    try:
        until((tmp_path / "surface.npz").exists)
        second = run(command, tmp_path, cache)
        assert (second.code, second.out) == (2, "")
        assert second.err.startswith(f"error: surface.npz is being written by process {child.process.pid} on ")
        assert len(second.err.splitlines()) == 1
        # what it has so far can be drawn all the same
        assert run(["surface", "surface.npz", "--csv", "points.csv"], tmp_path, cache).code == 0
    finally:
        child.kill()
        child.ended()


def test_a_cache_is_for_any_number_of_processes(tmp_path: Path, cache: Path) -> None:
    """Entries are written whole: no lock, and every process comes to the same numbers."""
    assert run([*SHORT, "--out", "run"], tmp_path, cache).code == 0
    command = ["analyze", "run/final.pt", "--samples", "32", "--budget", "8", "-q", "--out"]
    children = [Child([*command, f"docs{i}"], tmp_path, cache) for i in range(3)]
    assert [child.ended().code for child in children] == [0, 0, 0]
    again = run([*command, "docs"], tmp_path, cache)
    assert again.code == 0
    values = {tuple(_values(tmp_path / folder / "final.json")) for folder in ("docs", "docs0", "docs1", "docs2")}
    assert len(values) == 1


def _values(document: Path) -> list[str]:
    lines = document.read_text().splitlines()
    return [line for line in lines if '"value"' in line or '"stderr"' in line]
