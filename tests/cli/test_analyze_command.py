"""`landscape analyze` from end to end on a small trained network: what is written where, and what is refused how."""

import inspect
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import pytest
import torch

from landscape.catalog import PRESETS, expand
from landscape.config.analysis import AnalysisRun, AnalysisSettings
from landscape.records import SCHEMA, Analysis, Record
from landscape.workflows import analyze as workflow
from landscape.workflows.events import Interrupted
from landscape_cli.analyze import analyze
from landscape_cli.main import main

QUICK = ["--measures", "connectivity,fisher_rao", "--samples", "64"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of ours: a network of one hidden layer after one epoch."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    assert main(["train", "--quiet", "--model", "mlp:width=16,depth=2", "--epochs", "1", "--out", str(folder)]) == 0
    return folder / "final.pt"


@pytest.fixture
def here(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that commands run in, with the checkpoint `net.pt` in it."""
    shutil.copy(trained, tmp_path / "net.pt")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_the_defaults_in_help_are_the_settings_own() -> None:
    """They are written down twice, because help must not load pydantic."""
    shown = {name: parameter.default for name, parameter in inspect.signature(analyze).parameters.items()}
    for kind in (AnalysisSettings, AnalysisRun):
        for name, field in kind.model_fields.items():
            if name not in ("measures", "options"):
                assert shown[name] == field.default, name
    assert expand(shown["measures"].split(",")) == expand(AnalysisSettings().measures)
    assert not shown["own"]
    assert not AnalysisSettings().options


def test_a_table_of_every_measure_is_shown(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["analyze", "net.pt", "--samples", "64", "--rtol", "0.3"]) == 0
    out, err = capsys.readouterr()
    for name in PRESETS["default"]:
        assert any(line.startswith(name) for line in out.splitlines()), name
        assert name in err, "lines of progress, as standard error is no terminal"
    assert "linear.weight" in out
    assert "64 samples" in out
    assert files(here) == {"net.pt"}


def test_json_alone_goes_to_standard_output(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["analyze", "net.pt", *QUICK, "--json"]) == 0
    out, err = capsys.readouterr()
    document = json.loads(out)
    assert document["schema"] == SCHEMA
    assert list(document["measures"]) == ["connectivity", "fisher_rao"]
    assert document["settings"]["samples"] == "64"
    assert err != ""


def test_several_checkpoints_make_an_array(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy("net.pt", "other.pt")
    assert main(["analyze", "net.pt", "other.pt", *QUICK, "--json", "--quiet"]) == 0
    out, err = capsys.readouterr()
    first, second = json.loads(out)
    assert first["measures"]["connectivity"]["value"] == second["measures"]["connectivity"]["value"]
    assert err == ""


def test_documents_and_report_are_written(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "b").mkdir()
    shutil.copy("net.pt", "b/net.pt")
    command = ["analyze", "net.pt", "b/net.pt", *QUICK, "--out", "new/results", "--report", "new/report.pdf"]
    assert main(command) == 0
    written = sorted((here / "new" / "results").iterdir())
    assert {path.name for path in written} == {"b-net.json", f"{here.name}-net.json"}
    for path in written:
        assert set(Analysis.from_dict(json.loads(path.read_text())).measures) == {"connectivity", "fisher_rao"}
    assert (here / "new" / "report.pdf").read_bytes().startswith(b"%PDF-")
    assert capsys.readouterr().err.count("wrote ") == 3


def test_a_broken_checkpoint_does_not_stop_the_others(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy("net.pt", "other.pt")
    assert main(["analyze", "net.pt", "gone.pt", "other.pt", *QUICK, "--json", "--out", "results", "--quiet"]) == 2
    out, err = capsys.readouterr()
    assert len(json.loads(out)) == 2
    assert files(here / "results") == {"net.json", "other.json"}
    assert err.splitlines()[-1].startswith("error: gone.pt")


def test_a_measure_asked_for_by_name_that_does_not_apply_is_2(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With batch statistics a sample has no value of its own; the other measures are given all the same."""
    command = ["analyze", "net.pt", "--measures", "hessian_trace,margin", "--samples", "64", "--rtol", "0.5"]
    assert main([*command, "--bn", "train", "--json", "--quiet"]) == 2
    out, err = capsys.readouterr()
    measures = json.loads(out)["measures"]
    assert measures["hessian_trace"]["value"] is not None
    assert measures["margin"]["value"] is None
    assert err == f"error: margin does not apply: {measures['margin']['skipped']}\n"


def test_a_budget_that_is_reached_is_no_error(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["analyze", "net.pt", "--measures", "hessian_trace", "--samples", "64"]
    assert main([*command, "--rtol", "1e-6", "--budget", "5", "--json", "--quiet"]) == 0
    record = json.loads(capsys.readouterr().out)["measures"]["hessian_trace"]
    assert record["converged"] is False
    assert record["stderr"] > 0


BAD_FILES: Mapping[str, bytes] = {
    "empty.pt": b"",
    "text.pt": b"no checkpoint at all\n",
    "text.safetensors": b"no checkpoint at all\n",
}

# Arguments after `analyze`, and words that the message must hold.
BAD: list[tuple[list[str], list[str]]] = [
    (["gone.pt"], ["gone.pt"]),
    (["empty.pt"], ["empty.pt", "empty"]),
    (["text.pt"], ["text.pt"]),
    (["text.safetensors"], ["text.safetensors"]),
    (["cut.pt"], ["cut.pt"]),
    (["."], ["folder"]),
    (["net.pt", "./net.pt"], ["given twice"]),
    (["net.pt", "--measures", "hessian_trase"], ["--measures", "hessian_trase", "hessian_trace"]),
    (["net.pt", "--measures", "margin,"], ["--measures", "''"]),
    (["net.pt", "--rtol", "0"], ["rtol", "greater than 0"]),
    (["net.pt", "--rtol", "nan"], ["rtol", "nan"]),
    (["net.pt", "--budget", "-1"], ["budget", "greater than 0"]),
    (["net.pt", "--top", "0"], ["top"]),
    (["net.pt", "--connectivity-batch", "0"], ["connectivity_batch"]),
    (["net.pt", "--samples", "0"], ["samples", "first:N or all", "'0'"]),
    (["net.pt", "--samples", "many"], ["samples", "first:N or all", "'many'"]),
    (["net.pt", "--batch-size", "0"], ["batch_size"]),
    (["net.pt", "--seed", "-1"], ["seed"]),
    (["net.pt", "--split", "tset"], ["tset", "test"]),
    (["net.pt", "--by", "convolution*"], ["convolution*"]),
    (["net.pt", "--device", "gpu"], ["gpu"]),
    (["net.pt", "--device", "cuda:99"], ["cuda:99"]),
    (["net.pt", "--report", "report.docx"], ["--report", ".pdf"]),
    (["net.pt", "--report", "text.pt/report.pdf"], ["--report", "text.pt"]),
    (["net.pt", "--out", "text.pt"], ["--out", "text.pt"]),
    (["net.pt", "--model", "resnet2"], ["resnet2", "resnet20"]),
    (["net.pt", "--model", "mlp:widht=3"], ["widht", "width"]),
    (["net.pt", "--model", "mlp:width=17,depth=2"], ["17", "16"]),
    (["net.pt", "--model", "nowhere:build"], ["nowhere"]),
    (["net.pt", "--data", "digit"], ["digit", "digits"]),
    (["net.pt", "--data", "cifar10:nowhere"], ["nowhere"]),
    (["net.pt", "--normalize", "0.5"], ["0.5"]),
    (["net.pt", "--key", "weights"], ["weights"]),
    (["net.pt", "--problem", "gone.py"], ["gone.py"]),
    (["net.pt", "--problem", "nothing.py"], ["nothing.py", "problem"]),
    (["foreign.pt"], ["--model"]),
    (["foreign.pt", "--model", "mlp:width=16,depth=2,size=8"], ["--data"]),
    (["nan.pt", "--model", "mlp:width=16,depth=2", "--data", "digits"], ["NaN"]),
]


@pytest.fixture
def bad_files(here: Path) -> Iterator[None]:
    for name, content in BAD_FILES.items():
        (here / name).write_bytes(content)
    whole = (here / "net.pt").read_bytes()
    (here / "cut.pt").write_bytes(whole[: len(whole) // 2])
    (here / "nothing.py").write_text("x = 1\n")
    tensors = torch.load(here / "net.pt", weights_only=True)["state_dict"]
    torch.save(tensors, here / "foreign.pt")
    name = next(iter(tensors))
    torch.save({**tensors, name: torch.full_like(tensors[name], torch.nan)}, here / "nan.pt")
    before = files(here)
    yield
    assert files(here) == before, "nothing is left behind"


@pytest.mark.usefixtures("bad_files")
@pytest.mark.parametrize(("arguments", "words"), BAD, ids=lambda value: " ".join(value)[:50])
def test_bad_input_is_2_with_a_line_or_two(
    arguments: list[str], words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything long: `--out` and `--report` are given too, and must not come into being."""
    extra = [] if "--report" in arguments or "--out" in arguments else ["--out", "new", "--report", "new/r.pdf"]
    assert main(["analyze", *arguments, *extra, "--quiet"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    assert err.startswith("error: ")
    assert 1 <= len(err.splitlines()) <= 2, err
    for word in words:
        assert word in err


def record(value: float) -> Record:
    return Record(value=value, stderr=0.0, sampling_stderr=0.0)


@pytest.mark.parametrize("done", [{}, {"connectivity": record(1.0)}])
def test_ctrl_c_keeps_what_was_finished(
    done: dict[str, Record], here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(*_: Any, **__: Any) -> Analysis:
        raise Interrupted(Analysis(measures=done, problem={}, settings={}))

    shutil.copy("net.pt", "other.pt")
    monkeypatch.setattr(workflow, "analyze_checkpoint", stopped)
    assert main(["analyze", "net.pt", "other.pt", "--json", "--out", "results"]) == 130
    out, err = capsys.readouterr()
    assert [list(document["measures"]) for document in json.loads(out)] == ([["connectivity"]] if done else [])
    assert (here / "results" / "net.json").exists() == bool(done)
    assert not (here / "results" / "other.json").exists()
    assert err.splitlines()[-1] == "interrupted"


def test_ctrl_c_between_checkpoints_keeps_the_first(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy("net.pt", "other.pt")

    def first_only(path: Path, **_: Any) -> Analysis:
        if path.name == "other.pt":
            raise KeyboardInterrupt
        return Analysis(measures={"connectivity": record(1.0)}, problem={}, settings={})

    monkeypatch.setattr(workflow, "analyze_checkpoint", first_only)
    assert main(["analyze", "net.pt", "other.pt", "--out", "results", "--quiet"]) == 130
    assert files(here / "results") == {"net.json"}
    assert "connectivity" in capsys.readouterr().out


def test_a_real_ctrl_c_in_the_middle_of_a_measure(here: Path) -> None:
    command = [sys.executable, "-m", "landscape_cli.main", "analyze", "net.pt", "--samples", "64", "--json"]
    endless = ["--measures", "connectivity,hessian_trace", "--rtol", "1e-9", "--budget", "1e9"]
    with subprocess.Popen([*command, *endless], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said = _until(process.stderr, "hessian_trace ...")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130, said + err
    assert list(json.loads(out)["measures"]) == ["connectivity"]
    assert "Traceback" not in err
    assert err.endswith("kept what was finished: connectivity\ninterrupted\n")


def _until(stream: IO[str], words: str) -> str:
    """What a process says up to the line that holds `words`."""
    said = ""
    for line in stream:
        said += line
        if words in line:
            return said
    raise AssertionError(f"never said {words!r}: {said}")
