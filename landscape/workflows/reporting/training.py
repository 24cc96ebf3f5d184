"""The part on how networks were trained: settings, the epochs, what was tracked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from landscape.catalog import CATALOG
from landscape.numbers import format_share, format_value
from landscape.plots.style import svg
from landscape.report.blocks import Block, Column, Fact, Facts, Figures, Heading, Part, Row, Shown, Table
from landscape.workflows.history import RunHistory
from landscape.workflows.history_figure import TITLES, history_figures

EPOCHS = 10
"""The last epochs of one run in its table."""

_SHOWN = ("epoch", "step", "train_loss", "train_accuracy", "test_loss", "test_accuracy", "lr")
_FURTHER = ("phase", "cut", "decayed")
_NOT_SAID = ("data",)  # said by itself


def training_part(runs: Sequence[RunHistory], *, key: str = "training", origin: Sequence[Fact] = ()) -> Part:
    """The part on one run, or on several laid over each other; `origin` says where they were read from."""
    drawn = history_figures(runs)
    what = runs[0].name if len(runs) == 1 else f"{len(runs)} runs"
    alt = f"Loss, accuracy, learning rate and what was tracked over the epochs of {what}."
    figures = Figures([Shown(svg(figure).decode(), "Over the epochs.", alt) for figure in drawn])
    if len(runs) == 1:
        return _one(runs[0], key, origin, figures)
    blocks: list[Block] = [Facts(origin)] if origin else []
    blocks += [_ends(runs), figures]
    tracked = _tracked_of_all(runs)
    if tracked is not None:
        blocks += [Heading(2, "Tracked, at the end", f"{key}-tracked"), tracked]
    return Part("Training", key, blocks, summary=f"{len(runs)} runs")


def _one(run: RunHistory, key: str, origin: Sequence[Fact], figures: Figures) -> Part:
    best, rows = run.best, run.history
    done, planned = int(rows["epoch"].iloc[-1]), run.config.get("epochs")
    state = "finished" if run.finished else "not finished"
    facts = [
        Fact("Run", run.name, mono=True),
        Fact("Epochs", f"{done} of {planned}, {state}" if planned is not None else f"{done}, {state}"),
        Fact("Best", f"test accuracy {format_share(best['test_accuracy'])} after epoch {int(best['epoch'])}"),
        Fact("Data", str(run.config.get("data", ""))),
        Fact("Settings", _settings(run)),
        *origin,
    ]
    blocks: list[Block] = [Facts([fact for fact in facts if fact.text]), figures, Heading(2, "Epochs", f"{key}-epochs")]
    names = [*_SHOWN, *(name for name in _FURTHER if name in rows)]
    table = rows.tail(EPOCHS)
    lines: list[Row] = [[_cell(name, row[name]) for name in names] for row in table.to_dict("records")]
    blocks.append(Table([Column(name.replace("_", " "), "right", 1.0) for name in names], lines, small=True))
    whole = run.whole()
    if not whole.empty:
        blocks.append(Heading(2, "Tracked", f"{key}-tracked"))
        heads = ("first", "last", "lowest", "highest")
        columns = [Column("", "text", 2.0), *(Column(head, "right", 1.0) for head in heads)]
        tracked: list[Row] = [
            [_quantity(row["quantity"]), *(_number(row[head]) for head in heads)] for row in whole.to_dict("records")
        ]
        blocks.append(Table(columns, tracked, small=True))
    summary = f"{done} epochs, best test accuracy {format_share(best['test_accuracy'])}"
    return Part(f"Training of {run.name}", key, blocks, summary=summary)


def _ends(runs: Sequence[RunHistory]) -> Table:
    """A row a run: where it came to, and its best epoch."""
    names = ("train_loss", "train_accuracy", "test_loss", "test_accuracy")
    heads = ["epochs", *(name.replace("_", " ") for name in names), "best test accuracy", "after epoch"]
    lines: list[Row] = []
    for run in runs:
        last = run.history.iloc[-1].to_dict()
        unfinished = "" if run.finished else " (not finished)"
        ends = [_cell(name, last.get(name, math.nan)) for name in names]
        best = run.best
        lines.append(
            [f"{run.name}{unfinished}", _cell("epoch", last["epoch"]), *ends, format_share(best["test_accuracy"]),
             str(int(best["epoch"]))]
        )  # fmt: skip
    return Table([Column("", "text", 1.6), *(Column(head, "right", 1.0) for head in heads)], lines, small=True)


def _tracked_of_all(runs: Sequence[RunHistory]) -> Table | None:
    """The last value of each quantity of the whole network, a row a run, where any run was tracked."""
    last = [dict(zip(run.whole()["quantity"], run.whole()["last"], strict=True)) for run in runs]
    names = list(dict.fromkeys(name for values in last for name in values))
    if not names:
        return None
    columns = [Column("", "text", 1.6), *(Column(run.name, "right", 1.0) for run in runs)]
    if len(runs) <= 4:
        lines: list[Row] = [[_quantity(name), *(_number(values.get(name)) for values in last)] for name in names]
        return Table(columns, lines, small=True)
    columns = [Column("", "text", 1.6), *(Column(_quantity(name), "right", 1.0) for name in names)]
    return Table(
        columns,
        [[run.name, *(_number(values.get(name)) for name in names)] for run, values in zip(runs, last, strict=True)],
        small=True,
    )


def _settings(run: RunHistory) -> str:
    said = {name: value for name, value in run.config.items() if name not in _NOT_SAID and value is not None}
    return ", ".join(f"{name.replace('_', ' ')} {_word(value)}" for name, value in said.items())


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return " ".join(map(str, value))
    return str(value)


def _quantity(name: str) -> str:
    if name in CATALOG:
        return CATALOG[name].title
    return TITLES.get(name, name.replace("_", " "))


def _cell(name: str, value: Any) -> str:
    if value is None or value != value:
        return ""
    if isinstance(value, str):
        return value
    if name in ("epoch", "step", "cut"):
        return f"{int(value):,}"
    return format_share(value) if name.endswith("accuracy") else _number(value)


def _number(value: Any) -> str:
    return "" if value is None or value != value else format_value(float(value))
