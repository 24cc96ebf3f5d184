"""The HTML file: well formed, in one piece, readable without sight, and the same in numbers as the PDF."""

from __future__ import annotations

import io
import itertools
import re
from collections import Counter

import html5lib
import pypdf
import pytest
from sample_analysis import synthetic_analysis
from test_typeset import CASES, HOSTILE, document_of, hostile

from landscape import write_report
from landscape.catalog import CATALOG
from landscape.report.blocks import Document, Formula, Part, Prose, Table, as_cell
from landscape.report.inline_svg import inline_svg
from landscape.report.mathml import mathml
from landscape.report.page import page
from landscape.report.typeset import typeset

XHTML, SVG, MATH = (f"{{http://www.w3.org/{name}}}" for name in ("1999/xhtml", "2000/svg", "1998/Math/MathML"))


@pytest.fixture(scope="module")
def document() -> Document:
    return document_of(synthetic_analysis())


@pytest.fixture(scope="module")
def tree(document):
    return parsed(page(document))


def parsed(content: bytes):
    """The tree of the independent parser, which refuses whatever is not well formed."""
    return html5lib.HTMLParser(strict=True).parse(content.decode())


@pytest.mark.parametrize("name", CASES)
def test_it_is_well_formed_and_in_one_piece(name, tmp_path):
    write_report(CASES[name](), tmp_path / "report.html")
    content = (tmp_path / "report.html").read_bytes()
    tree = parsed(content)
    ids = Counter(element.attrib["id"] for element in tree.iter() if "id" in element.attrib)
    assert [name for name, count in ids.items() if count > 1] == []
    for element in tree.iter():
        assert element.tag.removeprefix(XHTML) not in ("script", "link", "img", "iframe", "object")
        for attribute, value in element.attrib.items():
            assert not attribute.startswith("on"), attribute
            if attribute in ("href", "src") or attribute.endswith("}href"):
                assert value.startswith("#"), value
                assert value[1:] in ids, value
            for reference in re.findall(r"url\(#([^)]+)\)", value):
                assert reference in ids
    text = content.decode()
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text)
    assert not re.search(r"(?:src|href)=\"?https?:", text)


def test_same_analysis_same_bytes():
    names = ("hessian_trace", "margin")
    first, second = (page(document_of(synthetic_analysis(only=names))) for _ in range(2))
    assert first == second


def texts(document: Document) -> list[str]:
    """Every word and number that the document says, but for figures and formulas."""
    found = [document.title, document.kicker]
    for block in document.walk():
        match block:
            case Table():
                found += [column.head for column in block.columns]
                found += [as_cell(cell).text for row in (*block.rows, *block.foot) for cell in row]
            case _:
                for name, value in vars(block).items():
                    if (
                        isinstance(value, str)
                        and name in ("text", "lead", "value", "words")
                        and not isinstance(block, Formula)
                    ):
                        found.append(value)
                if hasattr(block, "shown"):
                    found += [shown.caption for shown in block.shown]
                if hasattr(block, "columns") and not isinstance(block, Table):
                    found += [part for column in block.columns for part in column]
                if hasattr(block, "rows") and not isinstance(block, Table):
                    for row in block.rows:
                        found += list(row) if isinstance(row, tuple) else [row.name, row.text]
    return [re.sub(r"(?<![A-Za-z_])([A-Za-zθλΣ])_([a-z]+)(?![A-Za-z_])", r"\1\2", text) for text in found]


def squeezed(text: str) -> str:
    return re.sub(r"[\s\u200b\u00ad]+", "", text).replace("\u2010", "-")


@pytest.mark.parametrize("name", ["ordinary", "undefined", "measures of no catalog"])
def test_both_formats_say_every_word_and_number(name):
    document = document_of(CASES[name]()[0])
    tree = parsed(page(document))
    body = tree.find(f"{XHTML}body")
    html = squeezed("".join(body.itertext()))
    pdf = squeezed("".join(p.extract_text() for p in pypdf.PdfReader(io.BytesIO(typeset(document))).pages))
    said = [text for text in texts(document) if text]
    assert len(said) > 100
    for text in said:
        assert squeezed(text) in html
    numbers = Counter(number for text in said for number in re.findall(r"\d[\d.,]*", squeezed(text)))
    for number in numbers:
        assert number in pdf, number


def test_tables_have_every_cell_in_its_place(document, tree):
    rows = [["".join(cell.itertext()) for cell in row] for row in tree.iter(f"{XHTML}tr")]
    tables = [block for block in document.walk() if isinstance(block, Table)]
    expected = []
    for table in tables:
        expected.append([column.head for column in table.columns])
        expected += [[as_cell(cell).text for cell in row] for row in (*table.rows, *table.foot)]
    assert rows == expected


def test_figures_are_named_and_captioned(document, tree):
    figures = list(tree.iter(f"{SVG}svg"))
    shown = [one for block in document.walk() for one in getattr(block, "shown", ())]
    assert [figure.attrib["aria-label"] for figure in figures] == [one.alt for one in shown]
    assert all(figure.attrib["role"] == "img" and "viewBox" in figure.attrib for figure in figures)
    captions = ["".join(caption.itertext()) for caption in tree.iter(f"{XHTML}figcaption")]
    assert all(captions)
    assert not [
        element for figure in figures for element in figure.iter() if element.tag in (f"{SVG}style", f"{SVG}metadata")
    ]


def test_every_formula_of_the_catalog_is_mathml_with_its_text():
    formulas = [Formula(about.formula, about.formula_text) for about in CATALOG.values()]
    found = mathml(formulas)
    assert [element.attrib["alttext"] for element in found] == [formula.text for formula in formulas]
    tree = parsed(page(document_of(synthetic_analysis(only=tuple(CATALOG)))))
    assert len(list(tree.iter(f"{MATH}math"))) == len(CATALOG)
    assert mathml([]) == []


def test_hostile_names_are_text():
    document = document_of(hostile())
    tree = parsed(page(document))
    cells = ["".join(cell.itertext()) for cell in tree.iter(f"{XHTML}td")]
    assert sum(HOSTILE in cell for cell in cells) >= 60


def test_the_contents_lead_to_the_parts():
    parts = [Part(f"Part {i}", f"p{i}", [Prose("words")], summary=f"about {i}") for i in (1, 2)]
    tree = parsed(page(Document("Title", "kicker", parts, "0.1.0")))
    (nav,) = tree.iter(f"{XHTML}nav")
    assert [(a.attrib["href"], a.text) for a in nav.iter(f"{XHTML}a")] == [("#p1", "Part 1"), ("#p2", "Part 2")]
    assert [section.attrib["id"] for section in tree.iter(f"{XHTML}section")] == ["p1", "p2"]
    levels = [
        element.tag.removeprefix(XHTML)
        for element in tree.iter()
        if re.fullmatch(r"h\d", element.tag.removeprefix(XHTML))
    ]
    assert levels == ["h1", "h2", "h2", "h2"]
    assert "Contents" not in page(Document("Title", "kicker", parts[:1], "0.1.0")).decode()


def test_headings_go_down_one_level_at_a_time():
    part = document_of(synthetic_analysis(only=("connectivity",))).parts[0]
    for several in (False, True):
        parts = [part, Part("Other", "other", [Prose("words")])] if several else [part]
        tree = parsed(page(Document("Title", "kicker", parts, "0.1.0")))
        levels = [int(match[1]) for e in tree.iter() if (match := re.fullmatch(r"h([1-4])", e.tag.removeprefix(XHTML)))]
        assert levels[0] == 1
        assert all(b <= a + 1 for a, b in itertools.pairwise(levels))


def test_it_answers_to_dark_screens_phones_and_paper():
    text = page(document_of(synthetic_analysis(only=()))).decode()
    assert '<meta name="color-scheme" content="light dark">' in text
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in text
    for query in ("prefers-color-scheme: dark", "max-width: 34rem", "print"):
        assert f"@media ({query})" in text or f"@media {query}" in text


def test_two_figures_of_a_page_share_no_names():
    source = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="9pt" height="9pt" '
        'viewBox="0 0 9 9"><defs><style type="text/css">*{stroke-linejoin: round}</style><path id="a" d="M0 0"/></defs>'
        '<g id="unused" clip-path="url(#c)"><use xlink:href="#a"/></g><clipPath id="c"><path d="M1 1"/></clipPath>'
        "</svg>"
    )
    one, two = (inline_svg(source, prefix=prefix, alt="x") for prefix in ("f1-", "f2-"))
    ids = [{e.attrib["id"] for e in figure.iter() if "id" in e.attrib} for figure in (one, two)]
    assert ids == [{"f1-a", "f1-c"}, {"f2-a", "f2-c"}]
    assert [e.attrib["href"] for e in one.iter("use")] == ["#f1-a"]
    assert [e.attrib["clip-path"] for e in one.iter("g")] == ["url(#f1-c)"]
    assert one.attrib["style"] == "stroke-linejoin: round"
    assert list(one.iter("style")) == []
