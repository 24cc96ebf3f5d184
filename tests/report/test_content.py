"""What the report says: sums by role and layer, names of checkpoints, the numbers of the tables."""

from __future__ import annotations

import math

import pytest
from sample_analysis import resnet_tensors, synthetic_analysis

from landscape.records import Record
from landscape.report.content import content, short_names
from landscape.report.structure import panels, sums_by

TENSORS = [
    {"name": "a.weight", "role": "linear.weight", "layer": "a", "size": 6},
    {"name": "a.bias", "role": "linear.bias", "layer": "a", "size": 2},
    {"name": "n.weight", "role": "norm.gamma", "layer": "n", "size": 2},
    {"name": "b.weight", "role": "linear.weight", "layer": "b", "size": 4},
]
VALUES = {"a.weight": 1.0, "a.bias": 0.25, "n.weight": 0.5, "b.weight": 2.0}


@pytest.mark.parametrize(
    ("key", "values", "expected"),
    [
        ("role", VALUES, {"norm.gamma": 0.5, "linear.weight": 3.0, "linear.bias": 0.25}),
        ("layer", VALUES, {"a": 1.25, "n": 0.5, "b": 2.0}),
        ("layer", {"a.bias": 0.25}, {"a": 0.25}),
        ("layer", {}, {}),
    ],
)
def test_sums_by(key, values, expected):
    sums = sums_by(key, TENSORS, values)
    assert sums == expected
    assert list(sums) == list(expected)


def test_an_undefined_tensor_makes_its_sum_undefined():
    assert math.isnan(sums_by("layer", TENSORS, {**VALUES, "a.bias": None})["a"])


def test_many_groups_become_the_largest_and_the_others():
    values = {f"layer{i}": float(v) for i, v in enumerate((1, 9, 2, 8, 3, 7))}
    (panel,) = panels([("By layer", values)], total=30.0, additive=True, most=3)
    assert [(bar.name, bar.value, bar.rest) for bar in panel.bars] == [
        ("layer1", 9.0, False),
        ("layer3", 8.0, False),
        ("layer5", 7.0, False),
        ("3 others", 6.0, True),
    ]
    assert [bar.share for bar in panel.bars] == ["30.0 %", "26.7 %", "23.3 %", "20.0 %"]
    assert "3 of 6" in panel.title


def test_groups_that_do_not_add_have_no_others_and_no_share():
    values = {f"layer{i}": float(i) for i in range(5)}
    (panel,) = panels([("By layer", values)], total=10.0, additive=False, most=3)
    assert [bar.name for bar in panel.bars] == ["layer2", "layer3", "layer4"]
    assert {bar.share for bar in panel.bars} == {""}


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["/runs/a/final.pt"], ["final.pt"]),
        (["/runs/a/final.pt", "/runs/b/final.pt"], ["a/final.pt", "b/final.pt"]),
        (["/x/a/final.pt", "/y/a/final.pt", "/y/a/0.pt"], ["x/a/final.pt", "y/a/final.pt", "0.pt"]),
        (["a.pt", "a.pt"], ["a.pt (1)", "a.pt (2)"]),
        (["a.pt", "x/a.pt"], ["a.pt", "x/a.pt"]),
    ],
)
def test_short_names(paths, names):
    assert short_names(paths) == names


def test_summary_tells_value_errors_and_what_was_skipped():
    (said,) = content([synthetic_analysis(replace={"margin": Record.skip("no classes")})], None)["analyses"]
    rows = {row["name"]: row for row in said["summary"]}
    assert (rows["hessian_trace"]["value"], rows["hessian_trace"]["stderr"]) == ("2431", "32")
    assert rows["hessian_trace"]["sampling"] == "120"
    assert rows["connectivity"]["stderr"] == "0"
    assert rows["spectral_density"]["converged"] is False
    assert rows["margin"]["skipped"] == "no classes"
    assert "margin" not in {measure["name"] for measure in said["measures"]}
    notes = {measure["name"]: measure["notes"] for measure in said["measures"]}
    assert [name for name in notes if notes[name]] == ["spectral_density"]


def test_facts_tell_where_the_numbers_come_from():
    (said,) = content([synthetic_analysis()], None)["analyses"]
    facts = {fact["name"]: fact["text"].replace("\u200b", "") for fact in said["facts"]}
    assert facts["SHA-256"] == "3c1d09b6" * 8
    assert facts["Samples"] == "512 of 10,000 (chosen: first:512, seed 0)"
    assert facts["Accuracy on them"] == "91.73 %"
    assert facts["Checkpoint"].endswith("resnet20-cifar10.th")
    assert "test accuracy 91.73 %" in facts["Recorded in it"]


def test_tables_hold_every_layer_and_their_parameters():
    (said,) = content([synthetic_analysis()], None)["analyses"]
    (table,) = said["tables"]
    layers = list(dict.fromkeys(t["layer"] for t in resnet_tensors()))
    assert [row[0].replace("\u200b", "") for row in table["rows"]] == layers
    assert table["head"] == [
        "Parameters",
        "Hessian trace",
        "Connectivity sharpness",
        "Connectivity sharpness of batches",
    ]
    assert table["rows"][0][1] == "432"
    assert said["first"]["title"] == "By role"


def test_comparison_has_a_column_a_checkpoint():
    analyses = [synthetic_analysis(path=f"{x}.pt", scale=s, only=("connectivity",)) for s, x in enumerate("abcd", 1)]
    first, second = content(analyses, None)["comparisons"]
    assert [name.replace("\u200b", "") for name in first["head"]] == ["a.pt", "b.pt", "c.pt"]
    assert [name.replace("\u200b", "") for name in second["head"]] == ["d.pt", "", ""]
    assert first["rows"][-1] == ["Connectivity sharpness", "0.3342", "0.6684", "1.003"]
