"""Every figure on ordinary and on hostile values: readable at print size, nothing clipped, nothing overlapping."""

from __future__ import annotations

import math

import matplotlib as mpl
import numpy as np
import pytest
from figure_checks import assert_printable

from landscape.plots.curves import Curve, CurvePanel, ShareStrips, Span, curves_figure
from landscape.plots.density import density_figure
from landscape.plots.distribution import distribution_figure
from landscape.plots.eigenvalues import eigenvalues_figure
from landscape.plots.groups import Bar, Panel, groups_figure
from landscape.plots.margins import margins_figure
from landscape.plots.style import BLUE, RED, svg

NAN = math.nan
ROLES = [
    Bar("conv.weight", 0.274, 0.01, "0.274 ± 0.010", "82.0 %"),
    Bar("norm.beta", 0.0181, 0.002, "0.018 ± 0.002", "5 %"),
]
LAYERS = [Bar(f"layer{i // 4}.{i % 4}.conv1", math.exp(-i / 3), text=f"{math.exp(-i / 3):.3f}") for i in range(10)]
LONG = [Bar(f"encoder.blocks.{i}.attention.query_key_value_projection_[x]#$_$y$", 0.1 * i) for i in range(16)]


def normal(x, at, width):
    return np.exp(-(((x - at) / width) ** 2) / 2) / (width * math.sqrt(2 * math.pi))


X = np.linspace(-9, 105, 800)
DENSITY = normal(X, 0, 1) + 1e-5 * (normal(X, 95.854, 1) + normal(X, -6, 1))
SKEWED = np.random.default_rng(0).lognormal(0, 1.5, 500)
EDGES = np.linspace(0, SKEWED.max(), 41)
COUNTS = np.histogram(SKEWED, EDGES)[0].tolist()
LOG_EDGES = np.geomspace(SKEWED.min(), SKEWED.max(), 41)
LOG_COUNTS = np.histogram(SKEWED, LOG_EDGES)[0].tolist()
MARKS = {"Q1": 0.36, "median": 1.0, "Q3": 2.7, "mean": 3.1}
MARGIN_EDGES = np.arange(-3, 8) * 0.01
MARGIN_COUNTS = [1, 2, 8, 20, 40, 60, 50, 30, 10, 2]

EPOCHS = list(range(40))
FALLING = [2.5 * math.exp(-e / 6) + 1e-4 for e in EPOCHS]
PHASES = [Span("explore", 0, 20), Span("extra", 20, 27), Span("converge", 27, 39)]
MANY = [Curve(f"layer{i}.0.attention_projection_[x]#$_$y$", EPOCHS, [v * (i + 1) for v in FALLING]) for i in range(12)]

FIGURES = {
    "curves": lambda: curves_figure(
        [
            CurvePanel("Loss", [Curve("train", EPOCHS, FALLING), Curve("test", EPOCHS, FALLING)], PHASES, [30, 34]),
            CurvePanel("Rate", [Curve("", EPOCHS, [0.1] * 40)], PHASES, linear=True),
            ShareStrips("Decay", ["bn1.bias", "layer1.0.bn1.bias"], [0, 1, 2, 3], [[0.0, 0.5, 1.0], [NAN, 1.0, 0.0]]),
            CurvePanel("Bands", [Curve("λ₁", EPOCHS, FALLING, error=[0.1] * 40), Curve("edge", EPOCHS, [3.0] * 40)]),
            CurvePanel("Margins", [Curve("median", EPOCHS, FALLING, band=(FALLING, [v + 1 for v in FALLING]))]),
        ],
        note="Bands: ± one standard error.",
    ),
    "curves, long names": lambda: curves_figure(
        [CurvePanel("A title that is longer than its panel is wide " * 2, MANY)]
    ),
    "curves, hostile": lambda: curves_figure(
        [
            CurvePanel("Not a number", [Curve("a", [0, 1], [NAN, NAN])]),
            CurvePanel("One point", [Curve("a", [3], [0.0])]),
            CurvePanel(
                "Huge and tiny", [Curve("a", [0, 1, 2], [1e-12, 0.0, 3e14]), Curve("b", [0, 1], [math.inf, 1.0])]
            ),
            CurvePanel("Signs", [Curve("a", [0, 1, 2], [-2.5e-7, 0.0, 1.25e-7])]),
            CurvePanel("Nothing", []),
        ]
    ),
    "curves, none": lambda: curves_figure([]),
    "roles": lambda: groups_figure([Panel("By role", ROLES)], label="C"),
    "roles and layers": lambda: groups_figure([Panel("By role", ROLES), Panel("By layer", LAYERS)], label="part of C"),
    "half": lambda: groups_figure([Panel("By role", ROLES)], label="C", width=3.1),
    "one bar": lambda: groups_figure([Panel("By role", [Bar("all", 1e-9)])], label="C"),
    "one value of zero": lambda: groups_figure([Panel("By role", [Bar("all", 0.0)])], label="C"),
    "long names": lambda: groups_figure([Panel("By role", ROLES), Panel("By layer", LONG)], label="C"),
    "signs": lambda: groups_figure([Panel("By role", [Bar("a", -3.0, 5.0), Bar("b", 7.0, 1.0)])], label="tr H"),
    "huge": lambda: groups_figure([Panel("By role", [Bar("a", 3e12), Bar("b", 2e-12)])], label="C"),
    "not a number": lambda: groups_figure([Panel("By role", [Bar("a", NAN, NAN), Bar("b", 2.0, NAN)])], label="C"),
    "all not a number": lambda: groups_figure([Panel("By role", [Bar("a", NAN)])], label="C"),
    "eigenvalues": lambda: eigenvalues_figure([95.8, 84.7, 64.9], [0.01, 0.3, 2.0], lowest=(-8.3, 0.4), width=3.1),
    "eigenvalues, many": lambda: eigenvalues_figure(list(range(100, 60, -1)), [0.1] * 40, lowest=(-8.3, 0.4)),
    "eigenvalues, none lowest": lambda: eigenvalues_figure([NAN, 2.0], [NAN, 0.1]),
    "density": lambda: density_figure(
        X, DENSITY, eigenvalues=[95.854, 84.702, 64.943], most_negative=-8.31, parameters=269722, sigma=1.0
    ),
    "density, crowded": lambda: density_figure(X, DENSITY, eigenvalues=[95.9, 95.8, 95.7, 95.6, 95.5, 95.4], sigma=1.0),
    "density, plain": lambda: density_figure(X, DENSITY),
    "density, outside the curve": lambda: density_figure(X, DENSITY, eigenvalues=[300.0], most_negative=-200.0),
    "density, positive": lambda: density_figure(X + 10, DENSITY),
    "density, holes": lambda: density_figure([0.0, 1.0, 2.0, 3.0], [0.1, NAN, 0.0, 0.2], eigenvalues=[NAN]),
    "density, none": lambda: density_figure([0.0, 1.0], [NAN, 0.0]),
    "distribution": lambda: distribution_figure(EDGES.tolist(), COUNTS, label="norm", marks=MARKS),
    "distribution, logarithmic": lambda: distribution_figure(LOG_EDGES.tolist(), LOG_COUNTS, label="norm", marks=MARKS),
    "distribution, crowded": lambda: distribution_figure([0.0, 1.0, 2.0, 1e4], [900, 3, 1], label="norm", marks=MARKS),
    "distribution, unknown": lambda: distribution_figure([0.0, 1.0], [3], label="norm", marks={"mean": NAN, "Q1": 0.5}),
    "distribution, none": lambda: distribution_figure([0.0, 1.0], [0], label="norm", marks={"mean": NAN}),
    "margins": lambda: margins_figure(
        MARGIN_EDGES.tolist(),
        MARGIN_COUNTS,
        quartiles={"Q1": 0.012, "median": 0.0211, "Q3": 0.03},
        fences=(-0.01, 0.055),
        misclassified=0.0493,
    ),
    "margins, narrow": lambda: margins_figure(
        [0.0, 0.5, 1.0], [4, 4], quartiles={"Q1": 0.5, "median": 0.5, "Q3": 0.5}, fences=(0.5, 0.5), misclassified=0.0
    ),
    "margins, unknown": lambda: margins_figure(
        [-1.0, 0.0, 1.0], [1, 1], quartiles={"Q1": NAN}, fences=(NAN, NAN), misclassified=NAN
    ),
}


@pytest.mark.parametrize("name", FIGURES)
def test_printable_and_the_same_every_time(name):
    assert_printable(FIGURES[name]())
    image = svg(FIGURES[name]())
    assert image == svg(FIGURES[name]())
    assert b"<text" not in image, "text must be outlines: the reader's machine may lack the font"
    assert b"<dc:date>" not in image


def test_settings_of_the_caller_are_left_alone():
    before = dict(mpl.rcParams)
    svg(FIGURES["density"]())
    assert dict(mpl.rcParams) == before


def test_long_names_are_whole():
    words = "".join(assert_printable(FIGURES["long names"]())).replace("\n", "")
    for bar in LONG:
        assert bar.name in words


def test_not_a_number_is_said_and_not_drawn():
    figure = FIGURES["not a number"]()
    assert "NaN" in assert_printable(figure)
    (axes,) = figure.axes
    assert len([patch for patch in axes.patches if patch.get_width() != 0]) == 1


def test_a_band_lies_within_its_axes():
    curve = Curve("a", [0, 1, 2], [1.0, 1.1, math.nan], BLUE, error=[0.5, math.inf, 0.2])
    low, high = curves_figure([CurvePanel("a", [curve])]).axes[0].get_ylim()
    assert low < 0.5 < 1.5 < high < 2


def test_error_bars_have_the_length_of_the_error():
    (axes,) = groups_figure([Panel("By role", [Bar("a", 3.0, 0.5)])], label="C").axes
    (segment,) = axes.collections[0].get_segments()
    assert segment[:, 0].tolist() == [2.5, 3.5]


def test_negative_values_go_left_in_red():
    (axes,) = FIGURES["signs"]().axes
    left, right = (patch for patch in axes.patches)
    assert left.get_x() + left.get_width() == -3.0
    assert (mpl.colors.to_hex(left.get_facecolor()), mpl.colors.to_hex(right.get_facecolor())) == (
        RED.lower(),
        BLUE.lower(),
    )


def test_misclassified_bars_are_red_and_the_shares_are_told():
    figure = FIGURES["margins"]()
    words = assert_printable(figure)
    assert "misclassified 4.93 %" in words
    assert "correct 95.07 %" in words
    bars = figure.axes[0].patches
    for bar in bars:
        colour = RED if bar.get_x() + bar.get_width() <= 1e-12 else BLUE
        assert mpl.colors.to_hex(bar.get_facecolor()) == colour.lower()
    assert [bar.get_height() for bar in bars] == MARGIN_COUNTS


def test_density_floor_keeps_a_single_eigenvalue_visible():
    parameters, sigma = 269722, 1.0
    axes = FIGURES["density"]().axes[0]
    peak_of_one = 1 / (parameters * sigma * math.sqrt(2 * math.pi))
    floor, top = axes.get_ylim()
    assert floor == pytest.approx(peak_of_one / 10)
    assert top > DENSITY.max()
    assert axes.get_xlim()[0] < -8.31


def test_edges_must_fit_counts():
    with pytest.raises(ValueError, match="one edge more"):
        distribution_figure([0.0, 1.0], [1, 2], label="norm", marks={})
