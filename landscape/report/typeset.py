"""A document as a PDF, typeset by Typst: the blocks become JSON values that `template.typ` sets."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from importlib import resources
from typing import Any

import typst

from landscape.report.blocks import (
    CROWDED,
    Block,
    Document,
    Explained,
    Facts,
    Figures,
    Formula,
    Heading,
    Headline,
    Prose,
    Row,
    Table,
    Together,
    Values,
    as_cell,
)
from landscape.report.prose import spans, unbroken

Plain = dict[str, Any]

_BREAK = "\u200b"  # a space of no width
_HASH = re.compile(r"\b([0-9a-f]{32})([0-9a-f]{32})\b")


def typeset(document: Document) -> bytes:
    """The PDF. The same document gives the same bytes: it holds no time but the document's own.

    The values reach Typst as JSON, never as source text.
    """
    return bytes(typst.compile(template(), sys_inputs=inputs(document), format="pdf", timestamp=0))


def template() -> bytes:
    """The source of the template."""
    return resources.files("landscape.report").joinpath("template.typ").read_bytes()


def inputs(document: Document) -> dict[str, str]:
    """What the template reads."""
    return {"content": json.dumps(plain(document), allow_nan=False)}


def plain(document: Document) -> Plain:
    """The document as JSON values."""
    return {
        "title": document.title,
        "kicker": document.kicker,
        "version": document.version,
        "dated": document.dated,
        "lead": _blocks(document.lead),
        "parts": [
            {"title": part.title, "key": part.key, "summary": part.summary, "blocks": _blocks(part.blocks)}
            for part in document.parts
        ],
    }


def _blocks(blocks: Sequence[Block]) -> list[Plain]:
    return [_block(block) for block in blocks]


def _block(block: Block) -> Plain:
    match block:
        case Heading():
            return {"type": "heading", "level": block.level, "text": block.text, "key": block.key}
        case Prose():
            return {"type": "prose", "kind": block.kind, "lead": block.lead, "text": unbroken(block.text)}
        case Facts():
            rows = [
                {
                    "name": fact.name,
                    "text": breakable(fact.text) if fact.mono else unbroken(fact.text),
                    "mono": fact.mono,
                }
                for fact in block.rows
            ]
            return {"type": "facts", "rows": rows}
        case Table():
            return _table(block)
        case Figures():
            return {"type": "figures", "shown": [vars(shown) for shown in block.shown]}
        case Headline():
            return {"type": "headline", "value": block.value, "words": block.words}
        case Formula():
            return {"type": "formula", "source": block.source}
        case Explained():
            columns = [{"head": head, "text": _spans(text)} for head, text in block.columns]
            return {"type": "explained", "columns": columns, "source": block.source}
        case Values():
            return {"type": "values", "rows": [{"name": _spans(name), "text": text} for name, text in block.rows]}
        case Together():
            return {"type": "together", "blocks": _blocks(block.blocks)}


def _table(table: Table) -> Plain:
    columns = [{"head": column.head, "kind": column.kind, "share": column.share} for column in table.columns]
    names = {place for place, column in enumerate(table.columns) if column.kind in ("text", "mono")}

    def rows(given: Sequence[Row]) -> list[list[Plain]]:
        return [[_cell(cell, name=place in names) for place, cell in enumerate(row)] for row in given]

    return {
        "type": "table", "columns": columns, "rows": rows(table.rows), "foot": rows(table.foot),
        "small": table.small, "crowded": len(table.columns) > CROWDED, "breakable": not table.short,
    }  # fmt: skip


def _cell(cell: Any, *, name: bool) -> Plain:
    full = as_cell(cell)
    return {"text": breakable(full.text) if name else full.text, "mark": full.mark, "link": full.link}


def _spans(text: str) -> list[Plain]:
    return [{"text": span.text, "index": span.index} for span in spans(text)]


def breakable(text: str) -> str:
    """Let a long name break after dots, slashes and underscores, and a hash in its middle, by spaces of no width."""
    for mark in "./_:,=":
        text = text.replace(mark, mark + _BREAK)
    return _HASH.sub(rf"\1{_BREAK}\2", text)
