"""Formulas for a page of HTML: Typst math source -> MathML, which browsers set by themselves, without a script."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from xml.etree import ElementTree

import typst

from landscape.report.blocks import Formula

_PAGE = b"""#set document(date: none)
#for source in json(bytes(sys.inputs.sources)) { math.equation(block: true, eval(source, mode: "math")) }
"""
_MATH = re.compile(r"<math\b.*?</math>", re.DOTALL)


def mathml(formulas: Sequence[Formula]) -> list[ElementTree.Element]:
    """Each formula as an element `math` with its plain text beside it; Typst runs once for all."""
    if not formulas:
        return []
    sources = json.dumps([formula.source for formula in formulas])
    written = typst.compile(_PAGE, sys_inputs={"sources": sources}, format="html").decode()
    found = [ElementTree.fromstring(text) for text in _MATH.findall(written)]
    assert len(found) == len(formulas), "one equation a formula"
    for element, formula in zip(found, formulas, strict=True):
        element.set("alttext", formula.text)
    return found
