"""The example of the docs: a language model of one's own is trained, kept and measured as it says."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from landscape_cli.main import main

EXAMPLE = Path(__file__).resolve().parents[2] / "docs" / "examples" / "char_lm.py"


def test_the_language_model_is_trained_and_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = tmp_path / "char_lm.pt"
    subprocess.run([sys.executable, EXAMPLE, weights], check=True, timeout=120)
    chosen = "hessian_trace,top_eigenvalues,fisher_rao,connectivity,margin"
    options = ["--problem", str(EXAMPLE), "--samples", "all", "--measures", chosen, "--json", "--quiet"]
    assert main(["analyze", str(weights), *options]) == 2  # margins were asked for by name and do not apply
    out, err = capsys.readouterr()
    document = json.loads(out)
    assert "margin does not apply" in err
    assert document["problem"]["accuracy"] > 0.9
    assert set(document["measures"]["connectivity"]["groups"]) == {
        "norm.gamma",
        "norm.beta",
        "linear.weight",
        "linear.bias",
        "embedding.weight",
    }
    assert all(document["measures"][name]["value"] > 0 for name in chosen.split(",")[:-1])
