"""`landscape invariance`: what moved and what did not, the transformed checkpoint, and one line for what is wrong."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from landscape.problem.load import load
from landscape.workflows.invariance_document import read_invariance
from landscape_cli.main import main

EXACT = ["--measures", "margin,connectivity,connectivity_batch,fisher_rao,jacobian_norm"]
QUICK = ["--samples", "40", "--quiet"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    for name, model in (("mlp", "mlp:width=6,depth=3"), ("res", "resnet8:width=0.25"), ("tanh", "mlp:activation=tanh")):
        command = ["train", "--quiet", "--model", model, "--epochs", "1", "--out", str(folder / name)]
        assert main(command) == 0
    return folder


@pytest.fixture
def here(trained, tmp_path, monkeypatch):
    for name in ("mlp", "res", "tanh"):
        shutil.copy(trained / name / "final.pt", tmp_path / f"{name}.pt")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_table_document_and_figure(here, capsys):
    assert main(["invariance", "res.pt", *EXACT, *QUICK, "--out", "i.json", "--plot", "i.png"]) == 0
    out, err = capsys.readouterr()
    assert err.splitlines() == ["wrote i.json", "wrote i.png"]
    study = read_invariance(here / "i.json")
    assert study.transforms == ["rho", "scale", "fold"]
    assert [variant.c for variant in study.variants] == [0.5, 2.0, 10.0] * 2 + [None]
    assert all(variant.change < 1e-11 for variant in study.variants)
    for finding in study.findings():
        assert finding.found == ("unchanged" if finding.theory == "unchanged" else "moved")
        assert not finding.contradicts
    assert "connectivity of conv.weight" in out
    assert out.count("unchanged │ unchanged") == 5 + 5 + 2


def test_curvature_moves_and_the_document_is_drawn_without_torch(here, capsys):
    command = ["invariance", "mlp.pt", "--measures", "hessian_trace,connectivity", *QUICK, "--factors", "8", "--json"]
    assert main([*command, "--units", "linear1:*"]) == 0
    text = capsys.readouterr().out
    (here / "m.json").write_text(text)
    study = read_invariance(here / "m.json")
    found = {finding.measure: finding.found for finding in study.findings()}
    assert found == {"connectivity": "unchanged", "hessian_trace": "moved"}
    assert study.structure["not_done"].keys() == {"scale", "fold"}
    assert json.loads(text) == study.to_plain()
    program = (
        "import sys\nfrom landscape_cli.main import main\n"
        "assert main(['invariance', 'm.json', '--plot', 'm.svg']) == 0\nassert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=here, capture_output=True)
    assert (here / "m.svg").stat().st_size > 1000


@pytest.mark.parametrize("transform", ["rho", "scale", "fold"])
def test_the_saved_network_is_the_same_function(here, transform, capsys):
    command = ["invariance", "res.pt", "--transform", transform, "--measures", "none", *QUICK]
    factor = [] if transform == "fold" else ["--factors", "2"]
    assert main([*command, *factor, "--save", "other.pt"]) == 0
    assert "no output differs by more than" in capsys.readouterr().out
    one, other = (load(path, samples="first:50") for path in ("res.pt", "other.pt"))
    with torch.no_grad():
        f, g = (p.outputs(p.parameters, p.samples.inputs, plain=True) for p in (one, other))
    # error budget: weights in float32 are rounded to 1e-7 of their size, ten layers of them
    assert float((f - g).abs().max()) < 1e-5 * float(f.abs().max())
    assert not torch.equal(one.parameters["conv1.weight"], other.parameters["conv1.weight"]) or transform == "rho"
    assert (other.size < one.size) == (transform == "fold")
    assert main(["analyze", "other.pt", "--measures", "connectivity", "--no-cache", *QUICK]) == 0


def test_a_folded_network_has_nothing_left_to_fold(here):
    assert main(["invariance", "res.pt", "--transform", "fold", "--measures", "none", *QUICK, "--save", "f.pt"]) == 0
    assert main(["invariance", "f.pt", "--transform", "fold", *QUICK]) == 2
    assert main(["invariance", "f.pt", "--measures", "margin", *QUICK, "--factors", "3"]) == 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["mlp.pt", "--transform", "roh"], "Did you mean rho"),
        (["mlp.pt", "--transform", "fold"], "fold has no place in this network"),
        (["mlp.pt", "--factors", "0"], "--factors: expected numbers above 0"),
        (["mlp.pt", "--factors", "2,-1"], "got '-1'"),
        (["mlp.pt", "--factors", "two"], "got 'two'"),
        (["mlp.pt", "--factors", "nan"], "got 'nan'"),
        (["mlp.pt", "--units", "9999"], "the network has 12"),
        (["mlp.pt", "--units", "linear9:0"], "Layers with units: linear"),
        (["tanh.pt"], "no unit can be rescaled (linear1 meets tanh, linear2 meets tanh)"),
        (["mlp.pt", "--measures", "margni"], "Did you mean margin"),
        (["mlp.pt", "--plot", "s.gif"], "ends in .svg, .pdf or .png"),
        (["mlp.pt", "--out", "s.txt"], "ends in .json"),
        (["mlp.pt", "--save", "s.pt"], "--save keeps one network, and these are 3"),
        (["mlp.pt", "--save", "s.safetensors"], "ends in .pt"),
        (["mlp.pt", "--plot", "mlp.pt/s.png"], "cannot write into mlp.pt"),
        (["nowhere.pt"], "there is no checkpoint nowhere.pt"),
        (["nowhere.json"], "there is no document nowhere.json"),
        (["nowhere.json", "--factors", "2"], "--factors would change nothing"),
        (["other.json"], "expected a document of schema landscape.invariance/1"),
        (["list.json"], "got a list"),
    ],
)
def test_what_is_wrong_is_one_line_and_2(here, words, told, capsys):
    Path("other.json").write_text('{"schema": "landscape.analysis/1"}')
    Path("list.json").write_text("[]")
    before = sorted(here.iterdir())
    assert main(["invariance", *words, *(QUICK if words[0].endswith(".pt") else [])]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert told in err
    assert len(err.strip().splitlines()) == 1, err
    assert sorted(here.iterdir()) == before
