"""Networks side by side on ordinary and on hostile values: readable at print size, nothing clipped or overlapping."""

from __future__ import annotations

import math

import numpy as np
import pytest
from figure_checks import assert_printable

from landscape.plots.dots import DotPanel, dots_figures
from landscape.plots.style import svg

NAN = math.nan
RNG = np.random.default_rng(5)
NINE = [f"weight-decay-{i}" for i in range(9)]


def panel(count, *, scale=1.0, wide=0.3, error=0.02, title="Connectivity sharpness of batches"):
    values = scale * np.exp(RNG.normal(0, wide, count))
    return DotPanel(title, values.tolist(), (error * values).tolist())


CASES = {
    "nine": lambda: (NINE, [panel(9) for _ in range(9)]),
    "two": lambda: (["a", "b"], [panel(2, error=0.0), panel(2), panel(2), panel(2)]),
    "tiny and huge": lambda: (NINE, [panel(9, scale=1e-12), panel(9, scale=3e14), panel(9, wide=9)]),
    "decades": lambda: (NINE, [panel(9, wide=w, scale=10.0**e) for w, e in ((2, -5), (3, 0), (4, 5))]),
    "signs": lambda: (["a", "b", "c"], [DotPanel("tr H", [-2.5, 0.0, 1.25], [0.1, 0.2, 5.0])]),
    "all the same": lambda: (["a", "b"], [DotPanel("tr H", [0.0] * 2, [0.0] * 2), DotPanel("C", [7.0] * 2, [0.0] * 2)]),
    "unknown": lambda: (["a", "b"], [DotPanel("tr H", [NAN, NAN], [NAN, NAN]), DotPanel("C", [1.0, NAN], [0.1, NAN])]),
    "long names": lambda: (
        [f"optimizer=sgd,lr=0.05,weight_decay=0.001,batch_size={i}/$_$" for i in range(4)],
        [panel(4, title="A title of a measure that takes more than the two lines that it has room for")],
    ),
    "nothing": lambda: ([], []),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_it_is_printable(name):
    for figure in dots_figures(*CASES[name]()):
        assert_printable(figure)


def test_many_measures_take_several_figures_and_none_is_lost():
    panels = [panel(9, title=f"m{i}") for i in range(33)]
    figures = dots_figures(NINE, panels, tallest=8.5)
    assert len(figures) > 1
    assert all(figure.get_figheight() <= 8.5 for figure in figures)
    words = [word for figure in figures for word in assert_printable(figure)]
    assert [word for word in words if word.startswith("m")] == [f"m{i}" for i in range(33)]
    assert words.count(NINE[0]) == 11


def test_the_same_values_give_the_same_bytes():
    panels = [DotPanel("C", [1.0, 2.0], [0.1, 0.2])]
    assert svg(dots_figures(["a", "b"], panels)[0]) == svg(dots_figures(["a", "b"], panels)[0])
