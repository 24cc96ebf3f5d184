from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from landscape.plots.style import power_of_ten, spread, text_width, wrap_name


@given(st.lists(st.tuples(st.floats(0, 10), st.floats(0.1, 0.9)), min_size=1, max_size=8))
def test_spread_never_overlaps_nor_leaves_the_line(labels):
    places = sorted(place for place, _ in labels)
    widths = [width for _, width in labels]
    centres = spread(places, widths, 0.0, 10.0)
    ends = [(c - w / 2, c + w / 2) for c, w in zip(centres, widths, strict=True)]
    assert all(low >= -1e-9 and high <= 10 + 1e-9 for low, high in ends)
    assert all(after[0] >= before[1] - 1e-9 for before, after in itertools.pairwise(ends))


@pytest.mark.parametrize(
    ("places", "widths", "expected"),
    [
        ([2.0, 8.0], [1.0, 1.0], [2.0, 8.0]),
        ([5.0, 5.0], [1.0, 1.0], [4.5, 5.5]),
        ([0.0], [2.0], [1.0]),
        ([10.0, 10.0], [1.0, 1.0], [8.5, 9.5]),
        ([], [], []),
    ],
)
def test_spread_moves_as_little_as_it_must(places, widths, expected):
    assert spread(places, widths, 0.0, 10.0) == pytest.approx(expected)


@given(st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), min_size=1, max_size=120))
def test_wrapped_names_are_whole_and_fit(name):
    lines = wrap_name(name, 1.0)
    assert "".join(lines) == name
    assert all(text_width(line) <= 1.0 for line in lines)


def test_names_break_after_a_separator():
    lines = wrap_name("encoder.layers.11.attention.projection", text_width("encoder.layers.11.att"))
    assert lines[0] == "encoder.layers.11."


@pytest.mark.parametrize(("value", "text"), [(1e-3, "10⁻³"), (1.0, "10⁰"), (1e12, "10¹²"), (2e-3, ""), (0.0, "")])
def test_power_of_ten(value, text):
    assert power_of_ten(value) == text
