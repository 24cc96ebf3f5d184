"""Scatter plots on ordinary and on hostile points: readable at print size, nothing clipped, nothing overlapping."""

from __future__ import annotations

import math

import numpy as np
import pytest
from figure_checks import assert_printable

from landscape.plots.labels import place_names
from landscape.plots.scatter import ScatterPanel, scatter_figure
from landscape.plots.style import svg

RNG = np.random.default_rng(2)


def panel(n, *, log=True, names=None, x=None, y=None, title="Connectivity sharpness: norm.beta"):
    x = np.exp(RNG.normal(0, 2, n)) if x is None else np.asarray(x, dtype=float)
    y = 0.9 + RNG.normal(0, 0.01, n) if y is None else np.asarray(y, dtype=float)
    places = np.geomspace(x.min(), x.max(), 9) if log else np.linspace(x.min(), x.max(), 9)
    line = np.full(9, float(y.mean()))
    return ScatterPanel(
        title=title,
        words="R² = 0.91 [0.80, 0.96], τ = −0.71, n = 9",
        x=x.tolist(),
        y=y.tolist(),
        names=[f"run{i}" for i in range(n)] if names is None else names,
        line=(places.tolist(), line.tolist(), (line - 0.01).tolist(), (line + 0.01).tolist()),
        log=log,
        label="loss per squared parameter",
    )


FIGURES = {
    "nine": lambda: scatter_figure([panel(9) for _ in range(3)], label="test accuracy", note="Bands: 95 %."),
    "plain values": lambda: scatter_figure([panel(3, log=False)], label="test accuracy"),
    "forty": lambda: scatter_figure([panel(40), panel(40)], label="generalisation gap (train − test accuracy)"),
    "thousand": lambda: scatter_figure([panel(1000)], label="test accuracy", note="Bands: 95 %. " * 20),
    "long names": lambda: scatter_figure(
        [panel(7, names=[f"lr=0.05,weight_decay=0.001,batch_size={i}/$_$" for i in range(7)], title="A title " * 20)],
        label="a very long name of a column that somebody chose for the target",
    ),
    "all at one place": lambda: scatter_figure([panel(9, x=[3.0] * 8 + [3.1], y=[0.9] * 8 + [0.91])], label="y"),
    "huge and tiny": lambda: scatter_figure(
        [panel(3, x=[1e-12, 1.0, 3e14]), panel(3, log=False, x=[-2.5e-7, 0.0, 1e-7], y=[0.0, 1e9, 2e9])], label="y"
    ),
    "nothing": lambda: scatter_figure([], label="y"),
}


@pytest.mark.parametrize("name", FIGURES)
def test_it_is_printable(name):
    assert_printable(FIGURES[name]())


def test_few_points_carry_their_names_and_more_a_number_with_a_key():
    words = assert_printable(scatter_figure([panel(4, x=[1, 10, 100, 1000], y=[4, 3, 2, 1])], label="y"))
    assert {"run0", "run1", "run2", "run3"} <= set(words)
    words = assert_printable(scatter_figure([panel(20)], label="y"))
    assert {f"{i + 1}  run{i}" for i in range(20)} <= set(words)
    assert "1000 points: too many to name." in " ".join(assert_printable(FIGURES["thousand"]()))


def test_the_points_are_where_they_belong():
    (axes,) = scatter_figure([panel(3, x=[1, 10, 100], y=[3, 2, 1])], label="y").axes
    np.testing.assert_allclose(axes.collections[-1].get_offsets(), [[1, 3], [10, 2], [100, 1]])
    assert axes.get_xscale() == "log"


@pytest.mark.parametrize("factor", [1.05, 2, 5, 8, 20, 300, 1e9])
@pytest.mark.parametrize("start", [1.1, 3.3, 0.052])
def test_a_logarithmic_axis_has_two_ticks_at_least(factor, start):
    (axes,) = scatter_figure([panel(3, x=[start, start * factor**0.5, start * factor])], label="y").axes
    low, high = axes.get_xlim()
    ticks = [tick for tick in axes.get_xticks() if low <= tick <= high]
    assert 2 <= len(ticks) <= 7


def test_the_same_values_give_the_same_bytes():
    made = [panel(9)]
    assert svg(scatter_figure(made, label="y")) == svg(scatter_figure(made, label="y"))


def test_names_stand_apart():
    frame = (0.0, 0.0, 2.0, 2.0)
    points = [(1.0, 1.0), (1.05, 1.0), (1.0, 1.05), (0.02, 0.02)]
    boxes = place_names(points, [(0.3, 0.12)] * 4, frame, radius=0.03)
    found = [box for box in boxes if box is not None]
    assert len(found) == 4
    for i, one in enumerate(found):
        assert one[0] >= 0
        assert one[1] >= 0
        for other in found[:i]:
            assert one[0] >= other[2] or other[0] >= one[2] or one[1] >= other[3] or other[1] >= one[3]
    assert place_names([(1.0, 1.0)], [(3.0, 0.1)], frame, radius=0.03) == [None]
    assert math.isclose(found[0][2] - found[0][0], 0.3)
