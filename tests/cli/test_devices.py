"""`landscape analyze --devices`: several real processes give one answer, and end together with one message."""

import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from landscape_cli.main import main

QUICK = [
    "--measures",
    "connectivity,margin,top_eigenvalues,hessian_trace",
    "--samples",
    "101",
    "--dtype",
    "float64",
    "--no-cache",
]
ENDLESS = ["--measures", "connectivity,hessian_trace", "--samples", "64", "--rtol", "1e-9", "--budget", "1e9"]

PROBLEM = """
import torch
from landscape import Problem

class Net(torch.nn.Linear):
    def forward(self, x):
        if {fails} and (x == 7).any():
            raise RuntimeError("a seven")
        return super().forward(x)

def problem(weights):
    inputs = torch.randn(100, 3, generator=torch.Generator().manual_seed(0))
    inputs[95, 0] = {late}
    return Problem(Net(3, 2), torch.nn.CrossEntropyLoss(), (inputs, torch.arange(100) % 2))
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained") / "run"
    assert main(["train", "--quiet", "--model", "mlp:width=16,depth=2", "--epochs", "1", "--out", str(folder)]) == 0
    return folder / "final.pt"


@pytest.fixture
def here(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copy(trained, tmp_path / "net.pt")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_two_processes_give_the_document_of_one(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    documents = []
    for processes in ("1", "2"):
        assert main(["analyze", "net.pt", *QUICK, "--json", "--devices", processes, "--out", processes]) == 0
        out, err = capfd.readouterr()
        documents.append(json.loads(out))
        assert json.loads((here / processes / "net.json").read_text()) == documents[-1]
    assert err.splitlines()[0] == "2 processes share the samples"
    assert err.count("connectivity ...") == 1, "one process speaks"
    one, two = documents
    assert (one["problem"].pop("processes"), two["problem"].pop("processes")) == (1, 2)
    same(one["problem"], two["problem"])
    same(one["measures"], two["measures"])
    assert one["settings"] == two["settings"]


def same(one: Any, two: Any) -> None:
    """Equal, numbers to what another order of a sum changes."""
    assert type(one) is type(two)
    if isinstance(one, dict):
        assert one.keys() == two.keys()
        for key in one.keys() - {"cost", "seconds", "peak_memory"}:
            same(one[key], two[key])
    elif isinstance(one, list):
        for a, b in zip(one, two, strict=True):
            same(a, b)
    elif isinstance(one, float):
        assert math.isclose(one, two, rel_tol=1e-10, abs_tol=1e-12)
    else:
        assert one == two


def test_many_checkpoints_go_one_to_a_process(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for name in ("b.pt", "c.pt"):
        shutil.copy("net.pt", name)
    command = ["analyze", "net.pt", "gone.pt", "b.pt", "c.pt", *QUICK, "--json", "--out", "results", "--devices", "2"]
    assert main(command) == 2
    out, err = capfd.readouterr()
    lines = err.splitlines()
    assert lines[0] == "2 processes: each takes one of the 4 checkpoints at a time"
    assert [document["checkpoint"]["path"] for document in json.loads(out)] == ["net.pt", "b.pt", "c.pt"]
    assert {path.name for path in (here / "results").iterdir()} == {"net.json", "b.json", "c.json"}
    assert [line for line in lines if line.startswith("wrote ")] == [
        f"wrote {Path('results') / name}.json" for name in ("net", "b", "c")
    ]
    assert re.match("error: gone.pt: (?!gone.pt)", lines[-1])
    assert err.count("error: ") == 1


def test_fewer_checkpoints_than_processes_share_their_samples(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A checkpoint that fails in every process does not stop the other."""
    command = ["analyze", "gone.pt", "net.pt", "--measures", "fisher_rao", "--samples", "40", "--json"]
    assert main([*command, "--devices", "3"]) == 2
    out, err = capfd.readouterr()
    assert err.splitlines()[0] == "3 processes share the samples of each checkpoint"
    assert [document["problem"]["processes"] for document in json.loads(out)] == [3]
    assert err.count("error: ") == 1


@pytest.mark.parametrize(
    ("fails", "late", "code", "words"),
    [
        (False, "float('inf')", 2, "the loss is NaN or infinite on 1 of the samples 64 to 99, first on sample 95"),
        (True, "7.0", 70, "a seven"),
    ],
)
def test_what_goes_wrong_in_one_process_is_told_once(
    fails: bool, late: str, code: int, words: str, here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (here / "late.py").write_text(PROBLEM.format(fails=fails, late=late))
    command = ["analyze", "net.pt", "--problem", "late.py", "--samples", "all", "--measures", "connectivity"]
    assert main([*command, "--devices", "2", "--quiet", "--out", "results"]) == code
    out, err = capfd.readouterr()
    assert out == ""
    assert words in err
    assert len(err.splitlines()) == 1, err
    assert not (here / "results").exists()


@pytest.fixture
def running(here: Path) -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """An endless measurement by two processes, in its middle, with the process numbers of the two."""
    command = [sys.executable, "-m", "landscape_cli.main", "analyze", "net.pt", *ENDLESS, "--json", "--devices", "2"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "hessian_trace ..." in line:
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


def test_a_killed_process_ends_the_run(running: tuple[subprocess.Popen[str], list[int]]) -> None:
    process, children = running
    os.kill(children[1], signal.SIGKILL)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 71
    assert out == ""
    assert re.fullmatch(r"error: process [01] of 2 \(counted from 0\) died \(killed by signal 9.*\n", err), err


def test_ctrl_c_shows_once_what_was_finished(running: tuple[subprocess.Popen[str], list[int]]) -> None:
    process, _ = running
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert list(json.loads(out)["measures"]) == ["connectivity"]
    assert err == "kept what was finished: connectivity\ninterrupted\n"


def test_processes_end_when_the_one_that_started_them_is_killed(
    running: tuple[subprocess.Popen[str], list[int]],
) -> None:
    """The fixture sees to it that none is left."""
    process, _ = running
    process.kill()
    process.wait(timeout=20)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--devices", "0"], "at least 1"),
        (["--devices", "100000"], "100000 processes"),
        (["--devices", "two"], "'two'"),
        (["--devices", "cuda:98,cuda:99"], "cuda:98"),
        (["--devices", "2", "--device", "cpu"], "--device and --devices"),
        (["--device", "2,3"], "'2'"),
    ],
)
def test_devices_that_cannot_be(
    arguments: list[str], words: str, here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["analyze", "net.pt", *arguments, "--quiet"]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert words in err
    assert len(err.splitlines()) == 1
