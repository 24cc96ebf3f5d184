"""What every figure must satisfy on paper, read off the drawn figure."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from landscape.plots.style import POINTS, WIDTH, style

RESOLUTION = 4


def drawn_texts(figure: Figure) -> list[tuple[str, Text, Bbox]]:
    """The texts that show, with their extents in points."""
    # at one pixel a point the hinting of small letters would widen the texts
    figure.set_dpi(RESOLUTION * POINTS)
    with style():
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        renderer = canvas.get_renderer()
        hidden = {id(text) for axes in figure.axes for text in _not_drawn(axes, renderer)}
        texts = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
        boxes = [text.get_window_extent(renderer) for text in texts]
    return [
        (text.get_text(), text, Bbox(box.get_points() / RESOLUTION))
        for text, box in zip(texts, boxes, strict=True)
        if id(text) not in hidden
    ]


def _not_drawn(axes: Axes, renderer: RendererAgg) -> Iterator[Text]:
    """Tick labels of axes that are off, and those of ticks beyond the limits, which exist all the same."""
    for axis, limits in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
        for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
            if not axes.axison or not min(limits) <= tick.get_loc() <= max(limits):
                yield tick.label1


def assert_printable(figure: Figure) -> list[str]:
    """No text smaller than 8 pt, none clipped by the figure's edge, no two on top of each other."""
    texts = drawn_texts(figure)
    assert figure.get_size_inches()[0] <= WIDTH + 1e-9
    frame = Bbox(figure.bbox.get_points() / RESOLUTION)
    for word, text, box in texts:
        assert text.get_fontsize() >= 8, word
        assert box.x0 >= frame.x0 - 1.5, f"{word!r} is clipped at the left"
        assert box.x1 <= frame.x1 + 1.5, f"{word!r} is clipped at the right"
        assert box.y0 >= frame.y0 - 1.5, f"{word!r} is clipped at the bottom"
        assert box.y1 <= frame.y1 + 1.5, f"{word!r} is clipped at the top"
    for (one, _, a), (other, _, b) in itertools.combinations(texts, 2):
        across = min(a.x1, b.x1) - max(a.x0, b.x0)
        up = min(a.y1, b.y1) - max(a.y0, b.y0)
        assert across <= 0.5 or up <= 2, f"{one!r} and {other!r} overlap"
    return [word for word, _, _ in texts]
