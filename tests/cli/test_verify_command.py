"""`landscape verify`: the table, the document, exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from landscape.workflows.verification import CHECKS
from landscape_cli.main import main

PROBLEM = """
import torch
from torch import nn
from landscape import Problem

class Mixing(nn.Module):
    def forward(self, x):
        return x - MIX * x.mean(0)

def problem(weights):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(24, 3, generator=generator)
    y = torch.randint(2, (24,), generator=generator)
    model = nn.Sequential(nn.Linear(3, 3), Mixing(), nn.Tanh(), nn.Linear(3, 2))
    model.load_state_dict(weights)
    return Problem(model, nn.CrossEntropyLoss(), (x, y))
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Identity(), torch.nn.Tanh(), torch.nn.Linear(3, 2))
    torch.save(model.state_dict(), "net.pt")
    for name, mix in (("sound", 0.0), ("mixing", 1.0)):
        Path(f"{name}.py").write_text(PROBLEM.replace("MIX", str(mix)))
    return tmp_path


@pytest.mark.usefixtures("here")
def test_a_sound_network_is_verified(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "net.pt", "--problem", "sound.py", "--samples", "all", "--rtol", "0.3"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in CHECKS)
    assert "all that applies holds" in out


@pytest.mark.usefixtures("here")
def test_a_failure_is_told_with_its_cause_and_its_own_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--problem", "mixing.py", "--samples", "all", "--checks", "batch_size,symmetry", "--json", "-q"]
    assert main(["verify", "net.pt", *options]) == 4
    captured = capsys.readouterr()
    document = json.loads(captured.out)
    assert document["schema"] == "landscape.verification/1"
    assert not document["passed"]
    assert "1 (Mixing)" in document["checks"]["batch_size"]["causes"][0]
    assert captured.err == ""


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--samples", "none"], "samples: expected a positive count"),
        (["--rtol", "0"], "rtol: expected a value greater than 0"),
        (["--budget", "-1"], "budget: expected a value greater than 0"),
        (["--bn", "test"], "bn: expected 'eval' or 'train', got 'test'"),
        (["--samples", "24", "--device", "2"], "checks run in one"),
        (["--samples", "24", "--checks", "products"], "unknown check 'products'. Did you mean product"),
    ],
)
def test_bad_input_is_one_line(options: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "net.pt", "--problem", "sound.py", "-q", *options]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert words in captured.err


def test_no_file_is_one_line(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(here / "none.pt"), "-q"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
