"""`landscape cache`: where results are kept, how many there are, and deleting them."""

from __future__ import annotations

from typing import Annotated

import typer

from landscape.numbers import format_count, format_short
from landscape_cli import console

Clear = Annotated[bool, typer.Option("--clear", metavar="", help="Delete all entries.")]


def cache(clear: Clear = False) -> None:
    """Show the folder in which `landscape analyze` keeps its results, or empty it."""
    # Loaded here: `landscape --help` must not wait for pydantic.
    from landscape.workflows.cache import LIMIT, Cache, cache_folder

    kept = Cache(cache_folder())
    entries, size = kept.size()
    if clear:
        kept.clear()
    megabytes = f"{format_short(size / 1e6)} of {format_short(LIMIT / 1e6)} MB"
    console.write_document(
        f"folder   {kept.folder}\n{'deleted' if clear else 'entries'}  {format_count(entries)}\nsize     {megabytes}\n"
    )
