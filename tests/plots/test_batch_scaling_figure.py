"""Figures of gradients against batch size and of ratios under reparameterisations, as they are printed."""

from __future__ import annotations

import math

import pytest
from figure_checks import assert_printable

from landscape.plots.batch_scaling import Law, ScalingPanel, batch_scaling_figure
from landscape.plots.invariance import RatioPanel, invariance_figure

DOUBLING = [32 * 2**k for k in range(11)]


def panel(sizes: list[int], scale: float = 1.0, mark: tuple[float, float] | None = None) -> ScalingPanel:
    values = [scale * n**-0.5 for n in sizes]
    laws = [Law("fitted power law", values, dashed=False), Law("noise alone, σ√(2/(πn)): exponent −0.5", values)]
    errors = [0.2 * value for value in values]
    words = ["exponent −0.50, 95% interval −0.60 to −0.40"]
    return ScalingPanel("Mean gradient (CB figure 3)", words, "η E|gᵢ|", sizes, values, errors, laws, mark, "S/|G|²")


@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize("sizes", [[32, 1437], [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 1437], [*DOUBLING, 50000]])
@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e7])
def test_scaling_is_printable(count: int, sizes: list[int], scale: float) -> None:
    panels = [panel(sizes, scale, mark) for mark in [None, (40.0, 10.0), (1000.0, math.nan), (1e9, 1.0)][:count]]
    words = assert_printable(batch_scaling_figure(panels, note="75,002 parameters, 1,437 samples."))
    assert f"{sizes[-1]:,}" in words


def test_scaling_without_a_value_says_so() -> None:
    empty = ScalingPanel("nothing", [], "y", [1, 2], [0.0, math.nan], [0.0, 0.0])
    assert "no value above 0" in assert_printable(batch_scaling_figure([empty]))
    assert_printable(batch_scaling_figure([]))


RATIOS = {
    "all the same": [[1.0, 1.0, 1.0]] * 3,
    "decades": [[1.0, 1.0, 1.0], [0.7, 2.4, 47.0], [1e-4, 3e3, 2.0]],
    "below": [[1.0, 1.0, 1.0], [0.9, 0.5, 0.01], [math.nan, -1.0, 0.2]],
}


@pytest.mark.parametrize("ratios", RATIOS)
@pytest.mark.parametrize("count", [1, 2, 3])
def test_ratios_are_printable(ratios: str, count: int) -> None:
    marks = ["c = 0.5", "c = 2", "c = 10"]
    found = RATIOS[ratios]
    errors = [[0.0, 0.1, 0.3 * abs(row[2])] for row in found]
    verdicts = ["unchanged", "", "unresolved"]
    one = RatioPanel("ρ: units", ["88 of 176 units,", "outputs ± 8.9×10⁻¹⁵"], marks, found, errors, verdicts)
    rows = ["Normalised input margins", "Connectivity sharpness of batches", "Spectral density of the Hessian"]
    figure = invariance_figure(rows, ["on the function alone", "", "on the parameters"], [one] * count, label="ratio")
    words = assert_printable(figure)
    assert words.count("unchanged") == count
    assert all(mark in words for mark in marks)


def test_no_ratio_is_said() -> None:
    assert "no ratio" in assert_printable(invariance_figure([], [], [], label="ratio"))[0]
