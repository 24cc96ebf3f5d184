"""The example of a loop of one's own: it runs as it says, and a second run adds nothing twice."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

EXAMPLE = Path(__file__).resolve().parents[2] / "docs" / "examples" / "follow_training.py"


def run(track: Path) -> str:
    done = subprocess.run([sys.executable, EXAMPLE, track], check=True, timeout=300, capture_output=True, text=True)
    return done.stdout


def test_the_example_follows_its_training(tmp_path: Path) -> None:
    track = tmp_path / "track.csv"
    shown = run(track)
    rows = pd.read_csv(track)
    assert sorted(rows["epoch"].unique()) == list(range(7))
    assert {"norm", "connectivity", "top_eigenvalues", "edge"} <= set(rows["quantity"])
    assert rows[rows["quantity"] == "edge"]["value"].tolist() == pytest.approx([2 * 1.9 / 0.1] * 7)
    before = track.read_text()
    assert run(track) == shown
    assert track.read_text() == before
