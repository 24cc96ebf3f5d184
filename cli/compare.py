"""`landscape compare`: analyses side by side, with differences against their standard errors."""

from __future__ import annotations

import json as jsons
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from landscape.errors import OptionError
from landscape.numbers import format_measured, format_z
from landscape_cli import console, options

if TYPE_CHECKING:
    from landscape.workflows.compare import Compared, Comparison


def compare(
    networks: Annotated[
        list[Path],
        typer.Argument(
            metavar="A B...",
            help="Analyses (JSON), run folders of landscape train or checkpoints; all are held against the first.",
            show_default=False,
        ),
    ],
    measures: options.Measures = None,
    allow_different: Annotated[
        bool,
        typer.Option(
            "--allow-different",
            metavar="",
            help="Compare analyses of different data, samples or settings all the same.",
        ),
    ] = False,
    csv: Annotated[
        bool,
        typer.Option("--csv", metavar="", help="Standard output carries a row a measure, substructure and network."),
    ] = False,
    json: Annotated[
        bool, typer.Option("--json", metavar="", help="Standard output carries all of it as JSON.")
    ] = False,
    split: options.Split = "train",
    samples: options.Samples = None,
    by: options.By = "role",
    bn: options.Bn = "eval",
    dtype: options.Dtype = "float32",
    model: options.Model = None,
    data: options.Data = None,
    normalize: options.Normalize = None,
    device: options.Device = None,
    quiet: options.Quiet = False,
) -> None:
    """Compare networks: measures and substructures side by side, z of each difference, |z| > 2 marked.

    Checkpoints and runs without an analysis are measured first, as by landscape analyze with the options below; the
    analyses that are given must have been made alike. Without any to measure, no torch is loaded.
    """
    if csv and json:
        raise OptionError("--csv and --json both want standard output: give one of them.")
    names = options.measure_names(measures)

    # Loaded here: `landscape --help` must not wait for pandas. None of it loads torch.
    from landscape.workflows.compare import compare as hold
    from landscape.workflows.evidence import find_sources, gather
    from landscape_cli.measure_missing import measure_missing

    sources = find_sources(networks)
    for path, reason in sources.left_out.items():
        raise OptionError(f"{path} {reason}; expected a run that is finished.")
    if len(sources.order) < 2 and not sources.documents:
        raise OptionError(f"a comparison wants two networks or more, got {len(sources.order)}.")
    settings = {
        "measures": names, "split": split, "samples": samples, "by": by, "bn": bn, "dtype": dtype, "model": model,
        "data": data, "normalize": normalize, "device": device,
    }  # fmt: skip
    measured = measure_missing(sources, quiet=quiet, mixed=allow_different, **settings)
    found = hold(gather(sources, measured), measures=names, allow_different=allow_different)
    if csv:
        console.write_document(found.table().to_csv(index=False))
    elif json:
        console.write_document(jsons.dumps(found.to_plain(), indent=2, allow_nan=False) + "\n")
    else:
        console.show(_tables(found))


def _tables(found: Comparison) -> Group:
    against = "on the same samples: the estimators' errors" if found.same_samples else "estimators' and sampling errors"
    parts: list[Table | Text] = [
        Text(f"{len(found.names)} networks against {found.names[0]}, {against}; * where |z| > 2", style="bold"),
        _metrics(found),
    ]
    whole = [row for row in found.rows if not row.group]
    inner = [row for row in found.rows if row.group]
    parts.append(_table(found, whole, "measure"))
    if inner:
        parts.append(_table(found, inner, f"measure, {found.by}"))
    parts += [Text(note, style="dim") for note in found.notes]
    return Group(*parts)


def _metrics(found: Comparison) -> Text:
    lines = []
    for name, metrics in zip(found.names, found.metrics, strict=True):
        words = [f"{key.replace('_', ' ')} {value:.4f}" for key, value in metrics.items()]
        lines.append(f"{name}: {', '.join(words) or 'no metrics of its training'}")
    return Text("\n".join(lines))


def _table(found: Comparison, rows: list[Compared], first: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(first, no_wrap=True)
    for name in found.names:
        table.add_column(name, justify="right")
    for name in found.names[1:]:
        table.add_column("difference" if len(found.names) == 2 else f"{name} −", justify="right")
        table.add_column("z", justify="right", no_wrap=True)
    for row in rows:
        cells = [format_measured(value, error) for value, error in zip(row.values, row.errors, strict=True)]
        for i in range(1, len(found.names)):
            mark = " *" if row.marked[i] else ""
            cells += [format_measured(row.differences[i], row.difference_errors[i]), format_z(row.z[i]) + mark]
        table.add_row(f"{row.measure}, {row.group}" if row.group else row.measure, *cells)
    return table
