"""`landscape train --devices`: several real processes train one network, and end together with one message."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from landscape.checkpoint import read_training_state
from landscape.config.training import TrainConfig, TrainRun
from landscape.training.events import EpochFinished
from landscape.training.history import read_history
from landscape.workflows.train import train
from landscape_cli.main import main

RTOL = 1e-9  # tests/training/test_spread.py has the error budget; here are ten times its steps
MLP = ["--model", "mlp:width=8,depth=2", "--set", "dtype=float64", "--batch-size", "400"]
DROPPED = """
from torch import nn

def network():
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.Dropout(0.5), nn.ReLU(), nn.Linear(8, 10))
    model[1].spare = nn.Linear(2, 2)  # no pass needs it
    return model
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield tmp_path
    torch.set_num_threads(threads)


def weights(folder: str) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = read_training_state(Path(folder) / "final.pt")["state_dict"]
    return state


def rows(folder: str) -> list[dict[str, object]]:
    return [{k: v for k, v in row.items() if k != "seconds"} for row in read_history(Path(folder) / "history.csv")]


def assert_same_run(one: str, two: str) -> None:
    for row, other in zip(rows(one), rows(two), strict=True):
        assert row.keys() == other.keys()
        for name, value in row.items():
            assert other[name] == (pytest.approx(value, rel=RTOL) if isinstance(value, float) else value), name
    for name, tensor in weights(one).items():
        torch.testing.assert_close(weights(two)[name], tensor, rtol=RTOL, atol=RTOL)


def as_stopped_after(epoch: int, whole: str, stopped: str) -> None:
    """Make the folder that a run leaves which ends after an epoch, from one that kept every epoch."""
    (Path(stopped) / "checkpoints").mkdir(parents=True)
    for name, source in (
        ("config.yaml", "config.yaml"),
        ("history.csv", "history.csv"),
        ("checkpoints/last.pt", f"checkpoints/epoch-{epoch:04d}.pt"),
    ):
        (Path(stopped) / name).write_bytes((Path(whole) / source).read_bytes())


def test_two_processes_write_the_run_of_one_and_one_goes_on_with_it(capfd: pytest.CaptureFixture[str]) -> None:
    """Two-phase, so that the decisions of a run are among what is compared; the eigenvalue is process 0's."""
    options = ["--schedule", "two-phase", "--patience", "1", "--extra-share", "0", "--lr", "1.4", "--epochs", "6"]
    assert main(["train", *MLP, *options, "--out", "one", "-q"]) == 0
    capfd.readouterr()
    assert main(["train", *MLP, *options, "--out", "two", "--devices", "2", "--checkpoint-every", "1"]) == 0
    out, err = capfd.readouterr()
    assert out.startswith("run       two (epoch 6)\n")
    assert out.count("run ") == 1
    assert err.splitlines()[0] == "2 processes share each batch"
    assert err.count("epoch 3:") == 1, "one process speaks"
    assert any(row["top_eigenvalue"] is not None for row in rows("one"))
    assert_same_run("one", "two")
    as_stopped_after(3, "two", "back")
    assert main(["train", "--resume", "--out", "back", "-q"]) == 0
    assert_same_run("one", "back")


def test_a_run_of_one_process_goes_on_with_two() -> None:
    class StoppedError(Exception):
        pass

    def stop(event: object) -> None:
        if isinstance(event, EpochFinished) and event.row["epoch"] == 2:
            raise StoppedError

    config = TrainConfig(
        model="resnet8:width=0.25", batch_size=400, epochs=3, dtype="float64", ghost_batch_size=100, lr=0.05,
        decay="adaptive-beta", decay_threshold=0.005,
    )  # fmt: skip
    train(config, TrainRun(out=Path("whole")))
    with pytest.raises(StoppedError):
        train(config, TrainRun(out=Path("stopped")), stop)
    assert main(["train", "--resume", "--out", "stopped", "--devices", "2", "-q"]) == 0
    assert_same_run("whole", "stopped")
    assert read_history(Path("whole/decay.csv")) == read_history(Path("stopped/decay.csv"))


@pytest.fixture
def running() -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """A long training by two processes, after its second epoch, with the process numbers of the two."""
    Path("dropped.py").write_text(DROPPED)
    command = ["train", "--model", "dropped:network", "--batch-size", "400", "--epochs", "4000", "--devices", "2"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([".", *sys.path])}
    whole = [sys.executable, "-m", "landscape_cli.main", *command, "--out", "run"]
    with subprocess.Popen(whole, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "epoch 2:" in line:
                break
        listed = subprocess.run(["ps", "-A", "-o", "ppid=,pid="], capture_output=True, text=True, check=True).stdout
        children = [int(pid) for parent, pid in map(str.split, listed.splitlines()) if int(parent) == process.pid]
        assert len(children) == 2
        try:
            yield process, children
        finally:
            process.kill()
    for child in children:
        assert gone(child), "a process was left behind"


def gone(pid: int) -> bool:
    """Within ten seconds; one that has ended and whose end nobody asked for (Z) is gone too."""
    for _ in range(100):
        done = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
        if done.stdout.strip()[:1] in ("", "Z"):
            return True
        time.sleep(0.1)
    return False


def said(err: str) -> list[str]:
    return [line for line in err.splitlines() if not line.startswith("  epoch ")]


def test_a_killed_process_ends_the_run_and_keeps_the_last_epoch(
    running: tuple[subprocess.Popen[str], list[int]],
) -> None:
    process, children = running
    os.kill(children[1], signal.SIGKILL)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 71
    assert out == ""
    (line,) = said(err)
    assert re.match(r"error: process [01] of 2 \(counted from 0\) died \(killed by signal 9", line)
    assert read_training_state(Path("run/checkpoints/last.pt"))["progress"]["epoch"] >= 2


def test_ctrl_c_ends_the_run_and_says_how_to_go_on(running: tuple[subprocess.Popen[str], list[int]]) -> None:
    process, _ = running
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == ""
    assert said(err) == [
        "finished epochs are kept; go on with: landscape train --resume --out run", "interrupted"
    ]  # fmt: skip


def test_a_stopped_run_of_two_processes_goes_on_to_the_same_bits(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With dropout, whose draws are each process's own, and parameters that no pass needs."""
    Path("dropped.py").write_text(DROPPED)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(here), *sys.path]))
    monkeypatch.syspath_prepend(here)
    command = ["train", "--model", "dropped:network", "--batch-size", "400", "--devices", "2", "-q", "--epochs", "3"]
    assert main([*command, "--out", "whole", "--checkpoint-every", "1"]) == 0
    as_stopped_after(2, "whole", "stopped")
    assert main(["train", "--resume", "--out", "stopped", "--devices", "2", "-q"]) == 0
    assert rows("whole") == rows("stopped")
    assert all(torch.equal(tensor, weights("stopped")[name]) for name, tensor in weights("whole").items())


def test_a_diverged_loss_is_told_once(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *MLP, "--lr", "1e300", "--out", "run", "--devices", "2", "-q"]) == 3
    out, err = capfd.readouterr()
    assert out == ""
    assert re.fullmatch("error: training diverged: the loss is nan at step 2 .* The last good checkpoint is .*\n", err)
    assert read_training_state(Path("run/checkpoints/last.pt"))["progress"]["epoch"] == 0


def test_devices_are_named_once_and_found_before_anything_starts(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--devices", "2", "--device", "cpu"]) == 2
    assert "--device and --devices" in capfd.readouterr().err
    assert main(["train", "--device", "cuda:98", "-q"]) == 2
    assert "cuda:98" in capfd.readouterr().err
