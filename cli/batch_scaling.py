"""`landscape batch-scaling`: gradients and strides against batch size, and the gradient noise scale."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group
from rich.table import Table
from rich.text import Text

from landscape.errors import OptionError
from landscape.numbers import UNKNOWN, format_coefficient, format_count, format_plain, format_short, format_value
from landscape_cli import console, options, processes, targets
from landscape_cli.share_progress import watch_share

if TYPE_CHECKING:
    from landscape.workflows.batch_scaling_document import BatchScaling, GroupScaling, Point

STRIDES = "Batches and strides"
_OF_DOCUMENTS = {"source", "json", "plot", "plot_group", "quiet"}


def batch_scaling(
    context: typer.Context,
    source: Annotated[
        Path,
        typer.Argument(
            metavar="CKPT|FILE.json",
            help="A checkpoint; or a document of this command, to show or draw again, which needs no network.",
            show_default=False,
        ),
    ],
    batch_sizes: Annotated[
        str | None,
        typer.Option(
            metavar="N,...",
            help="Batch sizes, and all for all samples: multiples of the smallest. Default: 32, 64, 128 ... all.",
            rich_help_panel=STRIDES, show_default=False,
        ),
    ] = None,
    lr: Annotated[
        float | None,
        typer.Option(
            metavar="R",
            help="The learning rate η of the strides. Default: that which the checkpoint was trained with, else 1.",
            rich_help_panel=STRIDES, show_default=False,
        ),
    ] = None,
    lr_scaling: Annotated[
        str | None,
        typer.Option(
            metavar="linear|sqrt", help="Let the rate grow with the batch size, from --lr at --lr-batch.",
            rich_help_panel=STRIDES, show_default=False,
        ),
    ] = None,
    lr_batch: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="The batch size that --lr is for. Default: that of the training, else the smallest.",
            rich_help_panel=STRIDES, show_default=False,
        ),
    ] = None,
    by: options.By = "role",
    split: options.Split = "train",
    samples: options.Samples = None,
    bn: options.Bn = "eval",
    model: options.Model = None,
    data: options.Data = None,
    normalize: options.Normalize = None,
    key: options.Key = None,
    problem: options.ProblemFile = None,
    seed: options.Seed = 0,
    dtype: options.Dtype = "float32",
    devices: options.Devices = "auto",
    batch_size: options.BatchSize = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="FILE.json", help="Write the document of --json into this file too.",
            rich_help_panel=options.OUTPUT, show_default=False,
        ),
    ] = None,
    json: Annotated[
        bool,
        typer.Option(
            "--json", metavar="", help="Standard output carries the JSON document alone.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = False,
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Draw it, as figures 3, 4 and 7 of CB: .svg, .pdf or .png.",
            rich_help_panel=options.OUTPUT, show_default=False,
        ),
    ] = None,
    plot_group: Annotated[
        str | None,
        typer.Option(
            metavar="GROUP", help="Draw one of the substructures of --by. Default: all parameters.",
            rich_help_panel=options.OUTPUT, show_default=False,
        ),
    ] = None,
    quiet: options.Quiet = False,
) -> None:  # fmt: skip
    """Mean gradient, parameter stride and loss stride against batch size, and the gradient noise scale.

    Exponents are fitted to each, with 95% intervals by a bootstrap of blocks of samples; where noise dominates they are
    -1/2, -1/2 and -1. The noise scale S/|G|² is the batch size at which noise and signal are equal.
    """
    reading = source.suffix.lower() == ".json"
    if not reading:
        processes.join_launched(devices)
    if reading:
        strange = [
            f"--{name.replace('_', '-')}"
            for name in context.params
            if name not in _OF_DOCUMENTS and targets.given(context, name)
        ]
        if strange:
            raise OptionError(f"{source} is computed already: {', '.join(strange)} would change nothing; leave it out.")
    if plot_group is not None and plot is None:
        raise OptionError("--plot-group says what is drawn: give --plot FILE too.")
    if lr_batch is not None and lr_scaling is None:
        raise OptionError("--lr-batch says where the rate's growth starts: give --lr-scaling too.")
    if processes.leads():
        targets.check_file(plot, "--plot", (".svg", ".pdf", ".png"))
        targets.check_file(out, "--out", (".json",))

    # Loaded here: `landscape --help` must not wait for pydantic. None of it loads torch.
    from landscape.workflows.batch_scaling_document import read_batch_scaling

    if reading:
        _show(read_batch_scaling(source), None, json, plot, plot_group)
        return
    from landscape.config.analysis import AnalysisRun
    from landscape.config.batch_scaling import BatchScalingSettings
    from landscape.config.recipe import validate

    settings = validate(
        BatchScalingSettings,
        {
            "batch_sizes": batch_sizes, "by": by, "lr": lr, "lr_scaling": lr_scaling, "lr_batch": lr_batch,
            "split": split, "samples": samples, "seed": seed, "dtype": dtype, "bn": bn,
        },
    )  # fmt: skip
    # From here on torch is loaded.
    group = processes.enter(devices)
    from landscape.workflows.batch_scaling import batch_scaling_checkpoint
    from landscape.workflows.source import Source

    run = validate(AnalysisRun, {"batch_size": batch_size, "devices": group.device})
    where = Source(model=model, data=data, normalize=normalize, key=key, problem_file=problem)
    with watch_share("gradients of batches", quiet=quiet or not processes.leads()) as on_share:
        study = batch_scaling_checkpoint(
            source, settings=settings, run=run, source=where, on_share=on_share, group=group
        )
    if processes.leads():
        _show(study, out, json, plot, plot_group)


def _show(study: BatchScaling, out: Path | None, json: bool, plot: Path | None, group: str | None) -> None:
    from landscape.workflows.batch_scaling_document import WHOLE

    if out is not None:
        from landscape.files import write_atomically

        write_atomically(out, study.to_json().encode())
        console.say(f"wrote {out}")
    if plot is not None:
        # Loaded here: only a figure needs matplotlib.
        from landscape.plots.style import save
        from landscape.workflows.batch_scaling_figure import scaling_figure

        save(scaling_figure(study, group=group or WHOLE), plot)
        console.say(f"wrote {plot}")
    if json:
        console.write_document(study.to_json())
    else:
        console.show(scaling_tables(study))


def scaling_tables(study: BatchScaling) -> Group:
    """What was measured on, the values at each size, and exponents and noise scales of every group."""
    problem = study.problem
    words = [
        " ".join(str(problem[key]) for key in ("model", "data", "split") if problem.get(key) is not None),
        f"{format_count(problem['samples'])} samples",
        f"{format_count(problem['parameters'])} parameters",
        f"cost {format_short(study.cost)}",
    ]
    rates = sorted(set(study.rates))
    rate = (
        f"η = {format_plain(rates[0])}"
        if len(rates) == 1
        else f"η from {format_plain(rates[0])} to {format_plain(rates[-1])}"
    )
    note = "Exponents: 95% intervals by a bootstrap of blocks of samples; fits weighted by the number of batches."
    return Group(
        Text(", ".join(word for word in words if word)), Text(""), _points(study, rate), Text(""), _exponents(study),
        Text(note, style="dim"),
    )  # fmt: skip


def _points(study: BatchScaling, rate: str) -> Table:
    table = _table("batch size", ["batches", "E|gᵢ|", f"η E|gᵢ|, {rate}", "η E gᵢ²"])
    for point in study.whole.points:
        table.add_row(f"{point.size:,}", f"{point.batches:,}", *(_value(point, name) for name in _quantities()))
    return table


def _quantities() -> tuple[str, ...]:
    from landscape.workflows.batch_scaling_document import QUANTITIES

    return tuple(QUANTITIES)


def _value(point: Point, name: str) -> str:
    return format_value(*point.value(name))


def _exponents(study: BatchScaling) -> Table:
    columns = ["exponent of E|gᵢ|", "of η E|gᵢ|", "of η E gᵢ²", "noise S", "signal |G|²", "noise scale S/|G|²"]
    table = _table("parameters", columns)
    for name, found in study.groups.items():
        table.add_row(name.removesuffix(" parameters"), *(_exponent(found, q) for q in _quantities()), *_noise(found))
    expected = study.whole.exponents
    table.add_row(
        "where noise dominates", *(format_plain(expected[q].expected) for q in _quantities()), "", "", "", style="dim"
    )
    return table


def _exponent(found: GroupScaling, quantity: str) -> str:
    law = found.exponents[quantity]
    if math.isnan(law.exponent):
        return UNKNOWN
    exponent, low, high = (format_coefficient(number) for number in (law.exponent, law.low, law.high))
    return f"{exponent} [{low}, {high}]"


def _noise(found: GroupScaling) -> tuple[str, str, str]:
    scale = found.noise_scale
    told = format_value(scale.scale, scale.scale_stderr)
    if not scale.resolved:
        told = f"above {format_value(scale.at_least, digits=2)}" if math.isfinite(scale.at_least) else "not resolved"
    return format_value(scale.noise, scale.noise_stderr), format_value(scale.signal, scale.signal_stderr), told


def _table(first: str, others: list[str]) -> Table:
    table = Table(show_edge=False, pad_edge=False, header_style="bold")
    table.add_column(first, no_wrap=True)
    for name in others:
        table.add_column(name, justify="right", no_wrap=True)
    return table
