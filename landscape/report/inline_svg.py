"""An SVG document as an element that stands in a page of HTML beside others.

Inside a page names are shared: a style sheet of one figure would reach all, and two figures must not have an id in
common. The style goes to the figure's own element, ids get a prefix, and those that nothing refers to are left out.
"""

from __future__ import annotations

import re
from xml.etree import ElementTree

_SVG = "{http://www.w3.org/2000/svg}"
_LINK = "{http://www.w3.org/1999/xlink}href"
_URL = re.compile(r"url\(#([^)]+)\)")
_LEFT_OUT = ("metadata", "style", "title")


def inline_svg(source: str, *, prefix: str, alt: str) -> ElementTree.Element:
    """The figure as an element `svg` of HTML, named `alt` for who cannot see it.

    Args:
        source: an SVG document, as `landscape.plots.style.svg` writes it.
        prefix: different for each figure of a page.
        alt: what the figure shows, in a sentence.
    """
    root = ElementTree.fromstring(source)
    used = set(_URL.findall(source)) | {
        element.attrib[_LINK].removeprefix("#") for element in root.iter() if _LINK in element.attrib
    }
    styles = [element.text or "" for element in root.iter(f"{_SVG}style")]
    own = ";".join(match for style in styles for match in re.findall(r"\*\s*\{([^}]*)\}", style))
    figure = _copy(root, used, prefix)
    figure.attrib |= {"role": "img", "aria-label": alt}
    if own:
        figure.set("style", own.strip())
    for name in ("version", "width", "height"):
        figure.attrib.pop(name, None)
    return figure


def width_of(source: str) -> float:
    """The width of an SVG document in points."""
    match = re.search(r"<svg[^>]*?\swidth=\"([\d.]+)pt\"", source, re.DOTALL)
    return float(match[1]) if match else 0.0


def _copy(element: ElementTree.Element, used: set[str], prefix: str) -> ElementTree.Element:
    made = ElementTree.Element(element.tag.removeprefix(_SVG))
    for name, value in element.attrib.items():
        if name == "id":
            if value in used:
                made.set("id", f"{prefix}{value}")
        elif name == _LINK:
            made.set("href", f"#{prefix}{value.removeprefix('#')}")
        elif not name.startswith("{"):
            made.set(name, _URL.sub(lambda match: f"url(#{prefix}{match[1]})", value))
    made.text = (element.text or "").strip() or None
    for child in element:
        if child.tag.removeprefix(_SVG) not in _LEFT_OUT:
            made.append(_copy(child, used, prefix))
    return made
