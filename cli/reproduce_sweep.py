"""Figures of the papers that are a sweep and a correlation: train, measure, correlate, draw."""

from __future__ import annotations

import json as jsons
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from landscape_cli import console
from landscape_cli.correlate import correlation_tables
from landscape_cli.measure_missing import measure_missing
from landscape_cli.sweep_progress import watch_sweep

if TYPE_CHECKING:
    from landscape.config.sweep import SweepRun


@dataclass(frozen=True)
class Figure:
    """A figure that is a sweep and a correlation: of which paper, what it shows, which measures it takes.

    `settings` are over those of the sweep, in both variants; `small` are over them in the small one.
    """

    paper: str
    of: str
    title: str
    sweep: str
    measures: tuple[str, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    small: Mapping[str, Any] = field(default_factory=dict)


_MEASURES = ("hessian_trace", "fisher_rao", "connectivity")
# The small variants: the plain network of figure 1, and a narrow VGG with batch normalisation, as in WD table 1.
_PLAIN = {"model": "mlp:depth=4,width=32", "data": "digits"}
_NORMED = {"model": "vgg11-bn:width=0.0625", "data": "digits", "epochs": 20, "warmup": 6}

FIGURES = {
    "cs-figure1": Figure(
        "CS", "figure 1", "Sharpness against accuracy of nine networks", "cs", _MEASURES
    ),
    "cs-figure5": Figure(
        "CS", "figure 5", "The same, CIFAR-100", "cs", _MEASURES, {"data": "cifar100"}, _PLAIN
    ),
    "cs-figure6": Figure(
        "CS", "figure 6", "The same, a deeper VGG with BN", "cs", _MEASURES, {"model": "vgg19-bn"}, _NORMED
    ),
    "cs-figure7": Figure(
        "CS", "figure 7", "The same, a deeper VGG with BN, CIFAR-100", "cs", _MEASURES,
        {"model": "vgg19-bn", "data": "cifar100"}, _NORMED,
    ),
}  # fmt: skip


def sweep_runs(name: str, *, small: bool, seeds: int | None, data: dict[str, str]) -> list[SweepRun]:
    """The networks of the figure `name`, with the folders of data sets by name in place."""
    from landscape.config.sweep import read_sweep, runs_of, with_changes

    figure = FIGURES[name]
    own = {**figure.settings, **(figure.small if small else {})}
    sweep = with_changes(read_sweep(figure.sweep), own, seeds)
    wanted = runs_of(sweep, small=small)[0].config.data
    over = {"data": f"{wanted}:{data[wanted]}"} if wanted in data else {}
    return runs_of(with_changes(sweep, over), small=small)


def reproduce_figure(
    name: str, runs: list[SweepRun], folder: Path, out: Path, *, workers: int, devices: tuple[str, ...], quiet: bool
) -> None:
    """Train, measure, correlate, and write NAME.json and NAME.svg into `out`.

    Raises:
        typer.Exit: a run failed; those that did not are correlated before, where there are three.
        LandscapeError: what is wrong with the settings or the data.
    """
    from landscape.files import write_atomically
    from landscape.plots.style import save
    from landscape.workflows.correlate import run_study, study_of
    from landscape.workflows.correlate_figure import correlation_figure
    from landscape.workflows.evidence import find_sources, gather
    from landscape.workflows.sweep import exit_code, plan_sweep, run_sweep

    states = plan_sweep(runs, folder)
    with watch_sweep(states, quiet=quiet) as on_change:
        run_sweep(states, folder, workers=workers, devices=devices, on_change=on_change)
    for state in states:
        if state.reason:
            console.say(f"{state.name}: {state.reason}")
    sources = find_sources([state.folder for state in states])
    about = FIGURES[name]
    measured = measure_missing(sources, quiet=quiet, mixed=False, measures=about.measures, device=devices[0])
    left_out = {str(path): reason for path, reason in sources.left_out.items()}
    study = study_of(
        gather(sources, measured),
        target="accuracy", measures=list(about.measures), axes=None, allow_mixed=False, left_out=left_out,
    )  # fmt: skip
    result = run_study(study, log=True, groups=False, resamples=1000, seed=0)
    document = jsons.dumps(result.to_plain(), indent=2, allow_nan=False) + "\n"
    write_atomically(out / f"{name}.json", document.encode())
    save(correlation_figure(result, groups=False), out / f"{name}.svg")
    console.show(correlation_tables(result))
    console.write_document(f"\nwrote     {out / name}.json, {out / name}.svg\n")
    if code := exit_code(states):
        raise typer.Exit(code)
