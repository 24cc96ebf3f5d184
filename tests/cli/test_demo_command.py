"""`landscape demo`: what it leaves in the folder, that it goes on where it was, and that it harms nothing of others."""

import json
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import pypdf
import pytest

from landscape.config.analysis import AnalysisSettings
from landscape.config.sweep import Sweep
from landscape.workflows import demo as workflow
from landscape.workflows.study_pool import Ended
from landscape.workflows.study_run import Job, do, missing
from landscape_cli.main import main

NAMES = ["baseline", "rate", "decay"]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The demonstration with three networks, an epoch and a measure, all in this process."""
    monkeypatch.chdir(tmp_path)
    sweep = Sweep(
        small={"model": "mlp:width=8,depth=2", "data": "digits", "epochs": 1},
        runs=[{"name": "baseline"}, {"name": "rate", "lr": 0.05}, {"name": "decay", "weight_decay": 0.1}],
    )
    monkeypatch.setattr(workflow, "read_sweep", lambda _: sweep)
    monkeypatch.setattr(workflow, "SETTINGS", AnalysisSettings(measures=("connectivity",), samples="64"))
    # The pool of processes has its own tests, with the sweep's.
    monkeypatch.setattr(workflow, "run_jobs", in_this_process)
    monkeypatch.setattr("landscape.workflows.sweep.run_jobs", in_this_process)
    return tmp_path


def in_this_process(jobs: Sequence[Job], workers: int, *_: Any) -> Generator[Ended, None, None]:
    for job in jobs:
        yield Ended(job, do(job))


def text_of(report: Path) -> str:
    return " ".join(" ".join(page.extract_text().split()) for page in pypdf.PdfReader(report).pages)


def test_it_trains_measures_and_reports(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--quiet"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "landscape-demo.pdf" in out
    assert "test accuracy of 3 networks" in out
    for name in NAMES:
        document = json.loads((small / "landscape-demo" / name / "analysis.json").read_text())
        assert list(document["measures"]) == ["connectivity"]
        assert (small / "landscape-demo" / name / "final.pt").exists()
    text = text_of(small / "landscape-demo.pdf")
    for heading in (
        "What so small a study can say", "Contents", "Which measure goes with the test accuracy?",
        "Which measure goes with the test loss?", "Comparison", "Where this comes from",
    ):  # fmt: skip
        assert heading in text
    assert "of 3 small networks, trained on 64 images" in text
    assert "Accuracy is counted on 360 images" in text


def test_a_second_one_does_nothing_anew_and_gives_the_same_bytes(small: Path) -> None:
    assert main(["demo", "--quiet"]) == 0
    report, analysis = small / "landscape-demo.pdf", small / "landscape-demo" / "rate" / "analysis.json"
    before = report.read_bytes(), analysis.stat().st_mtime_ns
    report.unlink()
    assert main(["demo", "--quiet"]) == 0
    assert (report.read_bytes(), analysis.stat().st_mtime_ns) == before
    assert sorted(path.name for path in small.iterdir()) == ["landscape-demo", "landscape-demo.pdf"]


@pytest.mark.parametrize("there", ["landscape-demo.pdf", "landscape-demo"])
def test_what_is_not_its_own_is_left_alone(small: Path, capsys: pytest.CaptureFixture[str], there: str) -> None:
    mine = small / there if there.endswith(".pdf") else small / there / "mine.txt"
    mine.parent.mkdir(exist_ok=True)
    mine.write_text("mine")
    assert main(["demo", "--quiet"]) == 0
    assert mine.read_text() == "mine"
    assert "landscape-demo-2.pdf" in capsys.readouterr().out
    assert (small / "landscape-demo-2" / "baseline" / "final.pt").exists()


def test_a_report_that_was_changed_is_not_overwritten(small: Path) -> None:
    assert main(["demo", "--quiet"]) == 0
    (small / "landscape-demo.pdf").write_text("annotated")
    assert main(["demo", "--quiet"]) == 0
    assert (small / "landscape-demo.pdf").read_text() == "annotated"
    assert (small / "landscape-demo-2.pdf").read_bytes().startswith(b"%PDF-")


@pytest.mark.parametrize("stage", ["run_sweep", "run_jobs"])
def test_ctrl_c_keeps_what_is_there_and_the_same_command_goes_on(
    small: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], stage: str
) -> None:
    whole = getattr(workflow, stage)
    first: list[str] = []

    def sweep_stopped(states: Any, folder: Path, **options: Any) -> None:
        whole(states[:1], folder, **options)
        raise KeyboardInterrupt

    def jobs_stopped(jobs: Any, workers: int) -> Any:
        first.append(jobs[0].folder.name)
        yield from whole(jobs[:1], workers)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(workflow, stage, sweep_stopped if stage == "run_sweep" else jobs_stopped)
        assert main(["demo", "--quiet"]) == 130
    trained = 1 if stage == "run_sweep" else 3
    assert f"{trained} of 3 networks are trained; the same command goes on" in capsys.readouterr().err
    assert not (small / "landscape-demo.pdf").exists()
    kept = small / "landscape-demo" / "baseline" / ("final.pt" if stage == "run_sweep" else "analysis.json")
    time = kept.stat().st_mtime_ns
    assert main(["demo", "--quiet"]) == 0
    assert kept.stat().st_mtime_ns == time
    assert (small / "landscape-demo.pdf").exists()
    assert not (small / "landscape-demo-2").exists()


def test_a_job_is_measured_again_only_by_other_settings(small: Path) -> None:
    state = workflow.plan_demo(Path()).states[0]
    job = Job(state.folder, state.config, analysis=workflow.SETTINGS)
    assert missing([job]) == [job]
    do(job)
    assert missing([job]) == []
    other = Job(state.folder, state.config, analysis=AnalysisSettings(measures=("connectivity",), samples="32"))
    assert missing([other]) == [other]


@pytest.mark.slow
def test_the_demonstration_as_shipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its nine networks are good on images that they have not seen, and every measure converges."""
    monkeypatch.chdir(tmp_path)
    assert main(["demo"]) == 0
    documents = [json.loads(path.read_text()) for path in sorted(tmp_path.glob("landscape-demo/*/analysis.json"))]
    assert len(documents) == 9
    for document in documents:
        assert document["checkpoint"]["metrics"]["test_accuracy"] > 0.95
        assert tuple(document["measures"]) == workflow.MEASURES
        assert all(record["converged"] for record in document["measures"].values())
