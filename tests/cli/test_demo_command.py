"""`landscape demo`: what it leaves in the folder, and that a second one harms nothing."""

import json
from pathlib import Path
from typing import Any

import pytest

from landscape.catalog import CATALOG
from landscape.config.analysis import AnalysisSettings
from landscape.workflows import demo as workflow
from landscape.workflows.analyze import Interrupted
from landscape_cli.main import main


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The demonstration with a network, an epoch and measures that take a second."""
    monkeypatch.chdir(tmp_path)
    recipe = {"model": "mlp:width=16,depth=2", "data": "digits", "epochs": 1}
    monkeypatch.setattr(workflow, "packaged_recipe", lambda _: recipe)
    monkeypatch.setattr(workflow, "SETTINGS", AnalysisSettings(measures=("connectivity",), samples="64"))
    return tmp_path


def test_each_demonstration_has_a_report_and_a_folder_of_its_own(
    small: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("landscape-demo", "landscape-demo-2"):
        assert main(["demo", "--quiet"]) == 0
        out, err = capsys.readouterr()
        assert err == ""
        assert f"{name}.pdf" in out
        assert "connectivity" in out
        assert (small / f"{name}.pdf").read_bytes().startswith(b"%PDF-")
        assert list(json.loads((small / name / "analysis.json").read_text())["measures"]) == ["connectivity"]
        assert (small / name / "final.pt").exists()


def test_a_report_that_is_there_is_not_overwritten(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (small / "landscape-demo.pdf").write_text("mine")
    assert main(["demo", "--quiet"]) == 0
    assert (small / "landscape-demo.pdf").read_text() == "mine"
    assert "landscape-demo-2.pdf" in capsys.readouterr().out


def test_ctrl_c_keeps_the_trained_network(
    small: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(*_: Any, **__: Any) -> None:
        raise Interrupted(workflow.Analysis(measures={}, problem={}, settings={}))

    monkeypatch.setattr(workflow, "analyze_checkpoint", stopped)
    assert main(["demo", "--quiet"]) == 130
    assert (small / "landscape-demo" / "final.pt").exists()
    assert not (small / "landscape-demo.pdf").exists()
    assert "landscape analyze landscape-demo/final.pt" in capsys.readouterr().err


@pytest.mark.slow
def test_the_demonstration_as_shipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It trains a network that is good on images it has not seen, and every measure converges."""
    monkeypatch.chdir(tmp_path)
    assert main(["demo"]) == 0
    document = json.loads((tmp_path / "landscape-demo" / "analysis.json").read_text())
    assert document["checkpoint"]["metrics"]["test_accuracy"] > 0.97
    assert document["measures"].keys() == CATALOG.keys()
    assert all(record["converged"] for record in document["measures"].values())
