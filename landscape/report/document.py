"""Typesetting: the report's values and the template -> PDF."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

import typst

from landscape.errors import OptionError
from landscape.files import write_atomically
from landscape.records import Analysis
from landscape.report.content import content


def write_report(analyses: Sequence[Analysis], path: Path, *, title: str | None = None) -> None:
    """Write one PDF on `analyses`: a comparison if there are several, then each with its measures and figures.

    The same analyses give the same bytes: the document holds no time but the analyses' own.

    Args:
        analyses: at least one, in the order in which they are shown.
        path: the PDF to write, whole or not at all.
        title: the title on the first page; the checkpoint's file name if None.

    Raises:
        OptionError: `analyses` is empty.
        WriteError: `path` cannot be written.
    """
    if not analyses:
        raise OptionError("expected at least one analysis to report on, got none; analyze a checkpoint first.")
    write_atomically(path, typeset(analyses, title=title))


def typeset(analyses: Sequence[Analysis], *, title: str | None = None) -> bytes:
    """The PDF of `write_report` as bytes. The values reach typst as JSON, never as source text."""
    template = resources.files("landscape.report").joinpath("template.typ").read_bytes()
    values = json.dumps(content(analyses, title), allow_nan=False)
    return typst.compile(template, sys_inputs={"content": values}, format="pdf", timestamp=0)
