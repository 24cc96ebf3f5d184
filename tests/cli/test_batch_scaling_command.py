"""`landscape batch-scaling`: from a checkpoint to values, exponents, figure; from the document without torch."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from landscape.workflows.batch_scaling_document import read_batch_scaling
from landscape.workflows.study_pool import Ended
from landscape.workflows.study_run import do
from landscape_cli.main import main

QUICK = ["--samples", "200", "--quiet"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    network = ["--model", "mlp:width=6,depth=3", "--epochs", "1", "--lr", "0.2", "--batch-size", "64"]
    assert main(["train", "--quiet", *network, "--out", str(folder / "run")]) == 0
    return folder / "run" / "final.pt"


@pytest.fixture
def here(trained, tmp_path, monkeypatch):
    shutil.copy(trained, tmp_path / "net.pt")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_values_exponents_and_figure(here, capsys):
    assert main(["batch-scaling", "net.pt", *QUICK, "--out", "b.json", "--plot", "b.png"]) == 0
    out, err = capsys.readouterr()
    assert err.splitlines() == ["wrote b.json", "wrote b.png"]
    study = read_batch_scaling(here / "b.json")
    assert list(study.sizes) == [32, 64, 128, 200]
    assert study.rates == [0.2] * 4
    assert list(study.groups) == ["all parameters", "linear.weight", "linear.bias"]
    for point in study.whole.points:
        assert point.parameter_stride == pytest.approx(0.2 * point.gradient)
        assert point.loss_stride >= 0.2 * point.gradient**2, "a mean of squares is no smaller than the squared mean"
    assert study.cost == pytest.approx(2.0, abs=0.1)
    for exponent in study.whole.exponents.values():
        assert exponent.low < exponent.exponent < exponent.high
    assert "where noise dominates" in out
    parts = [study.groups[name].noise_scale for name in ("linear.weight", "linear.bias")]
    assert study.whole.noise_scale.noise == pytest.approx(sum(part.noise for part in parts), rel=1e-9)
    assert study.whole.noise_scale.signal == pytest.approx(sum(part.signal for part in parts), rel=1e-9)


def test_a_rate_that_grows_moves_the_exponents_of_strides_alone(here, capsys):
    grown = {}
    for rule in ("none", "sqrt", "linear"):
        more = [] if rule == "none" else ["--lr-scaling", rule, "--lr", "0.1", "--lr-batch", "32"]
        assert main(["batch-scaling", "net.pt", *QUICK, *more, "--json"]) == 0
        grown[rule] = json.loads(capsys.readouterr().out)
    for rule, power in (("sqrt", 0.5), ("linear", 1.0)):
        rates = np.array(grown[rule]["sizes"]) / 32
        assert grown[rule]["rates"] == pytest.approx((0.1 * rates**power).tolist())
        for quantity in ("parameter_stride", "loss_stride"):
            one, other = (grown[r]["groups"]["all parameters"]["exponents"][quantity] for r in ("none", rule))
            assert other["exponent"] == pytest.approx(one["exponent"] + power, abs=1e-9)
            assert other["expected"] == one["expected"] + power
        gradients = [grown[r]["groups"]["all parameters"]["exponents"]["gradient"]["exponent"] for r in ("none", rule)]
        assert gradients[0] == gradients[1]


def test_the_document_alone_is_drawn_without_torch(here):
    assert main(["batch-scaling", "net.pt", *QUICK, "--by", "layer", "--out", "b.json"]) == 0
    program = (
        "import sys\nfrom landscape_cli.main import main\n"
        "assert main(['batch-scaling', 'b.json', '--plot', 'b.svg', '--plot-group', 'linear2']) == 0\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=here, capture_output=True)
    assert (here / "b.svg").stat().st_size > 1000


def test_two_processes_find_what_one_finds(here):
    words = ["--batch-sizes", "8,16,48,all", "--dtype", "float64", *QUICK]
    for processes in ("1", "2"):
        assert main(["batch-scaling", "net.pt", *words, "--devices", processes, "--out", f"{processes}.json"]) == 0
    one, two = (read_batch_scaling(here / f"{n}.json") for n in (1, 2))
    for a, b in zip(one.whole.points, two.whole.points, strict=True):
        assert vars(b) == pytest.approx(vars(a), rel=1e-9)
    assert vars(two.whole.noise_scale) == pytest.approx(vars(one.whole.noise_scale), rel=1e-7, nan_ok=True)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["net.pt", "--batch-sizes", "32,9999"], "9999 is more than the 200 samples"),
        (["net.pt", "--batch-sizes", "32,48"], "48 is no multiple of the smallest, 32"),
        (["net.pt", "--batch-sizes", "32,big"], "got 'big'"),
        (["net.pt", "--batch-sizes", "0,32"], "got '0'"),
        (["net.pt", "--batch-sizes", "32"], "two sizes or more"),
        (["net.pt", "--batch-sizes", "100,all"], "the errors need three or more"),
        (["net.pt", "--lr", "-1"], "lr"),
        (["net.pt", "--lr-scaling", "cubic"], "lr_scaling"),
        (["net.pt", "--lr-batch", "64"], "give --lr-scaling too"),
        (["net.pt", "--by", "lyaer"], "--by"),
        (["net.pt", "--bn", "train", "--batch-sizes", "32,64"], "groups of 128"),
        (["net.pt", "--plot", "b.gif"], "ends in .svg, .pdf or .png"),
        (["net.pt", "--plot-group", "linear1"], "give --plot FILE too"),
        (["net.pt", "--out", "b.txt"], "ends in .json"),
        (["net.pt", "--out", "net.pt/b.json"], "cannot write into net.pt"),
        (["nowhere.pt"], "there is no checkpoint nowhere.pt"),
        (["nowhere.json"], "there is no document nowhere.json"),
        (["nowhere.json", "--lr", "1"], "--lr would change nothing"),
        (["other.json"], "expected a document of schema landscape.batch-scaling/1"),
    ],
)
def test_what_is_wrong_is_one_line_and_2(here, words, told, capsys):
    Path("other.json").write_text('{"schema": "landscape.analysis/1"}')
    before = sorted(here.iterdir())
    assert main(["batch-scaling", *words, *(QUICK if words[0].endswith(".pt") else [])]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert told in err
    assert len(err.strip().splitlines()) == 1, err
    assert sorted(here.iterdir()) == before


def test_figures_of_the_paper_agree_where_they_are_the_same(here, capsys, monkeypatch):
    """A first epoch of one step over all samples is a first step over all samples: two ways that share no code."""
    from landscape.config import scaling_figures
    from landscape.config.scaling_figures import Scale, ScalingFigure

    small = {"model": "mlp:width=6,depth=3", "data": "digits"}
    first = Scale(small, "linear1", (32, 512, 0), 2, 1437)
    epoch = Scale(small, "linear1", (512, 0), 2, 1437)
    figures = {
        "cb-figure3": ScalingFigure("figure 3", "t", "gradient", -0.5, "4", True, first, first),
        "cb-figure4": ScalingFigure("figure 4", "t", "parameter_stride", -0.5, "6", False, epoch, epoch),
        "cb-figure7": ScalingFigure("figure 7", "t", "loss_stride", -1.0, "8", False, epoch, epoch),
    }
    monkeypatch.setattr(scaling_figures, "SCALING_FIGURES", figures)
    # in this process: the pool has tests of its own, and loads torch anew in each of its processes
    monkeypatch.setattr(
        "landscape.workflows.reproduce_scaling.run_jobs",
        lambda jobs, *_: (Ended(job, outcome=do(job)) for job in jobs),
    )
    found = {}
    for name in figures:
        assert main(["reproduce", name, "--small", "--jobs", "1", "-q"]) == 0
        assert (here / "reproduction" / f"{name}.svg").stat().st_size > 1000
        found[name] = json.loads((here / "reproduction" / f"{name}.json").read_text())
    assert "the paper's −1" in capsys.readouterr().out
    one, other = (found[name]["points"][-1] for name in ("cb-figure3", "cb-figure4"))
    assert one["size"] == other["size"] == 1437
    assert other["values"] == pytest.approx(one["values"], rel=1e-4)  # float32, in another order
    runs = list((here / "runs/reproduce/small/cb-first-epoch").iterdir())
    assert len(runs) == 4, "figures 4 and 7 share their runs"
    document = found["cb-figure3"]
    slopes = document["exponents"]
    assert document["exponent"] == pytest.approx(np.mean(slopes))
    # 12.706: the 97.5% quantile of Student's t with one degree of freedom, from a table.
    bound = 12.7062 * np.std(slopes, ddof=1) / np.sqrt(2)
    assert document["high"] - document["exponent"] == pytest.approx(bound, rel=1e-4)


def test_the_list_says_what_each_figure_takes(capsys):
    assert main(["reproduce", "--list", "cb-figure3", "cb-figure4", "cb-figure7"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "alexnet" in out
    assert "batches of" in out
    assert main(["reproduce", "cb-figure3"]) == 2
    assert "--data cifar10:FOLDER" in capsys.readouterr().err
