"""`landscape recipes`: which experiments of the papers can be repeated, with which settings and by which commands."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from landscape_cli import console

if TYPE_CHECKING:
    from landscape.config.paper_recipes import PaperRecipe


def recipes(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="A recipe, or a table: its recipes. Default: all.", show_default=False),
    ] = None,
) -> None:
    """List the recipes of the papers' experiments; of one show all settings and the commands.

    Each has a full and a small variant: landscape train --recipe NAME [--small].
    """
    # Loaded here: `landscape --help` must not wait for pydantic.
    from landscape.config.paper_recipes import paper_recipes, recipes_under

    found = list(paper_recipes().values()) if name is None else recipes_under(name)
    if name is not None and found[0].name == name:
        console.write_document(_one(found[0]))
    else:
        console.show(_list(found))


def _list(found: Iterable[PaperRecipe]) -> Table:
    from landscape.config.paper_recipes import expected

    table = Table(show_edge=False, pad_edge=False, header_style="bold")
    for title in ("recipe", "of", "row", "the paper's result", "network", "data"):
        table.add_column(title, no_wrap=title in ("recipe", "of"))
    for recipe in found:
        cells = (
            recipe.name,
            f"{recipe.about.paper} {recipe.about.table}",
            recipe.row.row,
            expected(recipe.row),
            str(recipe.settings.get("model", "")),
            str(recipe.settings.get("data", "")),
        )
        table.add_row(*(Text(cell) for cell in cells))
    return table


def _one(recipe: PaperRecipe) -> str:
    from landscape.config.paper_recipes import PAPERS, command, expected

    about = recipe.about
    lines = [
        f"{recipe.name}",
        f"  {about.title}: {recipe.row.row}",
        f"  {PAPERS[about.paper]}, {about.table}",
        f"  {about.quantity}: {expected(recipe.row)}",
        "",
        f"  {'setting':<20} {'full':<36} small",
    ]
    for setting in dict.fromkeys((*recipe.settings, *recipe.small)):
        lines.append(f"  {setting:<20} {_value(recipe.settings, setting):<36} {_value(recipe.small, setting)}".rstrip())
    lines += ["", *(f"  note: {note}" for note in recipe.notes), ""]
    for setting, other in recipe.needs.items():
        lines.append(f"  {setting.replace('_', '-')} is the run folder of {other}: train that first.")
    lines += [f"full   {command(recipe)}", f"small  {command(recipe, small=True)}"]
    return "\n".join(lines) + "\n"


def _value(settings: Mapping[str, Any], name: str) -> str:
    return str(settings[name]) if name in settings else "-"
