"""Figures that follow trainings: their settings make sense at both scales, and one is made, taken up and drawn."""

from __future__ import annotations

import json

import pytest

from landscape.config import tracked_figures
from landscape.config.tracked_figures import TRACKED_FIGURES, Line, TrackedFigure
from landscape.workflows.tracking import QUANTITIES
from landscape.workflows.train import resolve
from landscape_cli.main import main

TINY = {"model": "mlp:width=4,depth=2", "epochs": 1, "batch_size": 256}


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("small", [False, True])
@pytest.mark.parametrize("name", TRACKED_FIGURES)
def test_settings_make_sense_at_both_scales(name, small):
    figure = TRACKED_FIGURES[name]
    data = {} if small else dict.fromkeys(("cifar10", "cifar100", "svhn-extra", "imagenet"), "somewhere")
    configs = [resolve(line.config(small=small, data=data)) for line in figure.lines]
    assert all(config.data == "digits" if small else config.data.endswith("/somewhere") for config in configs)
    labels = {line.label(small=small) for line in figure.lines}
    assert len(labels) >= len({config.digest() for config in configs})  # no folder for two different networks
    settings = figure.settings(small=small)
    assert settings is None or set(settings.names) <= set(QUANTITIES)


def test_what_is_changed_stands_over_the_recipe():
    sizes = TRACKED_FIGURES["cb-figure5"].lines
    assert [line.config(small=False, data={}).batch_size for line in sizes] == [32, 512, 8192, 49152]
    assert [line.label(small=True) for line in sizes] == ["batch-32", "batch-128", "batch-512", "batch-1437"]
    rates = [line.config(small=True, data={}).schedule for line in TRACKED_FIGURES["tp-figure1"].lines]
    assert set(rates) == {"constant"}


def test_a_figure_is_made_once_and_drawn(tmp_path, capsys, monkeypatch):
    lines = (
        Line("one", "cb-figure10-b8000", small=TINY),
        Line("two", "cb-figure10-b8000", small={**TINY, "batch_size": 64}),
        Line("again", "cb-figure10-b8000", small=TINY),
    )
    figure = TrackedFigure("CB", "figure 99", "Tiny", "it shows", lines, "norms")
    monkeypatch.setattr(tracked_figures, "TRACKED_FIGURES", {"tiny": figure})
    assert main(["reproduce", "tiny", "--small", "--jobs", "1"]) == 0
    told = capsys.readouterr()
    assert "[2/2] two" in told.err
    assert "again" not in told.out
    assert "the paper: it shows" in told.out
    document = json.loads((tmp_path / "reproduction" / "tiny.json").read_text())
    assert [run["run"] for run in document["runs"]] == ["one", "two"]
    assert {row["quantity"] for run in document["runs"] for row in run["track"]} == {"norm"}
    assert "<svg" in (tmp_path / "reproduction" / "tiny.svg").read_text()
    assert main(["reproduce", "tiny", "--small", "--jobs", "1"]) == 0
    assert "two" not in capsys.readouterr().err  # nothing is trained again


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["tp-figure1"], ["--data cifar10:FOLDER", "--small"]),
        (["cs-figure7"], ["--data cifar100:FOLDER", "--small"]),
        (["wd-figure3", "--small", "--seeds", "2"], ["wd-figure3", "--seeds"]),
        (["wd-figure3", "--no-run"], ["--no-run"]),
    ],
)
def test_what_is_refused(arguments, words, capsys):
    assert main(["reproduce", *arguments]) == 2
    err = capsys.readouterr().err
    assert all(word in err for word in words)
    assert err.count("\n") == 1
