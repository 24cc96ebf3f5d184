"""Numbers as text, with as many digits as their error allows, wherever people read them: terminal, reports, figures.

A value with a standard error is rounded to the second significant digit of the error: 243.1 ± 3.2. Values of
10^6 and more, or below 10^-3, are written with a power of ten: (2.431 ± 0.032)×10⁻⁵.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from decimal import ROUND_HALF_EVEN, Context, Decimal

DIGITS = 4
"""Significant digits of a value that has no error to say how many it deserves."""

MINUS = "−"
"""The sign of negative numbers for people, not the hyphen; documents for programs are not written here."""

EXACT, UNKNOWN = "exact", "–"
"""The words for a standard error of 0 and for one that is not known."""

MOST_DIGITS = 7
"""No value is written with more significant digits than this, however small its error."""

_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_NUMBER = re.compile(r"(?<![\w.\-])(?P<number>-?\d+(?:\.\d+)?)(?:e(?P<exponent>[+-]\d+))?(?![\w\-])")
_PLAIN = range(-3, 6)


def format_value(value: float, stderr: float = math.nan, *, digits: int = DIGITS) -> str:
    """Write `value`, with its standard error when that is positive and finite.

    An error of 0 (exact) or NaN (unknown) is not written and leaves `digits` significant digits. A value that
    its error drowns keeps the place of the error: 0 ± 12. NaN is written NaN, infinities ∞ and −∞.
    """
    if not (math.isfinite(value) and math.isfinite(stderr) and stderr > 0):
        return format_rounded(value, stderr, digits=digits)
    number, last, exponent = _rounded(value, stderr)
    error = _significant(Decimal(stderr), 2)
    if error.adjusted() - 1 < last:
        return f"{_power(_place(number, exponent - last), exponent)} ± {format_error(stderr)}"
    text = f"{_place(number, exponent - last)} ± {_place(error.scaleb(-exponent), exponent - last)}"
    return text if exponent == 0 else _power(f"({text})", exponent)


def format_rounded(value: float, stderr: float = math.nan, *, digits: int = DIGITS) -> str:
    """Write `value` alone, with the digits that `format_value` gives it beside its error."""
    if not math.isfinite(value):
        return _not_finite(value)
    if not (math.isfinite(stderr) and stderr > 0):
        return _fixed_digits(value, digits)
    number, last, exponent = _rounded(value, stderr)
    return _power(_place(number, exponent - last), exponent)


def format_column(values: Sequence[float], errors: Sequence[float] | None = None) -> list[str]:
    """Write numbers that stand under each other with one power of ten and one number of decimals.

    The largest has four significant digits, fewer if the smallest positive error is larger than that, and a
    value too small for these decimals is written with one digit of its own: 4×10⁻⁶. An error that these decimals do not
    show is left out.
    """
    errors = [math.nan] * len(values) if errors is None else errors
    sizes = [abs(x) for x in (*values, *errors) if math.isfinite(x) and x != 0]
    if not sizes:
        return [format_rounded(value) for value in values]
    exponent, decimals = _common(max(sizes), [e for e in errors if math.isfinite(e) and e > 0])
    texts = []
    for value, error in zip(values, errors, strict=True):
        if value == 0 and not (math.isfinite(error) and error > 0):
            texts.append("0")
            continue
        if not math.isfinite(value):
            texts.append(_not_finite(value))
            continue
        number = Decimal(value).scaleb(-exponent)
        text = _place(number, decimals)
        if not (math.isfinite(error) and error > 0) and not float(text.replace(MINUS, "-")):
            texts.append(_fixed_digits(value, 1))
            continue
        shown = _place(Decimal(error).scaleb(-exponent), decimals) if math.isfinite(error) and error > 0 else "0"
        if float(shown):
            text += f" ± {shown}"
            text = f"({text})" if exponent else text
        texts.append(_power(text, exponent))
    return texts


def format_error(stderr: float) -> str:
    """Write a standard error with two significant digits; NaN is written NaN."""
    return _fixed_digits(stderr, 2) if math.isfinite(stderr) else _not_finite(stderr)


def format_exactness(stderr: float) -> str:
    """Write a standard error that stands alone: `exact` where it is 0, a dash where it is unknown."""
    if math.isnan(stderr):
        return UNKNOWN
    return EXACT if stderr == 0 else format_error(stderr)


def format_measured(value: float, stderr: float) -> str:
    """Write a value and how sure it is: 41.51 ± 0.32, 41.51 exact, 41.51 ± – of an unknown error; – without a value."""
    return with_exactness(format_value(value, stderr), value, stderr)


def with_exactness(text: str, value: float, stderr: float) -> str:
    """The text of a value, which says its error where that is positive and finite, and else whether there is none."""
    if math.isnan(value):
        return UNKNOWN
    if math.isfinite(stderr) and stderr > 0:
        return text
    return f"{text} {EXACT}" if stderr == 0 else f"{text} ± {format_exactness(stderr)}"


def format_z(z: float) -> str:
    """Write a difference in standard errors: +2.1, −3.4×10⁵; `exact` of exact values that differ, a dash for NaN."""
    if math.isnan(z):
        return UNKNOWN
    if math.isinf(z):
        return EXACT
    size = format_short(abs(z)) if abs(z) >= 1000 else f"{abs(z):.1f}"
    return f"{MINUS if z < 0 else '+'}{size}"


def format_coefficient(value: float, digits: int = 2) -> str:
    """Write a number near 1 with so many decimals; a dash for NaN."""
    return UNKNOWN if math.isnan(value) else minus(f"{value:.{digits}f}")


def format_plain(value: float, digits: int = DIGITS) -> str:
    """Write a number that was set rather than measured with the digits that it has, at most `digits`: 0.05."""
    if not math.isfinite(value):
        return _not_finite(value)
    mantissa, _, exponent = f"{value:.{digits}g}".partition("e")
    return _power(minus(mantissa), int(exponent or 0))


def format_short(value: float) -> str:
    """Write a number of which only the size matters (cost, seconds) with three significant digits."""
    return _fixed_digits(value, 3) if math.isfinite(value) else _not_finite(value)


def format_share(share: float) -> str:
    """Write a share of 0..1 in per cent with two decimals: 91.73 %."""
    return minus(f"{100 * share:.2f} %") if math.isfinite(share) else _not_finite(share)


def format_count(count: float) -> str:
    """Write a whole number with commas between thousands."""
    return minus(f"{count:,.0f}") if math.isfinite(count) else _not_finite(count)


def superscript(number: int) -> str:
    """A whole number in raised figures."""
    return str(number).translate(_SUPERSCRIPT)


def minus(number: str) -> str:
    """A number as Python writes it, with the minus sign in place of the hyphen; powers of ten are not written so."""
    return number.replace("-", MINUS)


def rewritten(text: str) -> str:
    """A text with the numbers in it, as Python writes them, as people read them: λ = −0.3, 1.2×10⁻⁵ ± 3×10⁻⁶.

    Digits that are part of a name stay: resnet-20, layer1.0, 1e5-b.
    """
    return _NUMBER.sub(lambda found: _power(minus(found["number"]), int(found["exponent"] or 0)), text)


def _rounded(value: float, stderr: float) -> tuple[Decimal, int, int]:
    """The value over its power of ten, the exponent of its last digit, and the exponent of that power."""
    error = _significant(Decimal(stderr), 2)
    number = _significant(Decimal(value), MOST_DIGITS)
    last = error.adjusted() - 1
    if number != 0:
        last = max(last, number.adjusted() - MOST_DIGITS + 1)
    number = number.quantize(Decimal(1).scaleb(last), rounding=ROUND_HALF_EVEN)
    exponent = max(abs(number), error).adjusted()
    exponent = 0 if exponent in _PLAIN else exponent
    return number.scaleb(-exponent), last, exponent


def _common(largest: float, errors: Sequence[float]) -> tuple[int, int]:
    """The power of ten and the decimals of a column whose largest number is given."""
    size = _significant(Decimal(largest), DIGITS).adjusted()
    exponent = 0 if size in _PLAIN else size
    decimals = DIGITS - 1 - size + exponent
    if errors:
        decimals = min(decimals, 1 - _significant(Decimal(min(errors)), 2).adjusted() + exponent)
    return exponent, max(0, decimals)


def _not_finite(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    return "∞" if value > 0 else f"{MINUS}∞"


def _fixed_digits(value: float, digits: int) -> str:
    number = _significant(Decimal(value), digits)
    if number == 0:
        return "0"
    exponent = 0 if number.adjusted() in _PLAIN else number.adjusted()
    number = number.scaleb(-exponent)
    return _power(_place(number, max(0, digits - 1 - number.adjusted())), exponent)


def _significant(number: Decimal, digits: int) -> Decimal:
    return Context(prec=digits, rounding=ROUND_HALF_EVEN).plus(number)


def _place(number: Decimal, decimals: int) -> str:
    rounded = number.quantize(Decimal(1).scaleb(-decimals), rounding=ROUND_HALF_EVEN)
    return minus(format(abs(rounded) if rounded == 0 else rounded, "f"))


def _power(text: str, exponent: int) -> str:
    return text if exponent == 0 else f"{text}×10{superscript(exponent)}"
