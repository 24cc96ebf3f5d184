"""A document as one HTML file: styles and figures inside, no script, nothing loaded from elsewhere.

The page is built as a tree and serialised as HTML: tags are closed and texts escaped, whatever they hold.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import resources
from xml.etree import ElementTree

from landscape.report.blocks import (
    CROWDED,
    Block,
    Cell,
    Column,
    Document,
    Explained,
    Facts,
    Figures,
    Formula,
    Heading,
    Headline,
    Part,
    Prose,
    Row,
    Shown,
    Table,
    Together,
    Values,
    as_cell,
)
from landscape.report.inline_svg import inline_svg, width_of
from landscape.report.mathml import mathml
from landscape.report.prose import spans, unbroken

Element = ElementTree.Element
Child = Element | str


def page(document: Document) -> bytes:
    """The HTML file. The same document gives the same bytes."""
    content: bytes = ElementTree.tostring(_Page(document).root(), encoding="utf-8", method="html")
    return b"<!DOCTYPE html>\n" + content + b"\n"


class _Page:
    """The tree of one document; figures are numbered through it, so that their ids differ."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._several = len(document.parts) > 1
        self._figures = 0
        formulas = [block for block in document.walk() if isinstance(block, Formula)]
        self._formulas = iter(mathml(formulas))

    def root(self) -> Element:
        document = self._document
        head = _element(
            "head",
            _element("meta", charset="utf-8"),
            _element("meta", name="viewport", content="width=device-width, initial-scale=1"),
            _element("meta", name="color-scheme", content="light dark"),
            _element("meta", name="generator", content=f"landscape {document.version}"),
            _element("title", document.title),
            _element("style", _style()),
        )
        top = _element(
            "header",
            _element("p", document.kicker, **{"class": "kicker"}),
            _element("h1", document.title),
        )
        main = _element("main", *self._blocks(document.lead))
        if self._several:
            main.append(self._contents())
        for number, part in enumerate(document.parts, start=1):
            main.append(self._part(part, number))
        words = " · ".join(word for word in (f"landscape {document.version}", document.dated) if word)
        return _element("html", head, _element("body", top, main, _element("footer", words)), lang="en")

    def _contents(self) -> Element:
        lines = []
        for part in self._document.parts:
            line = _element("li", _element("a", part.title, href=f"#{part.key}"))
            if part.summary:
                line.append(_element("span", part.summary, **{"class": "quiet"}))
            lines.append(line)
        return _element("nav", _element("h2", "Contents"), _element("ol", *lines), **{"aria-label": "Contents"})

    def _part(self, part: Part, number: int) -> Element:
        section = _element("section", id=part.key)
        if self._several:
            section.append(_element("h2", _element("span", f"{number} ", **{"class": "quiet"}), part.title))
        section.extend(self._blocks(part.blocks))
        return section

    def _blocks(self, blocks: Sequence[Block]) -> Iterator[Element]:
        for block in blocks:
            yield self._block(block)

    def _block(self, block: Block) -> Element:
        match block:
            case Heading():
                level = block.level if self._several else block.level - 1
                return _element(f"h{level + 1}", block.text, **({"id": block.key} if block.key else {}))
            case Prose():
                return _prose(block)
            case Facts():
                rows = [
                    pair
                    for fact in block.rows
                    for pair in (
                        _element("dt", fact.name),
                        _element("dd", _element("code", fact.text) if fact.mono else unbroken(fact.text)),
                    )
                ]
                return _element("dl", *rows, **{"class": "facts"})
            case Table():
                return _table(block)
            case Figures():
                return _element("div", *self._drawn(block.shown), **{"class": "figures"})
            case Headline():
                value = _element("strong", block.value)
                return _element("p", value, " ", _element("span", block.words), **{"class": "headline"})
            case Formula():
                return _element("div", next(self._formulas), **{"class": "formula"})
            case Explained():
                columns = [
                    _element("div", _element("h5", head), _element("p", *_spanned(text)))
                    for head, text in block.columns
                ]
                below = [_element("p", block.source, **{"class": "quiet"})] if block.source else []
                return _element("div", _element("div", *columns, **{"class": "columns"}), *below)
            case Values():
                pairs = [_element("div", _element("dt", *_spanned(n)), _element("dd", text)) for n, text in block.rows]
                return _element("dl", *pairs, **{"class": "values"})
            case Together():
                return _element("section", *self._blocks(block.blocks), **{"class": "together"})

    def _drawn(self, shown: Sequence[Shown]) -> Iterator[Element]:
        """Those of half the width in one figure, as in the PDF, then the others."""
        halves = [one for one in shown if one.half]
        if halves:
            caption = " ".join(one.caption for one in halves)
            line = _element("div", *(self._svg(one) for one in halves), **{"class": "halves"})
            yield _element("figure", line, _element("figcaption", caption))
        for one in shown:
            if not one.half:
                yield _element(
                    "figure",
                    _element("div", self._svg(one), **{"class": "drawing"}),
                    _element("figcaption", one.caption),
                )

    def _svg(self, shown: Shown) -> Element:
        self._figures += 1
        figure = inline_svg(shown.svg, prefix=f"f{self._figures}-", alt=shown.alt)
        own = figure.get("style", "")
        figure.set("style", f"{own};width:{width_of(shown.svg):.0f}pt" if own else f"width:{width_of(shown.svg):.0f}pt")
        return figure


def _prose(prose: Prose) -> Element:
    lead = [_element("strong", f"{prose.lead}, " if prose.kind == "small" else f"{prose.lead} ")] if prose.lead else []
    kind = {"body": {}, "small": {"class": "quiet"}, "warning": {"class": "warning"}}[prose.kind]
    return _element("p", *lead, unbroken(prose.text), **kind)


def _table(table: Table) -> Element:
    widths = [_part_width(table, place) for place in range(len(table.columns))]
    heads = [_element("th", column.head, scope="col", **{"class": column.kind}) for column in table.columns]
    parts = [
        _element("thead", _element("tr", *heads)),
        _element("tbody", *(_row(table.columns, widths, row) for row in table.rows)),
    ]
    if table.foot:
        parts.append(_element("tfoot", *(_row(table.columns, widths, row) for row in table.foot)))
    closer = "crowded" if len(table.columns) > CROWDED else "small" if table.small else ""
    made = _element("table", *parts, **({"class": closer} if closer else {}))
    return _element("div", made, **{"class": "scroll", "tabindex": "0", "role": "group", "aria-label": "table"})


def _row(columns: Sequence[Column], widths: Sequence[float], row: Row) -> Element:
    if len(row) == 1:
        alone = as_cell(row[0])
        return _element("tr", _element("td", alone.text, colspan=str(len(columns)), **{"class": f"text {alone.mark}"}))
    return _element(
        "tr",
        *(_cell(column, width, as_cell(cell)) for column, width, cell in zip(columns, widths, row, strict=True)),
    )


def _cell(column: Column, width: float, cell: Cell) -> Element:
    body: list[Child] = [cell.text]
    if column.kind == "decimal" and cell.text:
        whole, part = _split(cell.text)
        body = [whole, _element("span", part, style=f"width:{width:.1f}ch")] if width else [whole]
    elif column.kind == "mono":
        body = [_element("code", cell.text)]
    if cell.link:
        body = [_element("a", *body, href=f"#{cell.link}")]
    return _element("td", *body, **{"class": " ".join(word for word in (column.kind, cell.mark) if word)})


def _split(number: str) -> tuple[str, str]:
    """A number before its decimal point, and the rest from the point on."""
    whole, point, part = number.partition(".")
    return whole, point + part


def _part_width(table: Table, place: int) -> float:
    """The widest part from the decimal point on in a column, in widths of a figure; raised figures are narrower."""
    if table.columns[place].kind != "decimal":
        return 0.0
    parts = [_split(as_cell(row[place]).text)[1] for row in (*table.rows, *table.foot) if len(row) > 1]
    return max((sum(0.6 if letter in "⁰¹²³⁴⁵⁶⁷⁸⁹⁻." else 1.0 for letter in part) for part in parts), default=0.0)


def _spanned(text: str) -> Iterator[Child]:
    for span in spans(text):
        if span.index:
            yield _element("i", span.text, _element("sub", span.index))
        else:
            yield span.text


def _style() -> str:
    return resources.files("landscape.report").joinpath("style.css").read_text(encoding="utf-8")


def _element(tag: str, *children: Child, **attributes: str) -> Element:
    """An element with its children, texts among them."""
    made = Element(tag, attributes)
    last: Element | None = None
    for child in children:
        if not isinstance(child, str):
            made.append(child)
            last = child
        elif last is None:
            made.text = (made.text or "") + child
        else:
            last.tail = (last.tail or "") + child
    return made
