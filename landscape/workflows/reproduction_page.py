"""The page of reproductions: tables and curves between markers, from the documents of `reproduce` and nothing else.

<!-- reproduce:NAME --> ... <!-- /reproduce:NAME -->   is replaced by what the document NAME holds.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any
from urllib.parse import quote

from matplotlib.figure import Figure

from landscape.config.paper_recipes import PaperRecipe, Table, command, expected, recipes_of, tables
from landscape.errors import OptionError
from landscape.files import write_atomically
from landscape.numbers import UNKNOWN, format_plain, rewritten
from landscape.plots.curves import Curve, CurvePanel, curves_figure
from landscape.plots.style import BLUE, GREY, INK, RED, svg

Document = Mapping[str, Any]

_MARKED = re.compile(r"(<!-- reproduce:([\w-]+) -->\n).*?(<!-- /reproduce:\2 -->)", re.DOTALL)
_PERCENT = ("test_accuracy", "train_accuracy")
# The rest of the palette of Okabe and Ito.
_COLOURS = (BLUE, RED, "#009E73", "#CC79A7", "#E69F00", INK, GREY)
_WORDS = {
    "shown": "shown",
    "not shown": "**not shown** at this scale",
    "the opposite": "**the opposite** at this scale",
    "no verdict": "**no verdict**: fewer than two seeds where both finished",
}
NAMES = {"test_accuracy": "test accuracy, %", "train_accuracy": "train accuracy, %", "train_loss": "train loss"}


def read_page(page: Path, names: Iterable[str] = ()) -> str:
    """The text of a page, seen to have a marked place for each of `names`.

    Raises:
        OptionError: there is no such file, it is no text, or it has no such place.
    """
    try:
        text = page.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = "it is no text" if isinstance(error, UnicodeDecodeError) else error.strerror
        raise OptionError(f"--page: {page} cannot be read ({why}); expected a page with marked places.") from error
    places = {match[2] for match in _MARKED.finditer(text)}
    absent = [name for name in names if name not in places]
    if absent or not places:
        name = absent[0] if absent else "NAME"
        raise OptionError(
            f"--page: {page} has no place for {', '.join(absent) or 'any table'}; expected the lines "
            f"<!-- reproduce:{name} --> and <!-- /reproduce:{name} -->."
        )
    return text


def write_page(page: Path, documents: Mapping[str, Document], figures: Path) -> None:
    """Put `documents` between the markers of `page` and their curves into the folder `figures`, linked from the page.

    Raises:
        OptionError: the page cannot be read or has no marked place.
        WriteError: a file cannot be written.
    """
    before = read_page(page)
    for name, document in documents.items():
        if _has_curves(document):
            write_atomically(figures / f"{name}.svg", svg(curves(document, tables()[name])))
    seen = Path(os.path.relpath(figures.resolve(), page.resolve().parent)).as_posix()
    text = fill(before, documents, quote(seen))
    write_atomically(page, text.encode())


def write_section(name: str, document: Document, folder: Path) -> str:
    """Write what `document` shows to NAME.md in `folder`, its curves beside it, and return the text.

    Raises:
        WriteError: a file cannot be written.
    """
    table = tables()[name]
    if _has_curves(document):
        write_atomically(folder / f"{name}.svg", svg(curves(document, table)))
    text = f"# {table.paper} {table.table}: {table.title}\n\n{section(name, table, document, '.')}"
    write_atomically(folder / f"{name}.md", text.encode())
    return text


def fill(text: str, documents: Mapping[str, Document], figures: str) -> str:
    """`text` with every marked place filled; `figures` is the folder of the curves, as the page sees it."""

    def filled(match: re.Match[str]) -> str:
        name = match[2]
        body = "Not run yet.\n" if name not in documents else section(name, tables()[name], documents[name], figures)
        return f"{match[1]}\n{body}\n{match[3]}"

    return _MARKED.sub(filled, text)


def section(name: str, table: Table, document: Document, figures: str) -> str:
    """What one document shows: what was run, the numbers, the paper's claims by rule, curves, the commands."""
    recipes = {recipe.name: recipe for recipe in recipes_of(name, table)}
    shown = [recipes[row["recipe"]] for row in document["rows"]]
    runs = {row["recipe"]: row["runs"] for row in document["rows"]}
    lines = [_caption(document), "", *_numbers(table, shown, runs), ""]
    lines += [*_left_out(document), *_diverged(shown, runs), *_comparisons(table, document)]
    if _has_curves(document):
        lines += [f"![{NAMES.get(table.study.curve, table.study.curve)} by epoch]({figures}/{name}.svg)", ""]
        lines += ["Lines are means over the seeds, bands their range; of accuracies the second half of the epochs.", ""]
    lines += [*(f"- {note}" for note in table.notes), ""] if table.notes else []
    lines += ["At the paper's scale:", "", "```console", *_commands(recipes.values()), "```", ""]
    return "\n".join(lines)


def curves(document: Document, table: Table) -> Figure:
    """The curves of a document: a panel for each set of rows that the table's claims tie together.

    Of accuracies the second half of the epochs is shown: their first rise would hide all differences.
    """
    key = table.study.curve
    percent = key in _PERCENT
    found: dict[str, tuple[range, list[list[float]]]] = {}
    for row in document["rows"]:
        columns = [run["curve"] for run in row["runs"] if len(run["curve"]) > 1]
        if columns:
            epochs = range(len(columns[0]) // 2 if percent else 0, len(columns[0]))
            scale = 100 if percent else 1
            name = row["recipe"].removeprefix(f"{document['table']}-")
            found[name] = epochs, [[scale * column[epoch] for column in columns] for epoch in epochs]
    tied = _tied(list(found), document["comparisons"])
    title = NAMES.get(key, key)
    panels = []
    for rows in tied:
        lines = [_curve(name, *found[name], place) for place, name in enumerate(rows)]
        panels.append(CurvePanel(f"{title}: {rows[0]}" if len(tied) > 1 else title, lines, linear=percent))
    return curves_figure(panels)


def _curve(name: str, epochs: range, values: Sequence[Sequence[float]], place: int) -> Curve:
    """The mean over the runs of an epoch, with their range."""
    return Curve(
        name,
        list(epochs),
        [fmean(v) for v in values],
        colour=_COLOURS[place % len(_COLOURS)],
        dash="-" if place < len(_COLOURS) else "--",
        band=([min(v) for v in values], [max(v) for v in values]),
    )


def _tied(names: Sequence[str], comparisons: Sequence[Document]) -> list[list[str]]:
    """The names in sets that are linked by comparisons, in their order."""
    label = {name: place for place, name in enumerate(names)}
    for comparison in comparisons:
        if comparison["more"] in label and comparison["than"] in label:
            one, other = label[comparison["more"]], label[comparison["than"]]
            label = {name: min(one, other) if value in (one, other) else value for name, value in label.items()}
    return [[name for name in names if label[name] == place] for place in sorted(set(label.values()))]


def _caption(document: Document) -> str:
    versions = document["versions"]
    total = sum(len(row["runs"]) for row in document["rows"])
    first = document["rows"][0]["settings"]
    nets = sorted({row["settings"]["model"] for row in document["rows"]})
    kernels = f", {versions['cpu']} kernels" if "cpu" in versions else ""  # older documents do not say
    return (
        f"*{'Small' if document['small'] else 'Full'} scale: {', '.join(f'`{net}`' for net in nets)} "
        f"on {first['data']}, {document['seeds']} seeds, {total} runs; landscape {versions['landscape']}, "
        f"torch {versions['torch']}{kernels}, Python {versions['python']}.*"
    )


def _numbers(table: Table, shown: Sequence[PaperRecipe], runs: Mapping[str, Sequence[Document]]) -> Iterator[str]:
    """The paper's numbers beside ours: a row a recipe, or a row a quantity where the paper gives several."""
    if any(isinstance(recipe.row.expects, dict) for recipe in shown):
        yield from _by_quantity(table, shown, runs)
        return
    quantities = list(dict.fromkeys(["test_accuracy", *(claim.of for claim in table.study.claims)]))
    quantities = [q for q in quantities if any(q in run["values"] for recipe in shown for run in runs[recipe.name])]
    if table.study.measures and not any(claim.of == "test_accuracy" for claim in table.study.claims):
        quantities.remove("test_accuracy")
    yield _line(
        [
            "row",
            "batch: paper, here",
            f"paper: {table.quantity}",
            *(NAMES.get(quantity, f"`{quantity}`") for quantity in quantities),
        ]
    )
    yield "|" + "---|" * (3 + len(quantities))
    for recipe in shown:
        cells = [_mean(quantity, runs[recipe.name]) for quantity in quantities]
        batches = f"{recipe.settings.get('batch_size', '')}, {recipe.small.get('batch_size', '')}"
        yield _line([recipe.row.row, batches, expected(recipe.row), *cells])


def _by_quantity(table: Table, shown: Sequence[PaperRecipe], runs: Mapping[str, Sequence[Document]]) -> Iterator[str]:
    yield _line(["", *(f"{who}: {recipe.row.row}" for recipe in shown for who in ("paper", "here"))])
    yield "|" + "---|" * (1 + 2 * len(shown))
    (measure,) = table.study.measures
    names = dict.fromkeys(key for recipe in shown if isinstance(recipe.row.expects, dict) for key in recipe.row.expects)
    for name in names:
        quantity = measure if name == "total" else f"{measure}.{name}"
        cells = []
        for recipe in shown:
            assert isinstance(recipe.row.expects, dict)
            cells += [format_plain(recipe.row.expects[name], 3), _mean(quantity, runs[recipe.name])]
        yield _line([name, *cells])
    cells = [cell for recipe in shown for cell in ("", _mean("test_accuracy", runs[recipe.name]))]
    yield _line([NAMES["test_accuracy"], *cells])


def _comparisons(table: Table, document: Document) -> Iterator[str]:
    if not document["comparisons"]:
        return
    yield _line(["the paper has more", "in", "than in", "difference here", "95% bound", ""])
    yield "|" + "---|" * 6
    for found in document["comparisons"]:
        factor = 100 if found["of"] in _PERCENT else 1
        difference, stderr, bound = (
            math.nan if found[key] is None else factor * found[key] for key in ("difference", "stderr", "bound")
        )
        yield _line(
            [
                NAMES.get(found["of"], f"`{found['of']}`"),
                table.rows[found["more"]].row,
                table.rows[found["than"]].row,
                *_difference(difference, stderr, bound),
                _WORDS[found["verdict"]],
            ]
        )
    yield ""
    counts = {word: sum(c["verdict"] == word for c in document["comparisons"]) for word in _WORDS}
    yield (
        f"Shown: {counts['shown']} of {len(document['comparisons'])}; not shown: {counts['not shown']}; "
        f"the other way round: {counts['the opposite']}."
    )
    yield ""


def _left_out(document: Document) -> Iterator[str]:
    if document["left_out"]:
        rows = ", ".join(f"`{name}` (as `{same}`)" for name, same in document["left_out"].items())
        yield f"Not run again, for the settings are those of an earlier row: {rows}."
        yield ""


def _diverged(shown: Sequence[PaperRecipe], runs: Mapping[str, Sequence[Document]]) -> Iterator[str]:
    for recipe in shown:
        lost = [run["seed"] for run in runs[recipe.name] if run["diverged"]]
        if lost:
            total = len(runs[recipe.name])
            yield f"{recipe.row.row}: {len(lost)} of {total} runs diverged (seeds {', '.join(map(str, lost))})."
            yield ""


def _commands(recipes: Any) -> Iterator[str]:
    for recipe in recipes:
        yield f"$ {command(recipe)}"


def _has_curves(document: Document) -> bool:
    return any(len(run["curve"]) > 1 for row in document["rows"] for run in row["runs"])


def _mean(quantity: str, runs: Sequence[Document]) -> str:
    """The mean over the runs and their standard deviation."""
    factor = 100 if quantity in _PERCENT else 1
    values = [factor * run["values"][quantity] for run in runs if quantity in run["values"]]
    if not values:
        return "diverged" if any(run["diverged"] for run in runs) else ""
    return _short(fmean(values)) + (f" ± {format_plain(stdev(values), 2)}" if len(values) > 1 else "")


def _short(value: float) -> str:
    return UNKNOWN if math.isnan(value) else format_plain(value, 2 if abs(value) < 1 else 4)


def _difference(difference: float, stderr: float, bound: float) -> tuple[str, str]:
    """The difference with its error, and the bound: to two digits of the error."""
    if not (math.isfinite(difference) and math.isfinite(stderr)):
        return UNKNOWN, UNKNOWN
    if stderr == 0:
        return rewritten(f"{difference:+.3g}"), "0"
    places = 1 - math.floor(math.log10(stderr))
    if places > 4:
        return rewritten(f"{difference:+.1e} ± {stderr:.1e}"), rewritten(f"{bound:.1e}")
    rounded = round(difference, places) + 0.0  # no negative zero
    digits = max(places, 0)
    return rewritten(f"{rounded:+.{digits}f} ± {stderr:.{digits}f}"), f"{bound:.{digits}f}"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
