"""A document -> a file: a PDF or one HTML file, by the ending of its name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from landscape.errors import OptionError
from landscape.files import write_atomically
from landscape.report.blocks import Document
from landscape.report.page import page
from landscape.report.typeset import typeset

WRITERS: Mapping[str, Callable[[Document], bytes]] = {".pdf": typeset, ".html": page}
"""The formats of a report by the ending of the file's name."""


def write_document(document: Document, path: Path) -> None:
    """Write `document` to `path`, whole or not at all. The same document gives the same bytes.

    Raises:
        OptionError: the name ends neither in .pdf nor in .html.
        WriteError: the file cannot be written.
    """
    path = Path(path)
    writer = WRITERS.get(path.suffix.lower())
    if writer is None:
        raise OptionError(f"expected a report's name to end in {' or '.join(WRITERS)}, got {path.name}.")
    write_atomically(path, writer(document))
