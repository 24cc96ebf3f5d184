"""`landscape history`: what a run's folder tells of its training, as a table, a document or a figure."""

from __future__ import annotations

import json as jsons
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from landscape.errors import OptionError
from landscape.numbers import format_plain
from landscape_cli import console

if TYPE_CHECKING:
    from landscape.workflows.history import RunHistory

_SHOWN = ("epoch", "step", "train_loss", "train_accuracy", "test_loss", "test_accuracy", "lr")


def history(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Run folders of landscape train.", show_default=False)
    ],
    plot: Annotated[
        bool,
        typer.Option(
            "--plot",
            metavar="",
            help="Draw loss, accuracy, learning rate and all that was tracked over the epochs; several runs over each "
            "other.",
        ),
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="FILE", help="The figure, .svg, .pdf or .png. Default: history.png.",
            show_default=False,
        ),
    ] = None,
    last: Annotated[int, typer.Option(metavar="N", min=1, help="Epochs in the table.")] = 10,
    csv: Annotated[
        bool, typer.Option("--csv", metavar="", help="Standard output carries the whole history as CSV.")
    ] = False,
    json: Annotated[
        bool, typer.Option("--json", metavar="", help="Standard output carries history and track as JSON.")
    ] = False,
) -> None:  # fmt: skip
    """Show how training runs went: the last epochs, the best one, what was tracked."""
    if csv and json:
        raise OptionError("--csv and --json both want standard output: give one of them.")
    if out is not None and not plot:
        raise OptionError("--out names the figure: give --plot too.")
    target = out if out is not None else Path("history.png")

    # Loaded here: `landscape --help` must not wait for pandas and matplotlib. None of it loads torch.
    from landscape.plots.style import FORMATS, save
    from landscape.workflows.history import read_runs, table_of

    if plot and target.suffix.lower() not in FORMATS:
        raise OptionError(f"--out: expected a name that ends in {', '.join(FORMATS)}, got {target}.")
    known = read_runs(runs)
    if plot:
        from landscape.workflows.history_figure import history_figure

        save(history_figure(known), target)
        console.say(f"wrote {target}")
    if csv:
        console.write_document(table_of(known).to_csv(index=False))
    elif json:
        console.write_document(jsons.dumps([run.to_plain() for run in known], indent=2, allow_nan=False) + "\n")
    else:
        for run in known:
            console.show(_tables(run, last))


def _tables(run: RunHistory, last: int) -> Group:
    best, rows = run.best, run.history
    state = "finished" if run.finished else "not finished"
    planned = run.config.get("epochs")
    of = f" of {planned}" if planned is not None else ""
    parts: list[Table | Text] = [
        Text(f"{run.name}: epoch {int(rows['epoch'].iloc[-1])}{of}, {state}", style="bold"),
        Text(f"best test accuracy {best['test_accuracy']:.4f} in epoch {best['epoch']}"),
    ]
    columns = [*_SHOWN, *(name for name in ("phase", "cut", "decayed") if name in rows)]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in columns:
        table.add_column(name, justify="right")
    for _, row in rows.tail(last).iterrows():
        table.add_row(*(_cell(name, row[name]) for name in columns))
    parts.append(table)
    whole = run.whole()
    if not whole.empty:
        tracked = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        tracked.add_column("tracked")
        for name in ("first", "last", "lowest", "highest"):
            tracked.add_column(name, justify="right")
        for _, row in whole.iterrows():
            tracked.add_row(row["quantity"], *(_number(row[name]) for name in ("first", "last", "lowest", "highest")))
        parts.append(tracked)
    return Group(*parts)


def _cell(name: str, value: Any) -> str:
    if value is None or value != value:
        return ""
    if isinstance(value, str):
        return value
    if name in ("epoch", "step", "cut"):
        return str(int(value))
    return f"{value:.4f}" if name != "lr" else _number(value)


def _number(value: float) -> str:
    return "" if value != value else format_plain(value)
