"""Sums by role and by layer, and the bars that show them."""

from __future__ import annotations

import math

import pytest

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
