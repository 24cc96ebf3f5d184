"""An error in the middle of an analysis: what was measured before it is kept, as on Ctrl-C."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from landscape import Problem, analyze
from landscape.errors import NonFiniteError
from landscape.records import Analysis
from landscape_cli.main import main

PROBLEM = """
import torch
from torch import nn

import landscape

class Kink(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.zeros(2, 3))
    def forward(self, x):
        return x @ self.w.square().sum(1, keepdim=True).sqrt().expand(2, 3)

def problem(weights):
    model = Kink()
    model.load_state_dict(weights)
    x = torch.linspace(-1, 1, 40).reshape(20, 2)
    return landscape.Problem(model, nn.CrossEntropyLoss(), (x, torch.arange(20) % 3))
"""


class Kink(nn.Module):
    """A loss that is finite where its derivatives are not: the square root at 0."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(2, 3))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.w.square().sum(1, keepdim=True).sqrt().expand(2, 3)


def test_the_error_carries_what_was_finished() -> None:
    x = torch.linspace(-1, 1, 40).reshape(20, 2)
    problem = Problem(Kink(), nn.CrossEntropyLoss(), (x, torch.arange(20) % 3))
    with pytest.raises(NonFiniteError) as caught:
        analyze(problem, ["jacobian_norm", "hessian_trace", "margin"])
    partial = caught.value.partial
    assert isinstance(partial, Analysis)
    assert list(partial.measures) == ["jacobian_norm"]
    assert partial.measures["jacobian_norm"].value == 0
    # alone it is the same
    alone = analyze(problem, ["jacobian_norm"]).measures["jacobian_norm"]
    assert partial.measures["jacobian_norm"].value == alone.value


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "kink.py").write_text(PROBLEM)
    torch.save({"w": torch.zeros(2, 3)}, tmp_path / "kink.pt")
    torch.save({"w": torch.ones(2, 3)}, tmp_path / "fine.pt")
    return tmp_path


OPTIONS = ["--problem", "kink.py", "--measures", "jacobian_norm,hessian_trace", "-q", "--out", "docs"]


def test_the_command_shows_and_writes_it_and_tells_the_error_last(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["analyze", "kink.pt", *OPTIONS]) == 2
    out, err = capsys.readouterr()
    assert "jacobian_norm" in out
    wrote, kept, error = err.splitlines()
    assert (wrote, kept) == ("wrote docs/kink.json", "kept what was finished: jacobian_norm")
    assert error.startswith("error: ")
    assert list(json.loads((files / "docs" / "kink.json").read_text())["measures"]) == ["jacobian_norm"]


def test_as_json_it_is_a_whole_document(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["analyze", "kink.pt", *OPTIONS[:-2], "--json"]) == 2
    assert list(json.loads(capsys.readouterr().out)["measures"]) == ["jacobian_norm"]


def test_the_other_checkpoints_are_measured_all_the_same(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["analyze", "kink.pt", "fine.pt", *OPTIONS]) == 2
    documents = {path.stem: list(json.loads(path.read_text())["measures"]) for path in (files / "docs").iterdir()}
    assert documents == {"kink": ["jacobian_norm"], "fine": ["jacobian_norm", "hessian_trace"]}
    assert capsys.readouterr().err.splitlines()[-1].startswith("error: kink.pt: ")
