"""The document model: what a report says, in the order of the page, with every number already text.

A document is written by `typeset` (PDF) and by `page` (HTML); neither adds a word or a number of its own, so that both
say the same. A block is one of the frozen classes below; `key`s are anchors that cells and the contents lead to.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["text", "mono", "right", "decimal", "centre"]
"""How a column is set: words; file names and hashes; at the right edge; at the decimal point; in the middle."""


@dataclass(frozen=True)
class Heading:
    """A heading within a part: level 2 of a section, 3 of a piece of one."""

    level: Literal[2, 3]
    text: str
    key: str = ""


@dataclass(frozen=True)
class Prose:
    """A paragraph; `lead` stands before it in bold. A `small` one explains a table, a `warning` is marked in red."""

    text: str
    kind: Literal["body", "small", "warning"] = "body"
    lead: str = ""


@dataclass(frozen=True)
class Fact:
    """A name and what it is; `mono` for paths, hashes and commands."""

    name: str
    text: str
    mono: bool = False


@dataclass(frozen=True)
class Facts:
    """Facts under each other, between two rules."""

    rows: Sequence[Fact]


@dataclass(frozen=True)
class Column:
    """A column of a table: its head, how it is set, and its share of the free width (0: as wide as it takes)."""

    head: str
    kind: Kind = "right"
    share: float = 0.0


@dataclass(frozen=True)
class Cell:
    """A cell that is more than text: marked, or leading to the heading with the key `link`."""

    text: str
    mark: Literal["", "bad", "quiet", "strong"] = ""
    link: str = ""


Row = Sequence[str | Cell]

CROWDED = 8
"""A table of more columns is set closer."""

HALF_PAGE = 40
"""Lines of a table that is short."""


@dataclass(frozen=True)
class Table:
    """Columns and rows; `foot` are rows below a rule. A `small` table is set in smaller letters.

    A row of one cell spans the table: a heading for those below it.
    A `short` one stands on one page.
    """

    columns: Sequence[Column]
    rows: Sequence[Row]
    foot: Sequence[Row] = ()
    small: bool = False

    @property
    def short(self) -> bool:
        """Whether it fits on half a page for sure, so that it need not break: by lines of ten letters a cell."""
        lines = [max(len(as_cell(cell).text) for cell in row) // 10 + 1 for row in (*self.rows, *self.foot) if row]
        return sum(lines) <= HALF_PAGE


@dataclass(frozen=True)
class Shown:
    """A figure as SVG, its caption, a sentence for who cannot see it, and whether it takes half the width."""

    svg: str
    caption: str
    alt: str
    half: bool = False


@dataclass(frozen=True)
class Figures:
    """Figures under each other; those of half the width share a line."""

    shown: Sequence[Shown]


@dataclass(frozen=True)
class Headline:
    """The value of a measure and, smaller, what is to know of it at once."""

    value: str
    words: str


@dataclass(frozen=True)
class Formula:
    """A definition: as Typst math source without dollar signs, and as a line of plain text."""

    source: str
    text: str


@dataclass(frozen=True)
class Explained:
    """Short texts beside each other, each under its head, and a line below them."""

    columns: Sequence[tuple[str, str]]
    source: str = ""


@dataclass(frozen=True)
class Values:
    """Named numbers in a grid."""

    rows: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Together:
    """Blocks that stay on one page; they must fit on one."""

    blocks: Sequence[Block]


Block = Heading | Prose | Facts | Table | Figures | Headline | Formula | Explained | Values | Together


@dataclass(frozen=True)
class Part:
    """A part of a document.

    Attributes:
        title: its heading, and its line in the contents.
        key: its anchor; different among the parts of a document.
        blocks: what it says.
        summary: a line for the contents.
    """

    title: str
    key: str
    blocks: Sequence[Block]
    summary: str = ""


@dataclass(frozen=True)
class Document:
    """A report. One part stands under the title; of several each has its heading and its line in the contents.

    Attributes:
        title: on the first page.
        kicker: a line above the title.
        parts: at least one.
        version: of landscape.
        dated: when the numbers were made; never when the document was.
        lead: blocks between the title and the contents.
    """

    title: str
    kicker: str
    parts: Sequence[Part]
    version: str
    dated: str = ""
    lead: Sequence[Block] = field(default_factory=tuple)

    def walk(self) -> Iterator[Block]:
        """Every block, in order; those of a `Together` after it."""
        yield from _walk(self.lead)
        for part in self.parts:
            yield from _walk(part.blocks)


def as_cell(cell: str | Cell) -> Cell:
    """The cell itself, or one without marks."""
    return cell if isinstance(cell, Cell) else Cell(cell)


def _walk(blocks: Sequence[Block]) -> Iterator[Block]:
    for block in blocks:
        yield block
        if isinstance(block, Together):
            yield from _walk(block.blocks)
