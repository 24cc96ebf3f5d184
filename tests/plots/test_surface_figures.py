"""Figures of surfaces: readable on paper, not transposed, holes where there is no number."""

import numpy as np
import pytest
from figure_checks import assert_printable
from matplotlib.collections import QuadMesh
from matplotlib.contour import QuadContourSet

from landscape.plots.slice_curve import slice_figure
from landscape.plots.surface import Path, contour_figure, relief_figure

X, Y = np.linspace(-1, 1, 7), np.linspace(-3, 3, 11)
VALUES = 0.01 + X[None, :] ** 2 + 10 * (Y[:, None] + 3)  # grows with y, hardly with x
LABELS = {
    "value_label": "mean cross-entropy",
    "x_label": "random direction 1, filter-normalised; 1 is ‖Δθ‖ = 15.58",
    "y_label": "random direction 2, filter-normalised; 1 is ‖Δθ‖ = 15.58",
}
PATH = Path(np.array([[0.9, 2.0], [0.0, 0.5], [0.0, 0.0]]), ["epoch 0", "epoch 1", "end"], "training")


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("path", [None, PATH])
@pytest.mark.parametrize("equal", [False, True])
def test_contours_are_printable(log, path, equal):
    for y in (Y, Y / 9):
        figure = contour_figure(X, y, VALUES, log=log, path=path, equal=equal, note="A note.", **LABELS)
        words = assert_printable(figure)
        assert ("end" if path else "checkpoint") in words


def test_a_row_is_a_place_along_y():
    figure = contour_figure(X, Y, VALUES, **LABELS)
    (lines,) = [c for c in figure.axes[0].collections if isinstance(c, QuadContourSet) and not c.filled]
    longest = max((path for path in lines.get_paths() if len(path.vertices)), key=lambda path: len(path.vertices))
    across, up = np.ptp(longest.vertices, axis=0)
    assert across > 1.9, "a line of one value goes along x"
    assert up < 0.2


def test_holes_stay_empty():
    values = VALUES.copy()
    values[4:7, 2:5] = np.nan
    values[0, 0] = np.inf
    figure = contour_figure(X, Y, values, **LABELS)
    filled = next(c for c in figure.axes[0].collections if isinstance(c, QuadContourSet) and c.filled)
    assert not isinstance(filled, QuadMesh)
    assert not any(path.contains_point((X[3], Y[5])) for path in filled.get_paths())
    assert any(path.contains_point((X[5] + 0.05, Y[8] + 0.1)) for path in filled.get_paths())
    relief_figure(X, Y, values, log=True, **LABELS)


@pytest.mark.parametrize("values", [np.full((11, 7), np.nan), -VALUES])
def test_nothing_to_draw_is_said(values):
    words = assert_printable(contour_figure(X, Y, values, log=True, **LABELS))
    assert "nothing to draw" in words[0]


@pytest.mark.parametrize("constant", [0.0, 2.5])
def test_a_flat_surface_is_drawn(constant):
    assert_printable(contour_figure(X, Y, np.full((11, 7), constant), **LABELS))


@pytest.mark.parametrize("log", [False, True])
def test_a_relief_is_printable(log):
    assert_printable(relief_figure(X, Y, VALUES, log=log, note="A note.", **LABELS))


@pytest.mark.parametrize("log", [False, True])
def test_curves_are_printable_and_have_gaps(log):
    loss, accuracy = X**2 + 0.1, 1 - X**2 / 2
    loss[3] = np.nan
    figure = slice_figure(X, loss, accuracy, x_label=LABELS["x_label"], log=log, marks=(0.0, 1.0), note="A note.")
    assert_printable(figure)
    drawn = next(line for line in figure.axes[0].lines if len(line.get_xdata()) == len(X))
    assert np.isnan(drawn.get_ydata()[3])
    alone = slice_figure(X, loss, np.full(7, np.nan), x_label="x")
    assert len(alone.axes) == 1
