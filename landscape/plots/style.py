"""The shared look of all figures, and the helpers that keep labels inside the figure and apart from each other.

Sizes are those on paper: a figure is `WIDTH` inches wide, the text width of the report's page, and no text in it is
smaller than 8 pt. Colours are from the palette of Okabe and Ito (2008), which stays apart under colour blindness.
"""

from __future__ import annotations

import bisect
import io
import itertools
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextToPath

from landscape.errors import OptionError
from landscape.files import write_atomically
from landscape.numbers import format_plain, superscript

WIDTH = 6.46
"""Inches: the text width of an A4 page with the report's margins."""

SIZE = 8.5
SMALL = 8.0
POINTS = 72.0

FORMATS = (".svg", ".pdf", ".png")

BLUE = "#0072B2"
SKY = "#9CC9E5"
RED = "#D55E00"
INK = "#222222"
GREY = "#6E6E6E"
PALE = "#D9D9D9"
LINES = (BLUE, RED, "#009E73", "#E69F00", "#CC79A7", "#56B4E9", "#7F7F7F")
"""For lines side by side, in this order; also of the palette, but for its yellow, which is too pale for a line."""

STYLE: dict[Any, Any] = {
    "font.family": ["DejaVu Sans"],
    "font.size": SIZE,
    "axes.labelsize": SIZE,
    "axes.titlesize": SIZE,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "text.color": INK,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
    "lines.linewidth": 1.2,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "axes.unicode_minus": True,
    # A parameter's name may hold a dollar sign; no figure text is mathematics.
    "text.parse_math": False,
    "figure.facecolor": "white",
    "svg.fonttype": "path",
    "svg.hashsalt": "landscape",
}


@contextmanager
def style() -> Iterator[None]:
    """Draw with the shared style inside the block; the caller's matplotlib settings come back after it."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(STYLE)
        yield


def svg(figure: Figure) -> bytes:
    """The figure as SVG with text as outlines: the same bytes for the same values, no date, no fonts needed."""
    with style():
        content = io.BytesIO()
        figure.savefig(content, format="svg", metadata={"Date": None, "Creator": None})
    return content.getvalue()


def save(figure: Figure, path: Path) -> None:
    """Write the figure as .svg, .pdf or .png (300 dots an inch), whole or not at all, without a date.

    Raises:
        OptionError: the name ends otherwise.
        WriteError: the file cannot be written.
    """
    kind = path.suffix.lower().removeprefix(".")
    if f".{kind}" not in FORMATS:
        raise OptionError(f"expected a figure's name to end in {', '.join(FORMATS)}, got {path.name}.")
    if kind == "svg":
        write_atomically(path, svg(figure))
        return
    metadata = {"CreationDate": None} if kind == "pdf" else {"Software": None}
    with style():
        content = io.BytesIO()
        figure.savefig(content, format=kind, dpi=300, metadata=metadata)
    write_atomically(path, content.getvalue())


def text_width(text: str, size: float = SIZE) -> float:
    """The width of one line of text in inches."""
    if not text:
        return 0.0
    font = FontProperties(family=STYLE["font.family"], size=size)
    width, _, _ = TextToPath().get_text_width_height_descent(text, font, ismath=False)
    return float(width) / POINTS


def shortened(text: str, width: float, size: float) -> str:
    """The text, its middle left out where it is longer than `width` inches."""
    if text_width(text, size) <= width:
        return text
    for kept in range(len(text) - 1, 0, -1):
        front = (kept + 1) // 2
        candidate = text[:front] + "…" + text[len(text) - (kept - front) :]
        if text_width(candidate, size) <= width:
            return candidate
    return "…"


def power_of_ten(value: float, position: object = None) -> str:
    """A tick label for a logarithmic axis: 10⁻³; empty between the powers. `position` is matplotlib's, unused."""
    if not value > 0:
        return ""
    exponent = math.log10(value)
    if abs(exponent - round(exponent)) > 1e-6:
        return ""
    return "10" + superscript(round(exponent))


def tick(value: float, position: object = None) -> str:
    """A tick label of few digits; a power of ten by itself. `position` is matplotlib's, unused."""
    if value == 0 or 1e-3 <= abs(value) < 1e4:
        return format_plain(value)
    mantissa, exponent = f"{value:.2e}".split("e")
    front = format_plain(float(mantissa))
    return f"{'' if front == '1' else front + '×'}10{superscript(int(exponent))}"


def inch_axes(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    """Add axes at a place that is given in inches from the lower left corner."""
    across, up = figure.get_size_inches()
    return figure.add_axes((left / across, bottom / up, width / across, height / up))


def spread(places: Sequence[float], widths: Sequence[float], low: float, high: float) -> list[float]:
    """Centres for labels of `widths`, as near to `places` (ascending) as it takes for none to overlap.

    The centres have the least sum of squared moves: an isotonic regression of the places less the room that the
    labels to the left take. They are then held in [low, high], which fits if the labels do.
    """
    room = [0.0]
    for before, after in itertools.pairwise(widths):
        room.append(room[-1] + (before + after) / 2)
    pools: list[tuple[float, int]] = []
    for place, taken in zip(places, room, strict=False):
        mean, count = place - taken, 1
        while pools and pools[-1][0] > mean:
            other, size = pools.pop()
            mean, count = (mean * count + other * size) / (count + size), count + size
        pools.append((mean, count))
    starts = [mean for mean, count in pools for _ in range(count)]
    if not starts:
        return []
    least, most = low + widths[0] / 2, high - widths[-1] / 2 - room[-1]
    return [max(min(start, most), least) + taken for start, taken in zip(starts, room, strict=True)]


def wrap_name(name: str, width: float, size: float = SIZE) -> list[str]:
    """Break a long parameter or layer name into lines of at most `width` inches, after a dot, slash or underscore
    where there is one, so that nothing of it is lost."""
    lines: list[str] = []
    rest = name
    while text_width(rest, size) > width:
        fits = max(1, bisect.bisect_right(range(len(rest)), width, key=lambda n: text_width(rest[: n + 1], size)))
        breaks = [i + 1 for i, letter in enumerate(rest[:fits]) if letter in "./_ -" and i + 1 >= fits / 3]
        cut = breaks[-1] if breaks else fits
        lines.append(rest[:cut])
        rest = rest[cut:]
    return [*lines, rest]


def empty_figure(statement: str) -> Figure:
    """A figure that says why there is nothing to draw."""
    with style():
        figure = Figure(figsize=(WIDTH, 0.6))
        figure.text(0.5, 0.5, statement, ha="center", va="center", color=GREY)
    return figure
