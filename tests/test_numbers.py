from __future__ import annotations

import math
import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from landscape.numbers import (
    format_coefficient,
    format_column,
    format_count,
    format_error,
    format_exactness,
    format_measured,
    format_plain,
    format_rounded,
    format_share,
    format_short,
    format_value,
    format_z,
    rewritten,
)

NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    ("value", "stderr", "text"),
    [
        (243.13, 3.24, "243.1 ± 3.2"),
        (-243.13, 3.24, "−243.1 ± 3.2"),
        (2.431e-5, 3.2e-7, "(2.431 ± 0.032)×10⁻⁵"),
        (1234567.0, 23456.0, "(1.235 ± 0.023)×10⁶"),
        (12345.6, 321.0, "12350 ± 320"),
        (0.3, 12.0, "0 ± 12"),
        (-0.3, 12.0, "0 ± 12"),
        (0.0, 0.5, "0.00 ± 0.50"),
        (0.1, 0.00996, "0.100 ± 0.010"),
        (12345.0, 99999.0, "10000 ± 100000"),
        (5.0, 1e12, "(0.0 ± 1.0)×10¹²"),
        (95.854, 1e-9, "95.85400 ± 1.0×10⁻⁹"),
        (0.33421, 0.0, "0.3342"),
        (0.33421, NAN, "0.3342"),
        (999.96, NAN, "1000"),
        (123456.0, NAN, "123500"),
        (999999.6, NAN, "1.000×10⁶"),
        (0.00099999, NAN, "0.001000"),
        (0.0, 0.0, "0"),
        (-0.0, NAN, "0"),
        (NAN, 1.0, "NaN"),
        (INF, 1.0, "∞"),
        (-INF, NAN, "−∞"),
        (1.0, INF, "1.000"),
        (1e-300, NAN, "1.000×10⁻³⁰⁰"),
    ],
)
def test_format_value(value, stderr, text):
    assert format_value(value, stderr) == text


def read(text: str) -> float:
    """The number that a text says; the reverse of the formatting, written independently of it."""
    powers = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")
    found = re.fullmatch(r"\(?(−?[\d.]+)(?: ± [\d.]+)?\)?(?:×10([⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+))?", text)
    assert found, text
    return float(found[1].replace("−", "-")) * 10.0 ** int((found[2] or "0").translate(powers))


@given(st.floats(-1e12, 1e12), st.floats(1e-9, 1e9))
def test_rounding_stays_within_a_tenth_of_the_error(value, stderr):
    assume(abs(value) < 1e5 * stderr)
    assert read(format_value(value, stderr)) == pytest.approx(value, abs=0.1 * stderr)


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=-1e300, max_value=1e300))
def test_four_digits_without_an_error(value):
    assume(value == 0 or abs(value) > 1e-290)
    assert read(format_value(value)) == pytest.approx(value, rel=5.1e-4)


@given(st.floats(allow_nan=True, allow_infinity=True), st.floats(allow_nan=True, allow_infinity=True))
def test_no_value_is_refused(value, stderr):
    for text in (format_value(value, stderr), format_rounded(value, stderr), format_error(stderr)):
        assert text
        assert "E" not in text
    assert len(format_column([value, 1.0], [stderr, NAN])) == 2


@pytest.mark.parametrize(
    ("value", "stderr", "text"),
    [
        (243.13, 3.24, "243.1"),
        (2.431e-5, 3.2e-7, "2.431×10⁻⁵"),
        (0.3, 12.0, "0"),
        (0.33421, 0.0, "0.3342"),
        (NAN, 1, "NaN"),
    ],
)
def test_format_rounded(value, stderr, text):
    assert format_rounded(value, stderr) == text


@pytest.mark.parametrize(
    ("values", "errors", "texts"),
    [
        ([895.13, 22.61, -3.1], None, ["895.1", "22.6", "−3.1"]),
        ([895.13, 22.61, -3.1], [36.0, 1.1, 0.3], ["895.1 ± 36.0", "22.6 ± 1.1", "−3.1 ± 0.3"]),
        ([895.13, 22.61], [36.0, 11.0], ["895 ± 36", "23 ± 11"]),
        ([0.09226, 4e-6, 0.0], None, ["0.09226", "4×10⁻⁶", "0"]),
        ([3.4e9, 1.2e8, 0.0], None, ["3.400×10⁹", "0.120×10⁹", "0"]),
        ([3.4e9], [2e7], ["(3.400 ± 0.020)×10⁹"]),
        ([NAN, 1.0, INF], None, ["NaN", "1.000", "∞"]),
        ([NAN], None, ["NaN"]),
        ([0.0, 0.0], None, ["0", "0"]),
        ([], None, []),
    ],
)
def test_format_column(values, errors, texts):
    assert format_column(values, errors) == texts


@pytest.mark.parametrize(
    ("function", "value", "text"),
    [
        (format_error, 3.24, "3.2"),
        (format_error, 0.000314, "3.1×10⁻⁴"),
        (format_error, 0.0, "0"),
        (format_error, NAN, "NaN"),
        (format_short, 43.21, "43.2"),
        (format_short, 2 / 3, "0.667"),
        (format_share, 0.9173, "91.73 %"),
        (format_share, NAN, "NaN"),
        (format_count, 269722, "269,722"),
        (format_count, NAN, "NaN"),
        (format_share, -0.0312, "−3.12 %"),
        (format_count, -1234, "−1,234"),
        (format_exactness, 0.0, "exact"),
        (format_exactness, NAN, "–"),
        (format_exactness, 0.000314, "3.1×10⁻⁴"),
        (rewritten, "eigenvector 3, λ = -0.3", "eigenvector 3, λ = −0.3"),
        (rewritten, "-1.2e-05 ± 3e-06 (2 of 4)", "−1.2×10⁻⁵ ± 3×10⁻⁶ (2 of 4)"),
        (rewritten, "resnet-20 layer1.0 0.weight 1e5-b v-2", "resnet-20 layer1.0 0.weight 1e5-b v-2"),
        (format_z, 2.14, "+2.1"),
        (format_z, -2.14, "−2.1"),
        (format_z, -1234567.0, "−1.23×10⁶"),
        (format_z, INF, "exact"),
        (format_z, NAN, "–"),
        (format_coefficient, -0.4567, "−0.46"),
        (format_coefficient, NAN, "–"),
        (format_plain, 0.05, "0.05"),
        (format_plain, -1.5e-7, "−1.5×10⁻⁷"),
        (format_plain, 0, "0"),
        (format_plain, NAN, "NaN"),
    ],
)
def test_other_numbers(function, value, text):
    assert function(value) == text


@pytest.mark.parametrize(
    ("value", "stderr", "text"),
    [
        (243.13, 3.24, "243.1 ± 3.2"),
        (-41.506, 0.0, "−41.51 exact"),
        (41.506, NAN, "41.51 ± –"),
        (41.506, INF, "41.51 ± ∞"),
        (NAN, 0.0, "–"),
        (NAN, NAN, "–"),
        (INF, NAN, "∞ ± –"),
    ],
)
def test_a_measured_value_says_how_sure_it_is(value, stderr, text):
    assert format_measured(value, stderr) == text
