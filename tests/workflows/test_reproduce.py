"""A study on a tiny network: what is run, kept, taken up again, compared and written on the page."""

import csv
import json
import math
import os
import statistics

import pytest
import torch

from landscape.config.paper_recipes import read_table
from landscape.training.run_folder import RunFolder
from landscape.workflows import reproduction_page, study_run
from landscape.workflows.first_gradient import first_gradient
from landscape.workflows.reproduce import StudyPlan, read_documents, reproduce, write_documents

TABLE = """
title: A tiny table
paper: CB
table: figure 99
quantity: accuracy
notes: [a note]
common:
  settings: {model: "mlp:width=32,depth=3", data: digits, batch_size: 128, epochs: 4}
rows:
  slow: {row: slow, settings: {lr: 0.00001}, expects: 10.0, within: 0.5}
  fast: {row: fast, settings: {lr: 0.1}, expects: 90.0}
  again: {row: again, settings: {lr: 0.1}, expects: 90.0}
  lost: {row: lost, settings: {lr: 1.0e+30}, expects: fails}
study:
  seeds: 3
  claims:
    - {more: fast, than: slow}
    - {more: fast, than: again}
    - {more: fast, than: lost}
"""

MEASURED = TABLE.replace("study:", "study:\n  measures: [connectivity]").replace(
    "- {more: fast, than: slow}", "- {more: fast, than: slow, of: connectivity.linear.bias}"
)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """The tiny study, its runs, and what was heard of them."""
    folder = tmp_path_factory.mktemp("study")
    chosen = {"one": read_table(TABLE, "one.yaml"), "two": read_table(MEASURED, "two.yaml")}
    plan = StudyPlan(chosen, folder / "runs", small=True)
    heard = []
    documents = reproduce(plan, workers=1, on_run=heard.append)
    return plan, documents, heard


def runs_of(document, row):
    (found,) = [r for r in document["rows"] if r["recipe"].endswith(f"-{row}")]
    return found["runs"]


def test_every_row_and_seed_is_run_once_for_both_tables(study):
    plan, documents, heard = study
    assert len(heard) == 3 * 3  # slow, fast, lost
    assert [done.number for done in heard] == list(range(1, 10))
    assert len(list(plan.folder.iterdir())) == 9
    assert documents["one"]["left_out"] == {"one-again": "one-fast"}
    assert (
        runs_of(documents["one"], "fast")[1]["values"]["test_accuracy"]
        == (runs_of(documents["two"], "fast")[1]["values"]["test_accuracy"])
    )


def test_values_are_those_of_the_histories(study):
    plan, documents, _ = study
    found = set()
    for folder in plan.folder.iterdir():
        if (folder / "final.pt").exists():
            last = list(csv.DictReader((folder / "history.csv").open()))[-1]
            found.add((float(last["test_accuracy"]), float(last["train_loss"])))
    told = {
        (run["values"]["test_accuracy"], run["values"]["train_loss"])
        for row in ("slow", "fast")
        for run in runs_of(documents["one"], row)
    }
    assert told == found


def test_comparisons_are_paired_over_seeds(study):
    _, documents, _ = study
    fast, slow = (
        {run["seed"]: run["values"]["test_accuracy"] for run in runs_of(documents["one"], row)}
        for row in ("fast", "slow")
    )
    d = [fast[seed] - slow[seed] for seed in range(3)]
    (first, last) = documents["one"]["comparisons"]
    assert first["difference"] == pytest.approx(statistics.mean(d))
    assert first["stderr"] == pytest.approx(statistics.stdev(d) / math.sqrt(3))
    # 4.302653: the 97.5% quantile of Student's t with two degrees of freedom, from a table.
    assert first["bound"] == pytest.approx(4.302653 * first["stderr"], rel=1e-6)
    assert first["verdict"] == "shown"
    assert (last["than"], last["verdict"], last["difference"]) == ("lost", "no verdict", None)


def test_a_run_that_diverges_is_told_not_raised(study):
    _, documents, _ = study
    for run in runs_of(documents["one"], "lost"):
        assert run["values"] == {}
        assert "learning rate 1e+30" in run["diverged"]
        assert os.sep not in run["diverged"]


def test_measures_are_those_of_analyze(study):
    from landscape import analyze
    from landscape.problem.load import load

    plan, documents, _ = study
    values = runs_of(documents["two"], "fast")[0]["values"]
    (folder,) = [
        f for f in plan.folder.iterdir() if f.name.endswith("-seed0") and "lr: 0.1\n" in (f / "config.yaml").read_text()
    ]
    record = analyze(load(folder / "final.pt"), measures=["connectivity"], cache=False).measures["connectivity"]
    assert values["connectivity"] == pytest.approx(record.value)
    assert values["connectivity.linear.bias"] == pytest.approx(record.groups["linear.bias"])
    assert "connectivity" not in runs_of(documents["one"], "fast")[0]["values"]


def test_a_second_call_makes_nothing_anew(study):
    plan, documents, _ = study
    heard = []
    assert reproduce(plan, workers=1, on_run=heard.append) == documents
    assert heard == []


def test_a_run_that_was_stopped_goes_on(study):
    plan, documents, _ = study
    folder = next(f for f in plan.folder.iterdir() if RunFolder(f).finished)
    before = torch.load(folder / "final.pt", weights_only=True)["state_dict"]
    job = study_run.Job(folder, RunFolder(folder).read_config())
    (folder / "final.pt").unlink()
    (folder / "history.csv").unlink()
    (folder / "measures.json").unlink()
    assert study_run.missing([job]) == [job]
    study_run.do(job)
    after = torch.load(folder / "final.pt", weights_only=True)["state_dict"]
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    assert reproduce(plan, workers=1)["two"]["comparisons"] == documents["two"]["comparisons"]


def test_documents_are_read_as_they_were_written(study, tmp_path):
    _, documents, _ = study
    write_documents(documents, tmp_path)
    assert read_documents(tmp_path) == documents
    text = (tmp_path / "one.json").read_text()
    assert len(text.splitlines()) < 500
    assert str(study[0].folder) not in text
    versions = json.loads(text)["versions"]
    assert versions["torch"] == str(torch.__version__)
    assert versions["cpu"] == torch.backends.cpu.get_cpu_capability()


def test_the_page_is_filled_from_the_documents_alone(study, tmp_path, monkeypatch):
    plan, documents, _ = study
    monkeypatch.setattr(reproduction_page, "tables", lambda: plan.tables)
    page = tmp_path / "reproduction.md"
    marked = "<!-- reproduce:{0} -->\nold\n<!-- /reproduce:{0} -->\n"
    page.write_text(f"# Title\n\n{marked.format('one')}\n{marked.format('two')}")
    reproduction_page.write_page(page, {"one": documents["one"]}, tmp_path / "reproduction")
    text = page.read_text()
    assert "old" not in text
    assert "Not run yet." in text
    values = [100 * run["values"]["test_accuracy"] for run in runs_of(documents["one"], "fast")]
    assert f"| fast | 128, 128 | 90 | {statistics.mean(values):.4g} ± {statistics.stdev(values):.2g} |" in text
    assert "| slow | 128, 128 | 10 ± 0.5 |" in text
    assert "lost: 3 of 3 runs diverged (seeds 0, 1, 2)." in text
    assert "$ landscape train --recipe one-fast\n" in text
    assert "Shown: 1 of 2; not shown: 0; the other way round: 0." in text
    assert (tmp_path / "reproduction" / "one.svg").read_text().startswith("<?xml")
    assert f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()} kernels, Python" in text
    older = {**documents["one"], "versions": {"landscape": "0.1.0", "torch": "2.6", "python": "3.11"}}
    assert "torch 2.6, Python 3.11.*" in reproduction_page.fill(text, {"one": older}, "reproduction")
    # Twice the same: the markers stay.
    reproduction_page.write_page(page, {"one": documents["one"]}, tmp_path / "reproduction")
    assert page.read_text() == text
    for folder, seen in [(tmp_path / "a b" / "out", "a%20b/out"), (tmp_path.parent / "away", "../away")]:
        reproduction_page.write_page(page, {"one": documents["one"]}, folder)
        assert f"]({seen}/one.svg)" in page.read_text()


@pytest.mark.parametrize("share", [None, 0.3, 0.9])
def test_the_first_gradient_is_that_of_the_largest_losses(tmp_path, share):
    """Against a gradient by hand: softmax cross-entropy of a network with three linear layers, in float64."""
    from landscape.config.training import TrainConfig, TrainRun
    from landscape.problem.load import load
    from landscape.workflows.train import train

    config = TrainConfig(model="mlp:width=8,depth=3", batch_size=100, epochs=0, discard=share, lr=0.1)
    found = first_gradient(train(config, TrainRun(out=tmp_path / "run")).checkpoint, config)
    problem = load(tmp_path / "run" / "final.pt", samples="100", seed=0, dtype=torch.float64)
    ((inputs, labels),) = [(b.inputs, b.targets) for b in problem.batches(size=100)]
    x = inputs.flatten(1)
    (W1, b1), (W2, b2), (W3, b3) = (
        (m.weight.detach().double(), m.bias.detach().double())
        for m in problem.model.modules()
        if isinstance(m, torch.nn.Linear)
    )
    a1 = (x @ W1.T + b1).clamp(min=0)
    h2 = a1 @ W2.T + b2
    logits = h2.clamp(min=0) @ W3.T + b3
    p = logits.softmax(1)
    losses = -p[torch.arange(100), labels].log()
    kept = losses.argsort()[int((share or 0) * 100) :]
    delta = p.clone()
    delta[torch.arange(100), labels] -= 1
    back = (delta @ W3) * (h2 > 0)
    expected = (back[kept].T @ a1[kept] / len(kept)).abs().mean()
    assert found == pytest.approx(float(expected), rel=1e-4)
