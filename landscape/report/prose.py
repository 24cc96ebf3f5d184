"""How prose is set by both writers: H_s in a text is an H with a subscript, and a number keeps its unit beside it."""

from __future__ import annotations

import re
from dataclasses import dataclass

_SYMBOL = re.compile(r"(?<![A-Za-z_])([A-Za-zθλΣ])_([a-z]+)(?![A-Za-z_])")


@dataclass(frozen=True)
class Span:
    """A piece of a text; with an `index` the text is a symbol and the index its subscript."""

    text: str
    index: str = ""


def spans(text: str) -> list[Span]:
    """The text in pieces, plain ones and symbols of one letter with a subscript."""
    found, end = [], 0
    for match in _SYMBOL.finditer(text):
        found += [Span(text[end : match.start()]), Span(match[1], match[2])]
        end = match.end()
    found.append(Span(text[end:]))
    return [span for span in found if span.text]


def unbroken(text: str) -> str:
    """The text with spaces that no line breaks at within numbers: before % and around ±."""
    return text.replace(" %", "\u00a0%").replace(" ± ", "\u00a0±\u00a0")
