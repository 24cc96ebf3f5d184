"""`landscape measures`: what is listed, everything of one, JSON, wrong names; no torch."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from landscape.catalog import CATALOG, PRESETS
from landscape_cli.main import main


def test_all_are_listed_with_their_definition(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["measures"]) == 0
    out = capsys.readouterr().out
    assert [line.split()[0] for line in out.splitlines() if line.split()[0] in CATALOG] == list(CATALOG)
    assert "tr H = sum_i d²L/dθ_i²" in out


def test_a_preset_lists_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["measures", "quick"]) == 0
    out = capsys.readouterr().out
    assert [line.split()[0] for line in out.splitlines() if line.split()[0] in CATALOG] == list(PRESETS["quick"])


def test_of_one_everything_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["measures", "connectivity"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    about = CATALOG["connectivity"]
    for words in (
        about.title,
        about.formula_text,
        about.reading,
        about.estimate,
        about.reference,
        "add up to the whole",
    ):
        assert words in out


def test_json_has_every_field_and_the_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["measures", "margin,quick", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document[0]["name"] == "margin"
    assert {"formula", "cost", "rho_invariant", "options"} <= document[0].keys()
    assert len(document) == len(PRESETS["quick"])


def test_an_unknown_name_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["measures", "margn"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_no_torch() -> None:
    program = "import sys; from landscape_cli.main import main; main(['measures']); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True).returncode == 0
