"""Figures of CB that are gradients or strides against batch size: train, measure, fit, draw."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from landscape.numbers import format_plain, format_short, format_value
from landscape_cli import console


def reproduce_scaling_figure(
    name: str,
    folder: Path,
    out: Path,
    *,
    small: bool,
    seeds: int | None,
    data: dict[str, str],
    workers: int,
    devices: tuple[str, ...],
    quiet: bool,
) -> None:
    """Make the runs, fit the exponents, and write NAME.json and NAME.svg into `out`.

    Raises:
        LandscapeError: what is wrong with the settings or the data.
    """
    # Loaded here: `landscape reproduce --list` must not wait for torch.
    from landscape.config.scaling_figures import SCALING_FIGURES, runs_of
    from landscape.plots.style import save
    from landscape.workflows.reproduce_scaling import reproduce_scaling, write_scaling
    from landscape.workflows.scaling_reproduction_figure import scaling_reproduction_figure

    figure = SCALING_FIGURES[name]
    runs = runs_of(figure, small=small, seeds=seeds, data=data)

    def say(run: str, done: int, total: int) -> None:
        if not quiet:
            console.say(f"[{done}/{total}] {run}")

    document = reproduce_scaling(name, figure, runs, folder, small=small, workers=workers, devices=devices, on_done=say)
    write_scaling(document, out / f"{name}.json")
    save(scaling_reproduction_figure(document), out / f"{name}.svg")
    console.show(_tables(document, figure.title))
    console.write_document(f"\nwrote     {out / name}.json, {out / name}.svg\n")


def takes_scaling(name: str, small: bool) -> str:
    """What a figure takes, for the list."""
    from landscape.config.scaling_figures import SCALING_FIGURES, runs_of

    figure = SCALING_FIGURES[name]
    runs = runs_of(figure, small=small, seeds=None, data={})
    sizes = figure.scale(small).counts()
    span = f"batches of {sizes[0]:,} to {sizes[-1]:,}"
    config = runs[0].config
    return f"{len(runs)} runs, {config.model}, {config.data}, {config.epochs} epochs, {span}"


def _tables(document: Mapping[str, Any], title: str) -> Group:
    from landscape.workflows.scaling_reproduction_figure import exponent_words

    table = Table(show_edge=False, pad_edge=False, header_style="bold")
    table.add_column("batch size", justify="right")
    table.add_column("mean ± standard deviation", justify="right")
    for point in document["points"]:
        table.add_row(f"{point['size']:,}", format_value(point["mean"], point["deviation"] or float("nan")))
    lines = [f"{exponent_words(document)}; the paper's {format_plain(document['claimed'])}: {document['verdict']}"]
    known = [scale for scale in document["noise_scale"] if scale is not None]
    if known:
        lines.append(
            f"gradient noise scale of the layer: {format_short(min(known))} to {format_short(max(known))} samples; "
            "the paper's exponent is that of batches far below it"
        )
    settings = document["settings"]
    words = (
        f"{title}: {settings['model']}, {settings['data']}, layer {document['layer']}, {len(document['seeds'])} seeds"
    )
    return Group(Text(words, style="bold"), table, *(Text(line) for line in lines))
