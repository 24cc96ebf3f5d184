"""`landscape analyze` a second time: after a kill, after an edit, without the cache, and where none can be kept."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from landscape_cli.main import main

QUICK = ["--measures", "connectivity,fisher_rao", "--samples", "64", "--quiet", "--json"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained") / "run"
    assert main(["train", "--quiet", "--model", "mlp:width=16,depth=2", "--epochs", "1", "--out", str(folder)]) == 0
    return folder


@pytest.fixture
def here(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copy(trained / "final.pt", tmp_path / "net.pt")
    shutil.copy(trained / "checkpoints" / "epoch-0000.pt", tmp_path / "first.pt")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def documents(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    found = json.loads(capsys.readouterr().out)
    return found if isinstance(found, list) else [found]


def timeless(document: dict[str, Any]) -> Any:
    measures = document["measures"].values()
    return [{k: v for k, v in m.items() if k not in ("seconds", "peak_memory")} for m in measures]


def test_a_killed_run_over_two_checkpoints_goes_on_where_it_was(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["analyze", "net.pt", "first.pt", "--samples", "64", "--json", "--rtol", "1e-9", "--budget", "1500"]
    command += ["--measures", "connectivity,hessian_trace,fisher_rao"]
    program = [sys.executable, "-m", "landscape_cli.main", *command]
    with subprocess.Popen(program, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        started = 0
        for line in process.stderr:
            started += "hessian_trace ..." in line
            if started == 2:
                process.kill()
                break
    assert process.returncode == -signal.SIGKILL
    assert main([*command, "--quiet"]) == 0
    resumed = documents(capsys)
    first, second = (d["total"]["cached"] for d in resumed)
    assert first == ["connectivity", "hessian_trace", "fisher_rao"]
    assert second in (["connectivity"], ["connectivity", "hessian_trace"]), "as far as it came before the signal did"
    assert main([*command, "--quiet", "--no-cache"]) == 0
    unbroken = documents(capsys)
    assert [timeless(d) for d in resumed] == [timeless(d) for d in unbroken]
    assert main([*command, "--quiet"]) == 0
    assert [d["measures"] for d in documents(capsys)] == [d["measures"] for d in resumed]


def test_what_comes_from_the_cache_is_shown_as_such(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["analyze", "net.pt", "--measures", "connectivity", "--samples", "64"]
    for expected in (False, True):
        assert main(command) == 0
        out, err = capsys.readouterr()
        (row,) = [line for line in out.splitlines() if line.startswith("connectivity")]
        assert ("cached" in row, "cached" in err) == (expected, expected)


def test_no_cache_neither_reads_nor_writes(here: Path, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["analyze", "net.pt", *QUICK, "--no-cache"]) == 0
    assert not cache.exists()
    assert main(["analyze", "net.pt", *QUICK]) == 0
    before = {path: path.stat().st_mtime_ns for path in cache.rglob("*.json")}
    assert len(before) == 3
    capsys.readouterr()
    assert main(["analyze", "net.pt", *QUICK, "--no-cache"]) == 0
    assert documents(capsys)[0]["total"]["cached"] == []
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*.json")} == before


HITS = {
    "another batch size": (["--batch-size", "5"], True),
    "the same file elsewhere": ([], True),
    "other samples": (["--samples", "63"], False),
    "the other split": (["--split", "test"], False),
    "another dtype": (["--dtype", "float64"], False),
    "another normalisation": (["--normalize", "0.4:0.3"], False),
    "other groups": (["--by", "layer"], False),
}


@pytest.mark.parametrize("name", HITS)
def test_what_an_option_changes(name: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options, hit = HITS[name]
    assert main(["analyze", "net.pt", *QUICK]) == 0
    capsys.readouterr()
    shutil.copy("net.pt", "copy.pt")
    quick = [*QUICK[:2], *QUICK[4:]] if "--samples" in options else QUICK  # an option is given once
    assert main(["analyze", "copy.pt", *quick, *options]) == 0
    assert documents(capsys)[0]["total"]["cached"] == (["connectivity", "fisher_rao"] if hit else [])


PROBLEM = """
import torch
from torch import nn
import landscape
def loss(outputs, targets):
    return nn.functional.cross_entropy(outputs, targets)
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 3)
    def forward(self, x):
        return self.layer(x).tanh()
def problem(weights):
    net = Net()
    net.load_state_dict(weights)
    return landscape.Problem(net, loss, (torch.linspace(-1, 1, 40).reshape(10, 4), torch.arange(10) % 3))
"""


def test_an_edited_problem_file_is_measured_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    torch.manual_seed(0)
    torch.save(torch.nn.Linear(4, 3).state_dict(), "weights.pt")
    tensors = torch.load("weights.pt", weights_only=True)
    torch.save({f"layer.{name}": tensor for name, tensor in tensors.items()}, "weights.pt")
    command = ["analyze", "weights.pt", "--problem", "mine.py", "--measures", "connectivity", "--json", "--quiet"]
    found = []
    for text in (PROBLEM, PROBLEM, PROBLEM.replace("tanh()", "sin()"), PROBLEM.replace("tropy(out", "tropy(2 * out")):
        Path("mine.py").write_text(text)
        assert main(command) == 0
        found += documents(capsys)
    assert [bool(d["total"]["cached"]) for d in found] == [False, True, False, False]
    assert len({d["measures"]["connectivity"]["value"] for d in found}) == 3


def test_the_cache_is_shown_and_emptied(here: Path, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def shown(*options: str) -> list[str]:
        capsys.readouterr()
        assert main(["cache", *options]) == 0
        out, err = capsys.readouterr()
        assert err == ""
        folder, _, size = (line.split(maxsplit=1)[1] for line in out.splitlines())
        assert folder == str(cache)
        assert size.endswith(" of 500 MB")
        return out.splitlines()[1].split()

    assert shown() == ["entries", "0"]
    assert main(["analyze", "net.pt", *QUICK]) == 0
    assert shown() == ["entries", "3"]
    assert shown("--clear") == ["deleted", "3"]
    assert shown() == ["entries", "0"]
    assert main(["analyze", "net.pt", *QUICK]) == 0


def test_a_folder_that_cannot_be_written_is_told_once(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "file").write_text("")
    monkeypatch.setenv("LANDSCAPE_CACHE", str(here / "file" / "cache"))
    assert main(["analyze", "net.pt", "first.pt", "--measures", "connectivity", "--samples", "64", "--json"]) == 0
    out, err = capsys.readouterr()
    assert len(json.loads(out)) == 2
    assert err.count("note: the cache cannot be written") == 1
