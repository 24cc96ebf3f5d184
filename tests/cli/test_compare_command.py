"""`landscape compare`: differences against their standard errors, and what may not be compared."""

import csv
import io
import json
import math
import subprocess
import sys
from dataclasses import replace

import pytest
from test_correlate_command import analysis

from landscape.records import Record
from landscape_cli.main import main


def trace(value, stderr, sampling, groups, errors):
    return Record(value, stderr, sampling, groups=groups, details={"groups_stderr": errors})


@pytest.fixture
def pair(tmp_path, monkeypatch):
    """Two networks on the same samples; the estimators' errors are 3 and 4."""
    one, two = analysis(1.0, 0.9), analysis(2.0, 0.8)
    traces = (
        trace(100.0, 3.0, 30.0, {"conv": 60.0}, {"conv": 3.0}),
        trace(112.0, 4.0, 40.0, {"conv": 65.0}, {"conv": 4.0}),
    )
    for name, made, record in zip("ab", (one, two), traces, strict=True):
        measures = {**made.measures, "hessian_trace": record, "top_eigenvalues": Record(5.0, math.nan)}
        replace(made, measures=measures).write(tmp_path / f"{name}.json")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def rows(capsys):
    return {
        (row["measure"], row["group"] or "", row["network"]): row for row in json.loads(capsys.readouterr().out)["rows"]
    }


def test_on_the_same_samples_the_estimators_errors_count(pair, capsys):
    assert main(["compare", "a.json", "b.json", "--json"]) == 0
    found = rows(capsys)
    row = found["hessian_trace", "", "b"]
    assert (row["difference"], row["difference_stderr"], row["z"]) == (12.0, 5.0, pytest.approx(2.4))
    assert row["marked"] is True
    part = found["hessian_trace", "conv", "b"]
    assert (part["difference"], part["z"], part["marked"]) == (5.0, 1.0, False)
    exact = found["connectivity", "norm.beta", "b"]
    assert (exact["difference"], exact["difference_stderr"], exact["z"]) == (pytest.approx(0.6), 0.0, None)
    assert exact["marked"] is True
    assert found["top_eigenvalues", "", "b"]["z"] is None
    assert found["top_eigenvalues", "", "b"]["marked"] is False


def test_on_other_samples_the_draw_counts_too(pair, capsys):
    document = json.loads((pair / "b.json").read_text())
    document["problem"]["subset_seed"] = 1
    (pair / "b.json").write_text(json.dumps(document))
    assert main(["compare", "a.json", "b.json", "--json"]) == 2
    assert "samples: 64 of seed 0, 64 of seed 1" in capsys.readouterr().err
    assert main(["compare", "a.json", "b.json", "--json", "--allow-different"]) == 0
    found = rows(capsys)
    error = math.sqrt(3**2 + 4**2 + 30**2 + 40**2)
    assert found["hessian_trace", "", "b"]["difference_stderr"] == pytest.approx(error)
    assert found["hessian_trace", "", "b"]["z"] == pytest.approx(12 / error)
    assert found["hessian_trace", "conv", "b"]["z"] is None


def test_the_table_marks_what_differs(pair, capsys):
    assert main(["compare", "a.json", "b.json"]) == 0
    out = capsys.readouterr().out
    lines = [line.split() for line in out.splitlines()]
    assert next(line for line in lines if line[:1] == ["hessian_trace"])[-2:] == ["+2.4", "*"]
    assert next(line for line in lines if line[:2] == ["hessian_trace,", "conv"])[-1] == "+1.0"
    assert next(line for line in lines if line[:1] == ["connectivity"])[2::2] == ["exact", "exact", "exact", "*"]
    assert "test accuracy 0.9000" in out


def test_three_networks_of_other_parts_as_csv(pair, capsys):
    other = replace(analysis(3.0, 0.7, model="vgg11"), measures={"connectivity": Record(3.0, 0.0, groups={"fc": 1.0})})
    other.write(pair / "c.json")
    assert main(["compare", "a.json", "b.json", "c.json", "--csv", "--measures", "connectivity"]) == 0
    table = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["network"] for row in table[:3]] == ["a", "b", "c"]
    assert [row["difference"] for row in table[:3]] == ["0.0", "1.0", "2.0"]
    assert {row["group"] for row in table} == {"", "conv.weight", "norm.beta", "fc"}
    assert next(row for row in table if row["group"] == "fc" and row["network"] == "a")["value"] == ""


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"bn_mode": "train"}, "bn mode: eval, train"),
        ({"dtype": "float64"}, "dtype: float32, float64"),
        ({"data": "mnist:/data"}, "data: digits, mnist"),
        ({"split": "test"}, "split: train, test"),
    ],
)
def test_other_settings_are_named_and_refused(pair, capsys, change, words):
    analysis(1.0, 0.9, **change).write(pair / "c.json")
    assert main(["compare", "a.json", "c.json"]) == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["a.json"], "two networks or more, got 1"),
        (["a.json", "b.jsn"], "there is no b.jsn"),
        (["a.json", "b.json", "--measures", "conectivity"], "Did you mean connectivity"),
        (["a.json", "b.json", "--csv", "--json"], "both want standard output"),
    ],
)
def test_bad_input_ends_with_two_and_a_line(pair, capsys, arguments, words):
    assert main(["compare", *arguments]) == 2
    out, err = capsys.readouterr()
    assert words in err
    assert out == ""


def test_no_torch_is_loaded(pair):
    code = (
        "import sys; from landscape_cli.main import main; "
        "assert main(['compare', 'a.json', 'b.json']) == 0; sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_runs_without_an_analysis_are_measured_and_kept(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    common = ["train", "--quiet", "--model", "mlp:width=4", "--epochs", "1"]
    for seed in ("0", "1", "2"):
        assert main([*common, "--seed", seed, "--out", f"r{seed}"]) == 0
    capsys.readouterr()
    chosen = ["--measures", "connectivity", "--samples", "first:32", "--quiet", "--device", "cpu"]
    assert main(["compare", "r0", "r1", *chosen, "--json"]) == 0
    found = rows(capsys)
    assert found["connectivity", "", "r0"]["value"] > 0
    kept = (tmp_path / "r0" / "analysis.json").read_bytes()
    assert main(["compare", "r0", "r1", "--json"]) == 0
    assert rows(capsys) == found
    assert (tmp_path / "r0" / "analysis.json").read_bytes() == kept
    assert main(["correlate", ".", "--quiet", "--samples", "first:64"]) == 2
    assert "--samples first:64: r0/analysis.json was made with first:32" in capsys.readouterr().err
    assert not (tmp_path / "r2" / "analysis.json").exists()
    # the third is measured as the others were; a run that is not finished is left out and named
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "config.yaml").write_text("lr: 0.1\n")
    assert main(["correlate", ".", "--quiet", "--measures", "connectivity"]) == 0
    out = capsys.readouterr().out
    assert "left out: begun holds no analysis and no final.pt" in out
    assert json.loads((tmp_path / "r2" / "analysis.json").read_text())["settings"]["samples"] == "first:32"
    assert main(["compare", "r0", "begun"]) == 2
    assert "begun holds no analysis and no final.pt" in capsys.readouterr().err
