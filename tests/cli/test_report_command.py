"""`landscape report`: each kind of file and all of them together, the same bytes twice, bad input in one line."""

from __future__ import annotations

import hashlib
import io
import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import html5lib
import numpy as np
import pypdf
import pytest
import yaml

from landscape.records import Analysis, Record
from landscape.surfaces.grid import Surface
from landscape.training.history import write_history
from landscape.workflows.compare import compare
from landscape.workflows.correlate import run_study, study_of
from landscape.workflows.evidence import find_sources, gather
from landscape.workflows.saved import comparison_of, correlations_of
from landscape_cli.main import main

XHTML = "{http://www.w3.org/1999/xhtml}"
ACCURACIES = (0.95, 0.94, 0.97, 0.91, 0.93, 0.96, 0.9)


def analysis(number: int, *, sha256: str | None = None, **changes) -> Analysis:
    accuracy = ACCURACIES[number]
    value = 0.3 + 0.1 * math.sin(3 * number) + 2 * (1 - accuracy)
    problem = {
        "data": "digits", "model": "mlp", "split": "train", "samples": 64, "available": 1437, "bn_mode": "eval",
        "dtype": "float32", "loss_name": "cross-entropy", "subset_seed": 0, "loss": 0.01 * (number + 1),
        "accuracy": 1.0, "parameters": 330,
    }  # fmt: skip
    return Analysis(
        measures={
            "connectivity": Record(value, 0.0, 0.1, groups={"linear.weight": 0.9 * value, "linear.bias": 0.1 * value}),
            "hessian_trace": Record(10 * value**2, 0.5, 1.0),
        },
        problem={**problem, **changes},
        settings={"samples": "64", "by": "role", "seed": 0, "rtol": 0.05, "budget": 200.0},
        checkpoint={
            "path": f"runs/net{number}/final.pt", "sha256": sha256 or f"{number:02x}" * 32,
            "config": {"lr": 0.1 * (1 + number % 3), "seed": 0},
            "metrics": {"test_accuracy": accuracy, "test_loss": 1.05 - accuracy},
        },
        provenance={"landscape": "0.1.0", "torch": "2.13.0", "created": f"2025-01-0{number + 1}T00:00:00+00:00"},
    )  # fmt: skip


def run_folder(folder: Path, *, epochs: int = 3) -> Path:
    rows = [
        {"epoch": e, "step": 10 * e, "train_loss": 2.0 / (e + 1), "train_accuracy": 0.5 + 0.1 * e,
         "test_loss": 2.1 / (e + 1), "test_accuracy": 0.45 + 0.1 * e, "lr": 0.1}
        for e in range(epochs + 1)
    ]  # fmt: skip
    folder.mkdir(parents=True)
    write_history(folder / "history.csv", rows)
    (folder / "config.yaml").write_text(yaml.safe_dump({"model": "mlp", "data": "digits", "lr": 0.1, "epochs": epochs}))
    return folder


def surface(dimensions: int) -> Surface:
    x = np.linspace(-1, 1, 7)
    y = np.linspace(-1, 1, 5) if dimensions == 2 else np.zeros(1)
    loss = 0.1 + x[None] ** 2 + 3 * y[:, None] ** 2
    about = {
        "dimensions": dimensions, "labels": ["one", "two"][:dimensions], "norms": [1.0, 2.0][:dimensions],
        "loss": "cross-entropy", "origin": {"loss": 0.1, "accuracy": 0.9}, "cosine": 0.0, "samples": 64,
        "path_labels": [], "path_title": "",
    }  # fmt: skip
    settings = {
        "directions": "random" if dimensions == 2 else "line",
        "normalize": "filter",
        "bn": "eval",
        "split": "train",
    }
    done = np.ones(loss.shape, dtype=bool)
    return Surface(x, y, loss, np.clip(1 - loss / 4, 0, 1), loss, done, np.zeros((0, 2)), settings, about)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Seven analyses, a run, a study, a comparison and two surfaces."""
    monkeypatch.chdir(tmp_path)
    for i in range(7):
        analysis(i).write(tmp_path / "nets" / f"net{i}.json")
    run_folder(tmp_path / "run")
    surface(2).write(tmp_path / "plane.npz")
    surface(1).write(tmp_path / "line.npz")
    networks = gather(find_sources([tmp_path / "nets"]), {})
    (tmp_path / "study.json").write_text(json.dumps(run_study(study_of(networks), resamples=50).to_plain()))
    (tmp_path / "comparison.json").write_text(json.dumps(compare(networks[:2]).to_plain()))
    return tmp_path


def tree_of(path: Path):
    return html5lib.HTMLParser(strict=True).parse(path.read_text())


def words(element) -> str:
    return " ".join("".join(element.itertext()).split())


def parts(path: Path) -> list[str]:
    """The ids of the parts of an HTML report."""
    return [e.attrib["id"] for e in tree_of(path).find(f"{XHTML}body/{XHTML}main") if e.tag == f"{XHTML}section"]


KINDS = {
    "one network": (["nets/net0.json"], ["network"]),
    "several": (["nets/net0.json", "nets/net1.json"], ["comparison", "network-1", "network-2", "provenance"]),
    "a folder of many": (["nets"], ["study", "comparison", "network", "provenance"]),
    "a training": (["run"], ["training"]),
    "a study": (["study.json"], ["study"]),
    "a comparison": (["comparison.json"], ["comparison"]),
    "a plane": (["plane.npz"], ["surface"]),
    "a line": (["line.npz"], ["surface"]),
    "all": (
        ["nets/net0.json", "run", "study.json", "plane.npz", "line.npz"],
        ["study", "network", "training", "surface-1", "surface-2", "provenance"],
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_file_has_its_part_in_both_formats(here, capsys, kind):
    files, expected = KINDS[kind]
    assert main(["report", *files, "-o", "r.html", "-o", "r.pdf"]) == 0
    assert capsys.readouterr().out == ""
    assert parts(Path("r.html")) == expected
    html = words(tree_of(Path("r.html")))
    pdf = " ".join(page.extract_text() for page in pypdf.PdfReader("r.pdf").pages)
    squeezed = ["".join(text.split()).replace("\u200b", "") for text in (html, pdf)]
    numbers = {
        "".join(words(cell).split())
        for cell in tree_of(Path("r.html")).iter(f"{XHTML}td")
        if any(letter.isdigit() for letter in words(cell))
    }
    for number in numbers:
        assert all(number in text for text in squeezed), number


def test_the_same_files_give_the_same_bytes_whenever_they_are_read(here, monkeypatch):
    files = ["nets", "run", "study.json", "plane.npz"]
    assert main(["report", *files, "-o", "a.html", "-o", "a.pdf"]) == 0
    command = [sys.executable, "-m", "landscape_cli.main", "report", *files, "-o", "b.html", "-o", "b.pdf"]
    monkeypatch.setenv("PYTHONHASHSEED", "7")
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    subprocess.run(command, check=True, capture_output=True)
    for kind in ("html", "pdf"):
        assert Path(f"a.{kind}").read_bytes() == Path(f"b.{kind}").read_bytes()
    assert "/CreationDate" not in (pypdf.PdfReader("a.pdf").metadata or {})


def test_it_says_where_it_comes_from(here):
    assert main(["report", "nets", "run", "-o", "r.html"]) == 0
    (section,) = [e for e in tree_of(Path("r.html")).iter(f"{XHTML}section") if e.attrib.get("id") == "provenance"]
    rows = [[words(cell) for cell in row] for row in section.iter(f"{XHTML}tr")][1:]
    named = {row[0]: (row[1], row[2]) for row in rows}
    for path in (*sorted(Path("nets").iterdir()), Path("run/config.yaml"), Path("run/history.csv")):
        digits, told = named.pop(str(path))
        assert hashlib.sha256(path.read_bytes()).hexdigest().startswith(digits)
        assert len(digits) == 24
        assert told == {"nets": "1, 2, 3" if path.name == "net2.json" else "1, 2", "run": "4"}[path.parts[0]]
    assert named == {}
    text = words(section)
    assert "landscape 0.1.0, torch 2.13.0" in text
    assert "2025-01-01 00:00:00 UTC to 2025-01-07 00:00:00 UTC" in text
    assert "samples 64, seed 0" in text


def test_no_torch_is_loaded(here):
    code = (
        "import sys; from landscape_cli.main import main; "
        "code = main(['report', 'nets', 'run', 'study.json', 'plane.npz', '-o', 'r.pdf', '-o', 'r.html']); "
        "assert code == 0; sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_a_checkpoint_is_known_by_its_bytes(here, capsys):
    Path("run/checkpoints").mkdir()
    for name in ("run/final.pt", "run/checkpoints/epoch-0000.pt"):
        Path(name).write_bytes(name.encode())
    sha256 = hashlib.sha256(b"run/final.pt").hexdigest()
    analysis(0, sha256=sha256).write(Path("run/final.json"))
    assert main(["report", "run/final.pt", "-o", "r.html"]) == 0
    assert parts(Path("r.html")) == ["network"]
    assert sha256 in words(tree_of(Path("r.html")))
    assert main(["report", "run/checkpoints/epoch-0000.pt", "-o", "s.html"]) == 2
    err = capsys.readouterr().err
    assert "has no analysis beside it; make one: landscape analyze run/checkpoints/epoch-0000.pt --out" in err
    assert not Path("s.html").exists()


def test_a_finished_run_without_an_analysis_is_told(here, capsys):
    Path("run/final.pt").write_bytes(b"x")
    assert main(["report", "run", "-o", "r.html"]) == 0
    assert "run was not analyzed: landscape analyze run/final.pt --out run" in capsys.readouterr().err
    assert parts(Path("r.html")) == ["training"]


def test_sections_networks_and_targets_are_chosen(here, capsys):
    assert main(["report", "nets", "--sections", "networks", "--networks", "net3,net1", "-o", "r.html"]) == 0
    headings = [words(e) for e in tree_of(Path("r.html")).iter(f"{XHTML}h2")]
    assert headings == ["Contents", "1 net3", "2 net1", "3 Where this comes from"]
    assert (
        main(["report", "nets", "--networks", "none", "--target", "accuracy,loss", "-o", "r.html", "--title", "T"]) == 0
    )
    assert parts(Path("r.html")) == ["study", "study-2", "comparison", "provenance"]
    assert words(next(tree_of(Path("r.html")).iter(f"{XHTML}h1"))) == "T"
    capsys.readouterr()
    assert main(["report", "nets", "-o", "r.html"]) == 0
    assert "of 7 networks the best has pages of its own (net2)" in capsys.readouterr().err


def test_mixed_data_sets_are_refused_or_told(here, capsys):
    replace(analysis(1), problem={**analysis(1).problem, "data": "mnist"}).write(Path("other.json"))
    assert main(["report", "nets/net0.json", "other.json", "-o", "r.html"]) == 2
    out, err = capsys.readouterr()
    assert "data: digits, mnist" in err
    assert (out, err.count("\n")) == ("", 1)
    assert not Path("r.html").exists()
    assert main(["report", "nets/net0.json", "other.json", "-o", "r.html", "--allow-mixed"]) == 0
    assert "different: data: digits, mnist" in words(tree_of(Path("r.html")))


def test_a_study_that_cannot_be_made_is_told_unless_it_is_asked_for(here, capsys):
    for i in range(3):
        analysis(i, model=f"net{i}").write(Path("mixed") / f"{i}.json")
    assert main(["report", "mixed", "-o", "r.html"]) == 0
    assert "no study: the networks are mixed (network: net0, net1, net2)" in capsys.readouterr().err
    assert parts(Path("r.html")) == ["comparison", "network-1", "network-2", "network-3", "provenance"]
    assert main(["report", "mixed", "--sections", "study", "-o", "s.html"]) == 2
    assert not Path("s.html").exists()


BAD = {
    "nothing there": (["nothing"], "there is no nothing"),
    "no document": (["x.json"], "x.json is no document of landscape; expected an analysis, correlations"),
    "no JSON": (["bad.json"], "bad.json is no JSON"),
    "a newer analysis": (["newer.json"], "expected the schema landscape.analysis/1, got landscape.analysis/2"),
    "a newer study": (
        ["newer-study.json"],
        "expected the schema landscape.correlations/1, got landscape.correlations/9",
    ),
    "a damaged study": (["damaged.json"], "damaged.json is damaged"),
    "another schema": (["other.json"], "other.json is of the schema landscape.reproduction/1; expected"),
    "another kind": (["notes.txt"], "notes.txt is nothing that a report can be on; expected an analysis"),
    "a table": (["t.csv"], "correlate it first: landscape correlate t.csv --json"),
    "an empty folder": (["empty"], "empty holds no run and no analysis; expected"),
    "no surface": (["broken.npz"], "broken.npz is no surface of landscape"),
    "a pattern": (["*.nothing"], "nothing matches *.nothing"),
    "an unknown ending": (["run", "-o", "r.docx"], "expected a file name that ends in .pdf or .html, got r.docx"),
    "a folder": (["run", "-o", "d.pdf"], "d.pdf is a folder"),
    "an unwritable place": (["run", "-o", "notes.txt/r.pdf"], "cannot write into notes.txt"),
    "a file twice": (["run", "-o", "r.pdf", "-o", "r.pdf"], "a file is named twice"),
    "an unknown section": (["run", "--sections", "trainig"], "unknown section 'trainig'. Did you mean training"),
    "a section without files": (["run", "--sections", "surfaces"], "it wants a surface"),
    "an unknown network": (["nets", "--networks", "net9"], "there is no network 'net9'. Did you mean net"),
    "an unknown target": (["nets", "--target", "speed"], "expected accuracy, gap or loss, got 'speed'"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line(here, capsys, case):
    arguments, message = BAD[case]
    newer = json.loads(Path("nets/net0.json").read_text()) | {"schema": "landscape.analysis/2"}
    for name, content in {
        "x.json": '{"a": 1}', "bad.json": "no", "newer.json": json.dumps(newer), "t.csv": "a,b\n1,2\n",
        "newer-study.json": '{"schema": "landscape.correlations/9"}', "notes.txt": "words", "broken.npz": "PK",
        "damaged.json": '{"schema": "landscape.correlations/1"}',
        "other.json": '{"schema": "landscape.reproduction/1"}',
    }.items():  # fmt: skip
        Path(name).write_text(content)
    for name in ("empty", "d.pdf"):
        Path(name).mkdir()
    before = sorted(here.rglob("*"))
    assert main(["report", *arguments]) == 2
    out, err = capsys.readouterr()
    assert message in err
    assert (out, err.count("\n")) == ("", 1)
    assert sorted(here.rglob("*")) == before


def test_no_files_is_bad_input(here, capsys):
    assert main(["report"]) == 2
    assert "Missing argument 'FILE...'" in capsys.readouterr().err


def test_what_was_saved_is_read_back_whole(here):
    for name, reader in (("study.json", correlations_of), ("comparison.json", comparison_of)):
        document = json.loads(Path(name).read_text())
        assert reader(document).to_plain() == document


def test_correlations_with_refusals_are_read_back_and_reported(here):
    networks = gather(find_sources([Path("nets")]), {})
    study = study_of(networks)
    values = {**study.values, ("flat", ""): np.ones(7), ("negative", ""): -np.ones(7)}
    plain = run_study(replace(study, values=values), resamples=0).to_plain()
    assert correlations_of(plain).to_plain() == plain
    Path("refused.json").write_text(json.dumps(plain))
    assert main(["report", "refused.json", "-o", "r.html"]) == 0
    text = words(tree_of(Path("r.html")))
    assert "refused: flat: the measure is the same for all networks" in text
    assert "Flatrefused" in text  # two cells of one row


def test_the_study_says_what_chance_would_reach(here):
    assert main(["report", "study.json", "-o", "r.html"]) == 0
    text = words(tree_of(Path("r.html")))
    # t of five degrees of freedom, from a table: 2.571; R² = t² / (5 + t²)
    assert f"exceeds an R² of {2.571**2 / (5 + 2.571**2):.2f} once in twenty times" in text


def test_analyze_writes_html_too(here, capsys):
    assert main(["train", "--quiet", "--model", "mlp:width=8,depth=2", "--epochs", "1", "--out", "t"]) == 0
    command = ["analyze", "t/final.pt", "--measures", "connectivity", "--samples", "64", "--quiet", "--report"]
    assert main([*command, "a.html"]) == 0
    assert "wrote a.html" in capsys.readouterr().err
    assert parts(Path("a.html")) == ["network"]
    assert main([*command, "a.txt"]) == 2
    assert "--report: expected a file name that ends in .pdf or .html" in capsys.readouterr().err


def test_a_pdf_is_a_pdf(here):
    assert main(["report", "run"]) == 0
    assert pypdf.PdfReader(io.BytesIO(Path("report.pdf").read_bytes())).metadata.title == "Training of run"
