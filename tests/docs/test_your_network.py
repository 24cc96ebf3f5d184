"""The page on networks of one's own: what needs no other package is run as it stands, the rest where it loads."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from test_commands import ROOT, blocks, commands

from landscape_cli.main import main

PAGE = ROOT / "docs" / "your-network.md"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(example: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Run the console block that starts the example; what it printed."""
    texts = [text for kind, text in blocks(PAGE) if kind == "console" and f"python docs/examples/{example}" in text]
    assert len(texts) == 1
    for words in commands(texts[0]):
        if words[0] == "python":
            subprocess.run([sys.executable, *words[1:]], check=True, timeout=120, capture_output=True)
        else:
            assert main(words[1:]) == 0, capsys.readouterr().err
    return capsys.readouterr().out


def test_the_reviews(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = run("reviews.py", capsys)
    assert "hessian_trace" in out
    assert "100.00 %" in out
    options = ["--problem", "docs/examples/reviews.py", "--samples", "all", "--measures", "fisher_rao", "--json", "-q"]
    assert main(["analyze", "reviews.pt", *options]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["measures"]["fisher_rao"]["value"] > 0


def test_the_python_of_the_page(here: Path) -> None:
    (program,) = [text for kind, text in blocks(PAGE) if kind == "python"]
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=120)
    assert all(float(value) > 0 for value in done.stdout.split())


def test_the_language_model_of_transformers(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        assert importlib.import_module("transformers").PreTrainedModel
    except Exception as error:  # beside a torch that it was not built for it may fail in any way
        pytest.skip(f"transformers is not installed or does not load: {type(error).__name__}")
    assert "hessian_trace" in run("hf_lm.py", capsys)
