"""`landscape history`: tables, documents and figures from run folders alone."""

import csv
import io
import json
import subprocess
import sys

import pytest
import yaml

from landscape.training.history import write_history
from landscape.training.track_file import TrackFile, TrackRow
from landscape_cli.main import main

EPOCHS = 12


def row(epoch, **changes):
    base = {
        "epoch": epoch,
        "step": 10 * epoch,
        "train_loss": 2.0 / (1 + epoch),
        "train_accuracy": 0.9 - 0.5 / (1 + epoch),
        "test_loss": 2.1 / (1 + epoch),
        "test_accuracy": 0.8 - abs(epoch - 7) / 100,
        "lr": 0.1,
        "seconds": 1.0,
    }
    return {**base, **changes}


@pytest.fixture
def folder(tmp_path):
    """A run with phases, a cut, decays that change and a track by groups."""
    return make(tmp_path / "run")


def make(folder, *, name="resnet8"):
    phases = ["explore"] * 6 + ["extra"] * 2 + ["converge"] * 4
    rows = [row(0), *(row(e, phase=phases[e - 1], plateau=int(e == 6), cut=int(e == 10)) for e in range(1, EPOCHS + 1))]
    write_history(folder / "history.csv", rows)
    (folder / "config.yaml").write_text(yaml.safe_dump({"model": name, "epochs": EPOCHS}))
    decay = [{"step": s, "w": 0.1, "bn.bias": float(s % 20 == 1), "bn2.bias": float(s > 60)} for s in range(1, 121, 10)]
    write_history(folder / "decay.csv", decay)
    track = []
    for epoch in range(0, EPOCHS + 1, 2):
        at = (epoch, 10 * epoch)
        track += [
            TrackRow(*at, "norm", "", 10.0 + epoch, 0.0),
            TrackRow(*at, "norm", "conv.weight", 9.0 + epoch, 0.0),
            TrackRow(*at, "norm", "norm.beta", 0.1 * epoch, 0.0),
            TrackRow(*at, "top_eigenvalues", "", 30.0 / (1 + epoch), 0.5),
            TrackRow(*at, "top_eigenvalues_2", "", 20.0 / (1 + epoch), float("nan")),
            TrackRow(*at, "edge", "", 38.0, 0.0),
            TrackRow(*at, "margin", "", 0.1 * epoch - 0.3, 0.0),
            TrackRow(*at, "margin_q1", "", 0.1 * epoch - 0.4, 0.0),
            TrackRow(*at, "margin_q3", "", 0.1 * epoch - 0.2, 0.0),
            *(TrackRow(*at, "effective_learning_rate", f"layer{i}.conv", 0.1 / (i + epoch + 1), 0.0) for i in range(9)),
        ]
    TrackFile(folder / "track.csv").append(track)
    return folder


def test_the_table_shows_the_last_epochs_and_the_best(folder, capsys):
    assert main(["history", str(folder), "--last", "3"]) == 0
    out, _ = capsys.readouterr()
    assert "run: epoch 12 of 12, not finished" in out
    assert "best test accuracy 0.8000 in epoch 7" in out
    assert "converge" in out
    lines = [line.split() for line in out.splitlines()]
    assert [line[0] for line in lines if len(line) > 5 and line[0].isdigit()] == ["10", "11", "12"]
    norm = next(line for line in lines if line[:1] == ["norm"])
    assert norm == ["norm", "10", "22", "10", "22"]


def test_csv_is_the_history_of_one_run_and_names_the_runs_of_several(folder, tmp_path, capsys):
    other = make(tmp_path / "other")
    assert main(["history", str(folder), "--csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [int(row["epoch"]) for row in rows] == list(range(EPOCHS + 1))
    assert main(["history", str(folder), str(other), "--csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["run"] for row in rows] == ["run"] * 13 + ["other"] * 13


def test_json_holds_history_and_track(folder, capsys):
    assert main(["history", str(folder), "--json"]) == 0
    (run,) = json.loads(capsys.readouterr().out)
    assert run["best"] == {"epoch": 7, "test_accuracy": 0.8}
    assert run["config"]["model"] == "resnet8"
    assert run["history"][0]["phase"] is None
    assert run["history"][-1]["cut"] == 0
    assert run["track"][3] == {
        "epoch": 0, "step": 0, "quantity": "top_eigenvalues", "group": "", "value": 30.0, "stderr": 0.5
    }  # fmt: skip
    assert run["track"][4]["stderr"] is None


@pytest.mark.parametrize(
    ("name", "head"), [("h.svg", b"<?xml"), ("h.pdf", b"%PDF"), ("h.png", b"\x89PNG"), ("H.PNG", b"\x89PNG")]
)
def test_figures_are_drawn_of_one_run_and_of_several(folder, tmp_path, capsys, name, head):
    other = make(tmp_path / "other")
    for runs in ([folder], [folder, other]):
        target = tmp_path / "figures" / name
        assert main(["history", *map(str, runs), "--plot", "-o", str(target)]) == 0
        assert target.read_bytes().startswith(head)
        first = target.read_bytes()
        assert main(["history", *map(str, runs), "--plot", "-o", str(target)]) == 0
        assert target.read_bytes() == first
        assert f"wrote {target}" in capsys.readouterr().err


def test_a_run_of_one_row_and_no_track_is_drawn(tmp_path, capsys):
    write_history(tmp_path / "run" / "history.csv", [row(0)])
    assert main(["history", str(tmp_path / "run"), "--plot", "-o", str(tmp_path / "h.svg")]) == 0
    assert "epoch 0" in capsys.readouterr().out


def test_no_torch_is_loaded(folder, tmp_path):
    code = (
        "import sys; from landscape_cli.main import main; "
        f"main(['history', {str(folder)!r}, '--plot', '-o', {str(tmp_path / 'h.svg')!r}]); "
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["rum"], "rum is not there; expected a run folder"),
        (["run/history.csv"], "history.csv is a file; expected a run folder"),
        (["run/empty"], "empty holds no history.csv"),
        (["."], ". is a folder of 1 run (run); expected a run folder"),
        (["run", "--csv", "--json"], "both want standard output"),
        (["run", "-o", "h.svg"], "give --plot too"),
        (["run", "--plot", "-o", "h.jpg"], "ends in .svg, .pdf, .png, got h.jpg"),
        (["run", "--last", "0"], "--last"),
        ([], "RUN"),
    ],
)
def test_bad_input_ends_with_two_and_a_line(folder, monkeypatch, capsys, arguments, words):
    (folder / "empty").mkdir()
    monkeypatch.chdir(folder.parent)
    assert main(["history", *arguments]) == 2
    out, err = capsys.readouterr()
    assert words in err
    assert "Traceback" not in err
    assert out == ""


def test_a_near_name_is_offered(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder.parent)
    assert main(["history", "rum"]) == 2
    assert "Did you mean run?" in capsys.readouterr().err


def test_a_damaged_file_is_named(folder, capsys):
    (folder / "track.csv").write_text("nonsense\n1\n")
    assert main(["history", str(folder)]) == 2
    assert "track.csv is no track" in capsys.readouterr().err
