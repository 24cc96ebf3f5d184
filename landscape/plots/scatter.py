"""Points with their line and its confidence band, a panel a measure, two side by side, the points named.

Points carry their names where all fit, else numbers, and the key to the numbers stands below the panels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from landscape.plots.labels import Box, place_names
from landscape.plots.style import (
    BLUE,
    GREY,
    INK,
    RED,
    SIZE,
    SMALL,
    WIDTH,
    empty_figure,
    inch_axes,
    shortened,
    style,
    text_width,
    tick,
    wrap_name,
)

GAP = 0.34
COLUMN = (WIDTH - GAP) / 2
LEFT = 0.62
RIGHT = 0.08
BOTTOM = 0.42
AXES = 1.75
ACROSS = COLUMN - LEFT - RIGHT
UP = AXES - 0.06
TOP = 0.08
TITLE = 0.2
ROW = 0.155
HEIGHT = TOP + TITLE + ROW + AXES + BOTTOM
LETTER = 0.125  # inches: the height of a name
RADIUS = 0.03
MOST_NAMES = 12
MOST_NUMBERS = 60


@dataclass(frozen=True)
class ScatterPanel:
    """One measure against the outcome.

    Attributes:
        title: of the panel.
        words: what is said of it, a line below the title.
        x, y: the points; `x` is positive where `log`.
        names: of the points.
        line: places along x, and there the line and the sides of its band; None: no line.
        log: whether the axis of x is logarithmic.
        label: of the axis of x; `short_label` where it is too long.
    """

    title: str
    words: str
    x: Sequence[float]
    y: Sequence[float]
    names: Sequence[str]
    line: tuple[Sequence[float], Sequence[float], Sequence[float], Sequence[float]] | None
    log: bool
    label: str
    short_label: str = ""


def scatter_figure(panels: Sequence[ScatterPanel], *, label: str, note: str = "") -> Figure:
    """Draw the panels; `label` is that of the axis of y, `note` stands below them."""
    return scatter_figures(panels, label=label, note=note, most=max(len(panels), 1))[0]


def scatter_figures(
    panels: Sequence[ScatterPanel], *, label: str, note: str = "", most: int = 6, tallest: float = math.inf
) -> list[Figure]:
    """Draw the panels in as many figures as it takes; points carry the same names or numbers in all of them.

    Args:
        panels: what is drawn.
        label: of the axis of y.
        note: stands below each figure.
        most: panels in a figure.
        tallest: inches of a figure, which has fewer panels where its key takes much room; one row it has always.
    """
    if not panels:
        return [empty_figure("There is no correlation to show.")]
    with style():
        names = list(dict.fromkeys(name for panel in panels for name in panel.names))
        marks, key = _marks(panels, names)
        lines = _key_lines(names) if key else []
        if len(names) > MOST_NUMBERS:
            note = f"{note} {len(names)} points: too many to name.".strip()
        notes = _wrapped(note, WIDTH) if note else []
        below = ROW * (len(lines) + len(notes)) + (0.12 if lines or notes else 0.0)
        fitting = 2 * max(1, int(min((tallest - below) / HEIGHT, len(panels))))
        step = min(most, fitting)
        return [
            _figure(panels[start : start + step], label, marks, lines, notes, below)
            for start in range(0, len(panels), step)
        ]


def _figure(
    panels: Sequence[ScatterPanel],
    label: str,
    marks: dict[str, str],
    lines: Sequence[Sequence[tuple[float, str]]],
    notes: Sequence[str],
    below: float,
) -> Figure:
    tall = math.ceil(len(panels) / 2) * HEIGHT + below
    figure = Figure(figsize=(WIDTH, tall))
    for number, panel in enumerate(panels):
        row, column = divmod(number, 2)
        _draw(figure, panel, column * (COLUMN + GAP), tall - row * HEIGHT, label, marks)
    y = below - 0.06
    for line in lines:
        for left, text in line:
            figure.text(left / WIDTH, y / tall, text, size=SMALL, va="top", color=INK)
        y -= ROW
    for text in notes:
        figure.text(0, y / tall, text, size=SMALL, va="top", color=GREY)
        y -= ROW
    return figure


def _draw(figure: Figure, panel: ScatterPanel, left: float, top: float, label: str, marks: dict[str, str]) -> None:
    tall = figure.get_size_inches()[1]
    title = shortened(panel.title, COLUMN / 1.14, SIZE)
    figure.text(left / WIDTH, (top - TOP) / tall, title, size=SIZE, weight="bold", va="top")
    words = shortened(panel.words, COLUMN, SMALL)
    figure.text(left / WIDTH, (top - TOP - TITLE) / tall, words, size=SMALL, va="top", color=INK)
    bottom = top - TOP - TITLE - ROW - AXES
    axes = inch_axes(figure, left + LEFT, bottom, ACROSS, UP)
    limits = _limits(panel)
    _scale(axes, panel, limits)
    if panel.line is not None:
        x, middle, low, high = panel.line
        axes.fill_between(x, low, high, color=BLUE, alpha=0.15, linewidth=0)
        axes.plot(x, middle, color=BLUE, linewidth=1.2)
    axes.scatter(panel.x, panel.y, s=12, color=RED, linewidth=0, zorder=3)
    shown = [marks.get(name, "") for name in panel.names]
    for box, text in zip(_places(panel, limits, shown), shown, strict=True):
        if box is not None and text:
            at = ((box[0] + box[2]) / 2 / ACROSS, (box[1] + box[3]) / 2 / UP)
            axes.text(
                *at,
                text,
                transform=axes.transAxes,
                ha="center",
                va="center",
                size=SMALL,
                color=INK,
                zorder=4,
                path_effects=[withStroke(linewidth=1.5, foreground="white")],
            )
    fits = text_width(panel.label, SIZE) <= COLUMN - LEFT
    axes.set_xlabel(
        shortened(panel.label if fits else panel.short_label or panel.label, COLUMN - LEFT, SIZE), labelpad=1
    )
    axes.set_ylabel(shortened(label, AXES, SIZE), labelpad=2)


def _marks(panels: Sequence[ScatterPanel], names: Sequence[str]) -> tuple[dict[str, str], bool]:
    """What each point carries, and whether that wants a key: its name where all fit, else its number."""
    if len(names) > MOST_NUMBERS:
        return {}, False
    own = {name: name for name in names}
    if len(names) <= MOST_NAMES and all(_all_placed(panel, own) for panel in panels):
        return own, False
    return {name: str(number) for number, name in enumerate(names, start=1)}, True


def _all_placed(panel: ScatterPanel, marks: dict[str, str]) -> bool:
    return all(box is not None for box in _places(panel, _limits(panel), [marks[name] for name in panel.names]))


def _places(panel: ScatterPanel, limits: Box, texts: Sequence[str]) -> list[Box | None]:
    frame = (0.0, 0.0, ACROSS, UP)
    sizes = [(text_width(text, SMALL) + 0.02, LETTER) for text in texts]
    return place_names(_inches(panel, limits), sizes, frame, radius=RADIUS)


def _inches(panel: ScatterPanel, limits: Box) -> list[tuple[float, float]]:
    """The points from the lower left corner of the axes."""
    left, bottom, right, top = limits
    places = []
    for x, y in zip(panel.x, panel.y, strict=True):
        across = math.log(x / left) / math.log(right / left) if panel.log else (x - left) / (right - left)
        places.append((across * ACROSS, (y - bottom) / (top - bottom) * UP))
    return places


def _limits(panel: ScatterPanel) -> Box:
    """left, bottom, right, top of the axes, with room around the points."""
    low, high = min(panel.x), max(panel.x)
    if panel.log:
        ratio = max(high / low, 1.0 + 1e-6) ** 0.1
        left, right = low / ratio, high * ratio
    else:
        room = 0.1 * (high - low) or max(abs(low), 1e-300) * 0.1
        left, right = low - room, high + room
    bottom, top = min(panel.y), max(panel.y)
    room = 0.12 * (top - bottom) or max(abs(bottom), 1.0) * 0.1
    return left, bottom - room, right, top + room


def _scale(axes: Axes, panel: ScatterPanel, limits: Box) -> None:
    left, bottom, right, top = limits
    if panel.log:
        axes.set_xscale("log")
        decades = math.log10(right / left)
        if decades < 0.7:
            axes.xaxis.set_major_locator(MaxNLocator(3))
        else:
            axes.xaxis.set_major_locator(LogLocator(subs=_subs(decades), numticks=6))
        axes.xaxis.set_minor_locator(NullLocator())
    else:
        axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_formatter(FuncFormatter(tick))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_formatter(FuncFormatter(tick))
    axes.set_xlim(left, right)
    axes.set_ylim(bottom, top)


def _subs(decades: float) -> tuple[float, ...]:
    """The ticks of each decade, so many that there are two of them on an axis at least."""
    return (1.0, 2.0, 5.0) if decades < 1.4 else (1.0, 3.0) if decades < 2.5 else (1.0,)


def _key_lines(names: Sequence[str]) -> list[list[tuple[float, str]]]:
    """The numbers with their names in columns, read down, each line as (left in inches, text)."""
    entries = [f"{number}  {name}" for number, name in enumerate(names, start=1)]
    widest = max(text_width(entry, SMALL) for entry in entries) + 0.2
    columns = max(1, min(len(entries), int(WIDTH / widest)))
    rows = math.ceil(len(entries) / columns)
    width = WIDTH / columns
    cut = [shortened(entry, width - 0.1, SMALL) for entry in entries]
    return [[(i // rows * width, cut[i]) for i in range(row, len(cut), rows)] for row in range(rows)]


def _wrapped(text: str, width: float) -> list[str]:
    return [line.strip() for line in wrap_name(text, width, SMALL)]
