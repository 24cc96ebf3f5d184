"""`landscape correlate`: documents, run folders and tables in; tables, documents and figures out."""

import csv
import io
import json
import math
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import yaml
from sklearn.linear_model import LinearRegression

from landscape.records import Analysis, Record
from landscape.training.history import write_history
from landscape_cli.main import main

RATES = (0.01, 0.1, 0.4)
BATCHES = (32, 64, 128)


def analysis(value, accuracy, *, config=None, **changes):
    """A network whose connectivity is `value`, shared by two roles."""
    metrics = {"test_accuracy": accuracy, "train_accuracy": 1.0, "test_loss": 1 - accuracy, "train_loss": 0.01}
    problem = {
        "data": "digits", "model": "resnet8", "split": "train", "samples": 64, "available": 1500, "bn_mode": "eval",
        "dtype": "float32", "loss_name": "cross-entropy", "subset_seed": 0,
    }  # fmt: skip
    made = Analysis(
        measures={
            "connectivity": Record(value, 0.0, 0.1, groups={"conv.weight": 0.8 * value, "norm.beta": 0.2 * value**2}),
            "hessian_trace": Record(10 * math.sqrt(value), 0.5, 1.0),
        },
        problem=problem,
        settings={"samples": "64", "by": "role", "seed": 0, "engine": "landscape", "connectivity_batch": 128},
        checkpoint={"path": "final.pt", "config": config or {}, "metrics": metrics},
    )
    return replace(made, problem={**problem, **changes})


def values():
    for i, (rate, batch) in enumerate((rate, batch) for rate in RATES for batch in BATCHES):
        value = math.exp(0.3 * math.log(rate) + 0.4 * math.log(batch) + 0.1 * math.sin(7 * i))
        yield rate, batch, value, 0.9 - 0.02 * math.log(value) + 0.003 * math.cos(5 * i)


@pytest.fixture
def study(tmp_path, monkeypatch):
    """Nine analyses in a folder of their own, as `landscape analyze --out` writes them."""
    for i, (rate, batch, value, accuracy) in enumerate(values()):
        config = {"lr": rate, "batch_size": batch, "model": "resnet8"}
        analysis(value, accuracy, config=config).write(tmp_path / "study" / f"run{i}.json")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "study"


def read(capsys):
    return json.loads(capsys.readouterr().out)


def test_json_holds_what_scikit_learn_finds(study, capsys):
    assert main(["correlate", "study", "--json"]) == 0
    found = read(capsys)
    assert found["schema"] == "landscape.correlations/1"
    assert found["hyperparameters"] == ["lr", "batch_size"]
    whole, conv, beta, trace = found["correlations"]
    x = np.array([[math.log(value)] for _, _, value, _ in values()])
    y = np.array([accuracy for *_, accuracy in values()])
    model = LinearRegression().fit(x, y)
    assert (whole["measure"], whole["group"], whole["n"], whole["sign"]) == ("connectivity", "", 9, "-")
    assert whole["r2"] == pytest.approx(model.score(x, y))
    assert whole["slope"] == pytest.approx(model.coef_[0])
    assert whole["r2_low"] < whole["r2"] < whole["r2_high"]
    # a power of the same value has the same R^2
    assert (conv["r2"], beta["r2"], trace["r2"]) == pytest.approx((whole["r2"],) * 3)
    assert beta["slope"] == pytest.approx(whole["slope"] / 2)
    assert set(whole["granulated_by"]) == {"lr", "batch_size"}
    assert [point["name"] for point in whole["points"]] == [f"run{i}" for i in range(9)]
    assert found["margins"] is None


def test_csv_has_a_row_a_measure_and_substructure(study, capsys):
    assert main(["correlate", "study/*.json", "--csv", "--measures", "connectivity"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["group"] for row in rows] == ["", "conv.weight", "norm.beta"]
    assert main(["correlate", "study", "--csv", "--no-groups", "--target", "loss"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [(row["measure"], row["sign"]) for row in rows] == [("connectivity", "+"), ("hessian_trace", "+")]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("quick", ["connectivity"]),
        ("default", ["hessian_trace", "connectivity"]),
        ("connectivity,all", ["connectivity", "hessian_trace"]),
    ],
)
def test_of_a_preset_those_measures_that_are_there(study, capsys, names, expected):
    assert main(["correlate", "study", "--csv", "--no-groups", "--measures", names]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["measure"] for row in rows] == expected


def test_a_checkpoint_that_is_there_twice_counts_once(study, capsys):
    """With all that was measured of it: the connectivity is in one document, the trace in another."""
    for i in range(9):
        document = json.loads((study / f"run{i}.json").read_text())
        document["checkpoint"]["sha256"] = f"{i:064d}"
        (study / f"run{i}.json").write_text(json.dumps(document))
    assert main(["correlate", "study", "--json"]) == 0
    once = read(capsys)
    (study.parent / "again").mkdir()
    for i in range(7):
        document = json.loads((study / f"run{i}.json").read_text())
        (study.parent / "again" / f"again{i}.json").write_text(json.dumps(document))
        del document["measures"]["hessian_trace"]
        (study / f"run{i}.json").write_text(json.dumps(document))
    assert main(["correlate", "study", "again", "--json"]) == 0
    twice = read(capsys)
    assert twice["correlations"] == once["correlations"]
    (note,) = twice["notes"]
    assert note.startswith("counted once, checkpoints that are there twice: again0 (as run0), again1 (as run1)")
    assert note.endswith("again4 (as run4) and 2 more")


def test_a_preset_means_the_columns_of_its_measures(tmp_path, capsys):
    path = table(tmp_path, "margin,hessian_trace,lambda,y\n1,4,7,1\n2,7,9,2\n4,3,1,3\n")
    assert main(["correlate", path, "--target", "y", "--csv", "--measures", "quick,lambda"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["measure"] for row in rows] == ["margin", "lambda"]


def test_the_gap_is_train_less_test_accuracy(study, capsys):
    assert main(["correlate", "study", "--json", "--target", "gap", "--resamples", "0"]) == 0
    points = read(capsys)["correlations"][0]["points"]
    assert [p["y"] for p in points] == pytest.approx([1 - accuracy for *_, accuracy in values()])


def test_the_table_names_what_was_dropped_and_refused(study, capsys):
    broken = json.loads((study / "run3.json").read_text())
    broken["measures"]["connectivity"]["value"] = None
    (study / "run3.json").write_text(json.dumps(broken))
    for i in range(9):
        document = json.loads((study / f"run{i}.json").read_text())
        document["measures"]["hessian_trace"]["value"] = 7.0
        (study / f"run{i}.json").write_text(json.dumps(document))
    assert main(["correlate", "study"]) == 0
    out = capsys.readouterr().out
    assert "dropped 1 of 9 from connectivity: run3 (no finite value)" in out
    assert "refused: hessian_trace: the measure is the same for all networks" in out


def test_a_rate_that_explains_the_order_is_warned_of(tmp_path, capsys):
    for i in range(12):
        rate = RATES[i % 3]
        config = {"lr": rate, "seed": i // 3}
        # within a rate nothing is left: the signs of the two are orthogonal over the four seeds
        one, two = ((1, 1), (-1, 1), (1, -1), (-1, -1))[i // 3]
        analysis(rate * 1.01**one, 0.9 - 0.1 * rate + 1e-4 * two, config=config).write(tmp_path / f"{i}.json")
    assert main(["correlate", str(tmp_path)]) == 0
    assert "warning: connectivity: the order is explained by lr" in capsys.readouterr().out


def test_run_folders_and_arrays_are_read_too(tmp_path, capsys, monkeypatch):
    """The analysis beside the run; test accuracy from its history where the checkpoint does not say."""
    monkeypatch.chdir(tmp_path)
    documents = []
    for i, (rate, batch, value, accuracy) in enumerate(values()):
        made = analysis(value, accuracy, config={"lr": rate, "batch_size": batch})
        if i == 0:
            made = replace(made, checkpoint={"config": made.checkpoint["config"]})
        run = tmp_path / "runs" / f"r{i}"
        made.write(run / "analysis.json")
        (run / "config.yaml").write_text(yaml.safe_dump({"lr": rate}))
        write_history(run / "history.csv", [{"epoch": 1, "test_accuracy": accuracy}])
        named = {**made.checkpoint, "path": f"runs/r{i}/final.pt", "metrics": {"test_accuracy": accuracy}}
        documents.append(replace(made, checkpoint=named).to_dict())
    assert main(["correlate", "runs/r*", "--json", "--resamples", "0"]) == 0
    folders = read(capsys)
    assert folders["networks"] == [f"r{i}" for i in range(9)]
    (tmp_path / "all.json").write_text(json.dumps(documents))
    assert main(["correlate", "all.json", "--json", "--resamples", "0"]) == 0
    assert read(capsys)["correlations"] == folders["correlations"]


def table(tmp_path, text):
    (tmp_path / "t.csv").write_text(text)
    return str(tmp_path / "t.csv")


def test_a_table_of_anybodys_numbers(tmp_path, capsys):
    rows = [f"net{i},{math.exp(i)},{2 * i + 1},{-i}" for i in range(5)]
    path = table(tmp_path, "\n".join(["name,sharpness,score,other", *rows]))
    assert main(["correlate", path, "--target", "score", "--json", "--measures", "sharpness"]) == 0
    (found,) = read(capsys)["correlations"]
    assert (found["slope"], found["intercept"], found["r2"]) == pytest.approx((2, 1, 1))
    assert found["points"][2] == {"name": "net2", "x": pytest.approx(2), "y": 5}
    assert main(["correlate", path, "--target", "score"]) == 0
    assert "refused: other: 5 of 5 values are not positive" in capsys.readouterr().out
    assert main(["correlate", path, "--target", "score", "--no-log", "--csv"]) == 0
    assert {row["sign"] for row in csv.DictReader(io.StringIO(capsys.readouterr().out))} == {"+", "-"}


def test_empty_cells_and_columns_that_are_hyperparameters(tmp_path, capsys):
    path = table(tmp_path, "lr,m,y\n0.1,1,1\n0.1,,2\n0.2,3,4\n0.2,4,3\n0.4,5,\n")
    assert main(["correlate", path, "--target", "y", "--axes", "lr", "--json"]) == 0
    (found,) = read(capsys)["correlations"]
    assert found["dropped"] == {"2": "no finite value", "5": "no outcome"}
    assert found["measure"] == "m"


@pytest.mark.parametrize(("name", "head"), [("f.svg", b"<?xml"), ("f.pdf", b"%PDF"), ("f.png", b"\x89PNG")])
def test_figures_are_the_same_bytes_each_time(study, name, head, capsys):
    assert main(["correlate", "study", "--plot", name]) == 0
    assert f"wrote {name}" in capsys.readouterr().err
    first = (study.parent / name).read_bytes()
    assert first.startswith(head)
    assert main(["correlate", "study", "--plot", name]) == 0
    assert (study.parent / name).read_bytes() == first


def test_parquet_without_pyarrow_is_one_line(study, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setattr("landscape.workflows.numbers_table.find_spec", lambda name: None)
    for arguments in (["study", "--parquet", "r.parquet"], ["t.parquet", "--target", "y"]):
        (study.parent / "t.parquet").write_bytes(b"PAR1")
        assert main(["correlate", *arguments]) == 2
        out, err = capsys.readouterr()
        assert "Parquet needs pyarrow" in err
        assert (out, err.count("\n")) == ("", 1)


def test_parquet_holds_what_csv_has(study, capsys):
    pd = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    assert main(["correlate", "study", "--csv", "--parquet", "r.parquet"]) == 0
    written = pd.read_csv(io.StringIO(capsys.readouterr().out), keep_default_na=False)
    parquet = pd.read_parquet("r.parquet")
    assert parquet.columns.tolist() == written.columns.tolist()
    for name in written:
        if pd.api.types.is_numeric_dtype(parquet[name]):
            known = pd.to_numeric(written[name]).to_numpy(dtype=float)
            assert parquet[name].to_numpy(dtype=float) == pytest.approx(known, nan_ok=True), name
        else:
            assert parquet[name].astype(str).tolist() == written[name].astype(str).tolist(), name


def test_a_parquet_table_is_read_with_its_index_as_names(study, capsys):
    pd = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    rows = [(f"net{i}", value, accuracy, rate) for i, (rate, _, value, accuracy) in enumerate(values())]
    table = pd.DataFrame(rows, columns=["name", "c", "acc", "lr"])
    table.set_index("name").to_parquet("t.parquet")
    table.to_csv("t.csv", index=False)
    found = []
    for source in ("t.parquet", "t.csv"):
        assert main(["correlate", source, "--target", "acc", "--axes", "lr", "--json"]) == 0
        found.append(read(capsys))
    assert found[0] == found[1]
    assert [point["name"] for point in found[0]["correlations"][0]["points"]] == [row[0] for row in rows]


@pytest.mark.parametrize(("name", "content"), [("broken.parquet", b"PAR1"), ("words.parquet", b"name,c\n")])
def test_a_broken_parquet_table_is_one_line(study, capsys, name, content):
    pytest.importorskip("pyarrow")
    (study.parent / name).write_bytes(content)
    assert main(["correlate", name, "--target", "acc"]) == 2
    out, err = capsys.readouterr()
    assert f"{name} cannot be read as a table" in err
    assert (out, err.count("\n")) == ("", 1)


@pytest.mark.parametrize("target", ["r.csv", "r", "study"])
def test_a_parquet_file_is_called_so(study, capsys, target):
    assert main(["correlate", "study", "--parquet", target]) == 2
    out, err = capsys.readouterr()
    assert "--parquet: expected the name of a file that ends in .parquet" in err
    assert (out, err.count("\n")) == ("", 1)
    assert not (study.parent / "r.csv").exists()


@pytest.mark.parametrize("source", ["study", "t.csv"])
def test_no_torch_is_loaded(study, source):
    (study.parent / "t.csv").write_text("m,y\n1,1\n2,2\n4,3\n")
    code = (
        "import sys; from landscape_cli.main import main; "
        f"code = main(['correlate', {source!r}, '--target', {'accuracy' if source == 'study' else 'y'!r}, "
        "'--plot', 'f.svg']); assert code == 0; sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["stdy"], "Did you mean study?"),
        (["nothing/*.json"], "nothing matches nothing/*.json"),
        (["empty"], "holds no analysis and no final.pt"),
        (["study/run0.json", "study/run1.json"], "3 networks or more with a known test accuracy, got 2"),
        (["study", "--target", "acuracy"], "expected accuracy, gap or loss for analyses, got 'acuracy'"),
        (["study", "--measures", "conectivity"], "Did you mean connectivity?"),
        (["traces", "--measures", "quick"], "no network has a measure of quick; known: hessian_trace."),
        (["study", "--axes", "rate"], "no network has the setting 'rate'"),
        (["study", "--measures", ","], "--measures: expected names, comma-separated, got ','"),
        (["study", "--axes", ""], "--axes: expected names, comma-separated, got ''"),
        (["same"], "nothing can be correlated with test accuracy: it is the same for all 3 networks."),
        (
            ["undefined"],
            "no measure can be correlated with test accuracy (connectivity: expected a value of 3 networks",
        ),
        (["runs", "--measures", "conectivity"], "Did you mean connectivity"),
        (["runs"], "a correlation wants 3 networks or more, got 2."),
        (["t.csv", "--target", "y", "--measures", "y"], "'y' holds no numbers, or is the target"),
        (["t.csv", "--target", "y", "--measures", "quick"], "the table has no measure of quick; known: m."),
        (["flat.csv", "--target", "y"], "nothing can be correlated with y: it is the same for all 3 networks."),
        (["study", "--csv", "--json"], "both want standard output"),
        (["study", "--plot", "f.jpg"], "ends in .svg, .pdf, .png, got f.jpg"),
        (["study", "--plot-groups"], "give --plot FILE too"),
        (["t.csv", "--target", "z"], "there is no column 'z'"),
        (["t.csv", "--target", "word"], "the column 'word' holds no numbers"),
        (["t.csv", "study", "--target", "y"], "expected one table and nothing else"),
        (["none.csv", "--target", "y"], "there is no table none.csv"),
        (["void.csv", "--target", "y"], "cannot be read as a table"),
        (["newer.json"], "got 'landscape.analysis/2'; use the landscape that wrote it"),
        (["no.json"], "no.json is no JSON"),
        (["other.json"], "expected an analysis of schema landscape.analysis/1, got None"),
        (["study", "mixed.json"], "the networks are mixed (network: resnet8, vgg11); give --allow-mixed"),
        (["sloppy.json", "study/run0.json", "study/run1.json"], "none is known of sloppy"),
        ([], "RUN"),
    ],
)
def test_bad_input_ends_with_two_and_a_line(study, capsys, arguments, words):
    root = study.parent
    (root / "empty").mkdir()
    (root / "t.csv").write_text("m,y,word\n1,1,a\n2,2,b\n4,3,c\n")
    (root / "flat.csv").write_text("m,y\n1,1\n2,1\n4,1\n")
    (root / "void.csv").write_text("")
    for i in range(3):
        analysis(1.0 + i, 0.9).write(root / "same" / f"{i}.json")
        lost = analysis(math.nan if i else math.inf, 0.9 + 0.01 * i)
        replace(lost, measures={"connectivity": replace(lost.measures["connectivity"], groups={})}).write(
            root / "undefined" / f"{i}.json"
        )
    for run in ("runs/a", "runs/b"):
        (root / run).mkdir(parents=True)
        (root / run / "config.yaml").write_text("lr: 0.1\n")
        (root / run / "final.pt").write_bytes(b"")
    (root / "newer.json").write_text(json.dumps({"schema": "landscape.analysis/2"}))
    (root / "no.json").write_text("{")
    (root / "other.json").write_text("[{}]")
    for i in range(3):
        alone = analysis(1.0 + i, 0.9 + 0.01 * i)
        replace(alone, measures={"hessian_trace": alone.measures["hessian_trace"]}).write(root / "traces" / f"{i}.json")
    analysis(1.0, 0.9, model="vgg11").write(root / "mixed.json")
    replace(analysis(1.0, 0.9), checkpoint={}).write(root / "sloppy.json")
    assert main(["correlate", *arguments]) == 2
    out, err = capsys.readouterr()
    assert words in err
    assert "Traceback" not in err
    assert out == ""


def test_mixed_networks_are_correlated_when_allowed_and_told(study, capsys):
    analysis(1.5, 0.89, model="vgg11").write(study / "vgg.json")
    assert main(["correlate", "study", "--allow-mixed"]) == 0
    assert "mixed: network: resnet8, vgg11" in capsys.readouterr().out


def test_a_constant_outcome_is_one_line(tmp_path, capsys):
    for i in range(4):
        analysis(1.0 + i, 0.9).write(tmp_path / f"{i}.json")
    assert main(["correlate", str(tmp_path)]) == 2
    assert "nothing can be correlated with test accuracy: it is the same for all 4 networks." in capsys.readouterr().err
