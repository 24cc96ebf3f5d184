"""`landscape sweep` and `landscape reproduce`: runs, failures, what is kept, Ctrl-C, and what is refused."""

import csv
import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from rich.console import Console

from landscape.workflows import study_pool
from landscape_cli.main import main

SWEEP = """
settings: {model: "mlp:width=4,depth=2", batch_size: 256, epochs: 1}
runs: [{name: plain}, {name: lost, lr: 1.0e+30, epochs: 3}]
grid: {seed: [0, 1]}
"""


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """A finished sweep: its folder, and what the command said and returned."""
    folder = tmp_path_factory.mktemp("sweep")
    (folder / "s.yaml").write_text(SWEEP)
    command = [sys.executable, "-m", "landscape_cli.main", "sweep", "s.yaml", "--out", "runs", "--jobs", "1"]
    return folder, subprocess.run(command, cwd=folder, capture_output=True, text=True)


def rows(folder):
    return {row["run"]: row for row in csv.DictReader((folder / "sweep.csv").open())}


def test_a_failure_stops_no_other_and_is_told_with_its_exit_code(swept):
    folder, told = swept
    assert told.returncode == 3  # as of `landscape train` when it diverges
    found = rows(folder / "runs")
    assert [(name, row["status"]) for name, row in found.items()] == [
        ("plain,seed=0", "finished"),
        ("plain,seed=1", "finished"),
        ("lost,seed=0", "diverged"),
        ("lost,seed=1", "diverged"),
    ]
    assert "learning rate 1e+30" in found["lost,seed=0"]["reason"]
    assert "lost,seed=1: training diverged" in told.stderr
    assert "finished  2 of 4 runs" in told.stdout


def test_the_table_has_the_settings_and_the_last_row_of_each_history(swept):
    found = rows(swept[0] / "runs")
    for seed in (0, 1):
        row = found[f"plain,seed={seed}"]
        last = list(csv.DictReader((swept[0] / "runs" / f"plain,seed={seed}" / "history.csv").open()))[-1]
        assert (row["seed"], row["epochs"], row["batch_size"], row["lr"]) == (str(seed), "1", "256", "0.1")
        assert all(float(row[name]) == float(last[name]) for name in ("train_loss", "test_accuracy"))


def test_a_run_of_a_sweep_is_that_of_train(swept, tmp_path):
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    options = ["--model", "mlp:width=4,depth=2", "--batch-size", "256", "--epochs", "1", "--seed", "1"]
    try:
        assert main(["train", *options, "--out", "run", "-q"]) == 0
    finally:
        torch.set_num_threads(before)
    one, other = (
        torch.load(folder / "final.pt", weights_only=True)["state_dict"]
        for folder in (tmp_path / "run", swept[0] / "runs" / "plain,seed=1")
    )
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def test_a_second_call_makes_nothing_anew(swept, monkeypatch, capsys):
    monkeypatch.chdir(swept[0])
    monkeypatch.setattr(study_pool, "_start", lambda device: pytest.fail("a process was started"))
    before = (swept[0] / "runs" / "sweep.csv").read_text()
    assert main(["sweep", "s.yaml", "--out", "runs"]) == 3
    assert "0 runs to make, 4 are there already" in capsys.readouterr().err
    assert (swept[0] / "runs" / "sweep.csv").read_text() == before


def test_another_sweep_in_the_same_folder_is_refused(swept, monkeypatch, capsys):
    monkeypatch.chdir(swept[0])
    assert main(["sweep", "s.yaml", "--out", "runs", "--set", "batch_size=128"]) == 2
    err = capsys.readouterr().err
    assert "run plain,seed=0" in err
    assert "batch_size: 256 there, 128 asked" in err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("grid: {optimizer: [sgd, adm]}", ["run optimizer=adm", "adam"]),
        ("grid: {lr: [null, 0.1]}", ["lr=default", "lr=0.1", "same settings"]),
        ("grid: {data: [digits, cifar10]}", ["run data=cifar10", "cifar10:FOLDER"]),
        ("grid: {data: ['cifar10:nowhere']}", ["no folder", "nowhere"]),
    ],
)
def test_every_run_is_checked_before_the_first_begins(tmp_path, capsys, text, words):
    (tmp_path / "s.yaml").write_text(text + "\n")
    assert main(["sweep", "s.yaml"]) == 2
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 1
    assert all(word in err for word in words)
    assert not (tmp_path / "runs").exists()


def test_a_dry_run_lists_and_trains_nothing(tmp_path, capsys):
    assert main(["sweep", "cs", "--small", "--dry-run", "--seeds", "2"]) == 0
    out = capsys.readouterr().out
    assert sum("waiting" in line for line in out.splitlines()) == 18
    assert not (tmp_path / "runs").exists()


def test_the_live_table_shows_runs_and_their_epochs(swept, monkeypatch):
    from landscape.config.sweep import read_sweep, runs_of
    from landscape.workflows.sweep import plan_sweep
    from landscape_cli import console
    from landscape_cli.sweep_progress import watch_sweep

    written = io.StringIO()
    terminal = Console(file=written, force_terminal=True, width=100, height=30)
    monkeypatch.setattr(console, "messages", lambda: terminal)
    states = plan_sweep(runs_of(read_sweep(str(swept[0] / "s.yaml"))), swept[0] / "runs")
    states[1].status = "running"
    with watch_sweep(states, quiet=False) as on_change:
        on_change(states[1])
    shown = written.getvalue()
    assert all(word in shown for word in ("1 running", "1 finished", "2 diverged", "plain,seed=1", "1/1"))


def test_an_interrupt_ends_all_and_the_same_command_goes_on(tmp_path):
    settings = {"model": "mlp:width=4,depth=2", "batch_size": 256, "epochs": 200}
    (tmp_path / "s.yaml").write_text(yaml.safe_dump({"settings": settings, "grid": {"seed": [0, 1]}}))
    command = [sys.executable, "-m", "landscape_cli.main", "sweep", "s.yaml", "--out", "runs", "--jobs", "1"]
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    history = tmp_path / "runs" / "seed=0" / "history.csv"
    until = time.monotonic() + 120
    while not (history.exists() and len(history.read_text().splitlines()) > 5) and time.monotonic() < until:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to every process of the command
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command goes on" in err
    assert "Traceback" not in err
    assert [row["status"] for row in rows(tmp_path / "runs").values()] == ["unfinished", "unfinished"]
    assert not (tmp_path / "runs" / "seed=1").exists()
    kept = history.read_text().splitlines()[:5]

    assert subprocess.run(command, cwd=tmp_path, capture_output=True).returncode == 0
    assert [row["status"] for row in rows(tmp_path / "runs").values()] == ["finished", "finished"]
    # With the seconds that they took: the epochs before the interrupt were not made again.
    assert history.read_text().splitlines()[:5] == kept
    (tmp_path / "unbroken.yaml").write_text(yaml.safe_dump({**settings, "seed": 0}))
    unbroken = [*command[:3], "train", "--config", "unbroken.yaml", "--out", "unbroken", "-q"]
    assert subprocess.run(unbroken, cwd=tmp_path, env={**os.environ, "OMP_NUM_THREADS": "1"}).returncode == 0
    one, other = (
        torch.load(tmp_path / folder / "final.pt", weights_only=True)["state_dict"]
        for folder in ("unbroken", "runs/seed=0")
    )
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def test_a_process_that_dies_takes_its_own_run_alone(tmp_path):
    """The first run's process is killed while it trains; the second run is made all the same."""
    from contextlib import closing

    from landscape.config.training import TrainConfig
    from landscape.errors import ProcessError
    from landscape.workflows.study_run import Job

    tiny = {"model": "mlp:width=4,depth=2", "batch_size": 256}
    jobs = [
        Job(tmp_path / "long", TrainConfig(**tiny, epochs=100_000)),
        Job(tmp_path / "short", TrainConfig(**tiny, epochs=1)),
    ]
    pids = []
    start = study_pool._start

    def noting(device):
        connection, worker = start(device)
        pids.append(worker.process.pid)
        return connection, worker

    def kill(job):
        if job is jobs[0]:
            os.kill(pids[0], signal.SIGKILL)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study_pool, "_start", noting)
        with closing(study_pool.run_jobs(jobs, 1, on_begin=kill)) as ended:
            long, short = list(ended)
    assert isinstance(long.error, ProcessError)
    assert "exit code -9" in str(long.error)
    assert short.outcome.values["epoch"] == 1
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_reproduce_lists_every_table_without_torch():
    program = (
        "import sys; from landscape_cli.main import main; main(['reproduce', '--list']); "
        "sys.exit('torch' in sys.modules)"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert told.returncode == 0
    files = {path.stem for path in (Path(__file__).parents[2] / "landscape/recipes/papers").glob("*.yaml")}
    assert files | {"cs-figure1"} <= {line.split()[0] for line in told.stdout.splitlines() if line.strip()}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["cs-tabel2"], ["Did you mean cs-table2"]),
        ([], ["--list"]),
        (["cs-table2"], ["--data cifar10:FOLDER", "--small"]),
        (["cs-figure1"], ["--data cifar10:FOLDER", "--small"]),
        (["cs-table2", "--data", "cifar10"], ["NAME:FOLDER"]),
        (["cs-table2", "--data", "cifra10:there"], ["cifra10", "Did you mean cifar10"]),
        (["cs-table2", "--no-run"], ["no record of cs-table2"]),
    ],
)
def test_what_reproduce_refuses(arguments, words, capsys):
    assert main(["reproduce", *arguments]) == 2
    err = capsys.readouterr().err
    assert all(word in err for word in words)


def test_reproduce_writes_record_and_page(tmp_path, capsys, monkeypatch):
    from landscape.config import paper_recipes

    text = """
title: Tiny
paper: CB
table: figure 99
quantity: accuracy
common: {settings: {data: digits, model: "mlp:width=4,depth=2", batch_size: 256, epochs: 1}}
rows:
  a: {row: first, settings: {lr: 0.01}, expects: 10.0}
  b: {row: second, settings: {lr: 0.1}, expects: 20.0}
study: {seeds: 2, claims: [{more: b, than: a}]}
"""
    tables = {"tiny": paper_recipes.read_table(text, "tiny.yaml")}
    monkeypatch.setattr(paper_recipes, "tables", lambda: tables)
    monkeypatch.setattr("landscape.workflows.reproduction_page.tables", lambda: tables)
    assert main(["reproduce", "tiny", "--small", "--jobs", "1"]) == 0
    out = capsys.readouterr().out
    assert (tmp_path / "reproduction" / "tiny.json").is_file()
    assert (tmp_path / "reproduction" / "tiny.md").read_text() in out
    assert "# CB figure 99: Tiny" in out
    assert "| first | 256, 256 | 10 |" in out
    assert main(["reproduce", "tiny", "--no-run"]) == 0
    assert capsys.readouterr().out == out


def test_a_figure_is_a_sweep_measured_and_correlated(tmp_path, capsys, monkeypatch):
    import json

    from landscape.config import sweep as sweeps

    tiny = {"model": "mlp:width=4,depth=2", "batch_size": 256, "data": "digits", "epochs": 2}
    found = sweeps.Sweep(settings=tiny, small={}, grid={"lr": [0.1, 0.5, 1.0, 1e30]})
    monkeypatch.setattr(sweeps, "read_sweep", lambda name: found)
    assert main(["reproduce", "cs-figure1", "--small", "--jobs", "1", "-q"]) == 3  # one diverged
    told = capsys.readouterr()
    assert "lr=1e+30: training diverged" in told.err
    assert "test accuracy of 3 networks" in told.out
    assert (tmp_path / "reproduction" / "cs-figure1.svg").read_text().startswith("<?xml")
    document = json.loads((tmp_path / "reproduction" / "cs-figure1.json").read_text())
    text = json.dumps(document)
    assert all(name in text for name in ("hessian_trace", "fisher_rao", "connectivity", "lr=1e+30"))
