"""`landscape measures`: what can be measured, by which formula, at what cost, and what leaves it unchanged."""

from __future__ import annotations

from dataclasses import asdict
from json import dumps
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from landscape.catalog import CATALOG, PRESETS, About
from landscape_cli import console, options

if TYPE_CHECKING:
    from collections.abc import Iterable

_NEEDS = {
    "needs_labels": "labels",
    "second_derivative": "second derivative",
    "training_data": "training data",
    "training_state": "training state",
    "per_sample": "single samples",
}


def measures(
    names: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAMES]",
            help="Measures or presets, comma-separated; of one measure everything is shown. Default: all.",
            show_default=False,
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", metavar="", help="Write everything as JSON.")] = False,
) -> None:
    """List the measures: formula, source, cost, what each needs and whether the rescaling ρ leaves it unchanged.

    Of one measure everything is said, with the options that it alone has (--set NAME.OPTION=VALUE).
    """
    wanted = options.measure_names(names) or ("all",)
    found = list(dict.fromkeys(name for one in wanted for name in PRESETS.get(one, (one,))))
    if json:
        console.write_document(dumps([_document(CATALOG[name]) for name in found], indent=2, ensure_ascii=False) + "\n")
    elif len(found) == 1:
        console.show(_one(CATALOG[found[0]]))
    else:
        console.show(_table(CATALOG[name] for name in found))


def _needs(about: About) -> list[str]:
    return [words for flag, words in _NEEDS.items() if getattr(about, flag)]


def _options(name: str) -> list[dict[str, Any]]:
    # Loaded here: `landscape --help` must not wait for pydantic.
    from landscape.config.measure_options import MEASURE_OPTIONS

    kind = MEASURE_OPTIONS.get(name)
    fields = {} if kind is None else kind.model_fields
    return [{"option": key, "default": field.default, "about": field.description} for key, field in fields.items()]


def _document(about: About) -> dict[str, Any]:
    return {**asdict(about), "options": _options(about.name)}


def _table(found: Iterable[About]) -> Table:
    table = Table(show_edge=False, pad_edge=False, header_style="bold")
    for title in ("measure", "what, and its definition", "cost in gradients", "ρ", "needs", "source"):
        table.add_column(title, no_wrap=title in ("measure", "ρ"))
    for about in found:
        same = "same" if about.rho_invariant else "moves"
        what = Text.assemble(about.title, "\n", (about.formula_text, "dim"))
        cells = (about.cost, same, ", ".join(_needs(about)), about.reference)
        table.add_row(Text(about.name), what, *(Text(cell) for cell in cells))
    return table


def _one(about: About) -> Table:
    parts = {
        about.name: about.title,
        "definition": about.formula_text,
        "unit": about.unit,
        "reading": about.reading,
        "estimate": about.estimate,
        "cost": f"{about.cost}; in gradients, passes forward and backward over the samples",
        "unchanged by": about.invariances,
        "needs": ", ".join(_needs(about)) or "nothing but the outputs",
        "substructures": "add up to the whole" if about.additive else "",
        "presets": ", ".join(preset for preset, names in PRESETS.items() if about.name in names),
        "source": about.reference,
    }
    parts |= {f"--set {about.name}.{row['option']}={row['default']}": str(row["about"]) for row in _options(about.name)}
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, style="bold")
    table.add_column()
    for title, words in parts.items():
        if words:
            table.add_row(Text(title), Text(words))
    return table
