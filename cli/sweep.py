"""`landscape sweep`: train many networks from one file, show how they go, say what failed."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from landscape.numbers import format_plain
from landscape_cli import console, options, targets
from landscape_cli.places import places
from landscape_cli.sweep_progress import watch_sweep

if TYPE_CHECKING:
    from landscape.workflows.sweep import RunState


def sweep(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SWEEP",
            help="A YAML file with settings:, grid: and runs:, or a built-in sweep: cs, the nine networks of CS "
            "figure 1.",
            show_default=False,
        ),
    ],
    small: Annotated[
        bool, typer.Option("--small", metavar="", help="The small variant: what the file has under small:.")
    ] = False,
    seeds: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Make each run with the seeds 0 to N - 1.", show_default=False),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a setting of all runs; may be repeated."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Where the runs are kept. Default: runs/NAME, or runs/NAME-small.",
            show_default=False,
        ),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, help="Runs at a time, a process and a thread each. Default: one a core, or one a GPU.",
            show_default=False,
        ),
    ] = None,
    devices: Annotated[
        str,
        typer.Option(
            metavar="DEVICES", help="cpu, auto (all GPUs), cuda:1, or cuda:0,cuda:1; the runs take them in turn."
        ),
    ] = "cpu",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", metavar="", help="Check all settings, list the runs and make none.")
    ] = False,
    quiet: options.Quiet = False,
) -> None:  # fmt: skip
    """Train many networks: a grid or a list over any settings of landscape train, each in a run folder of its own.

    Every run is checked before the first begins. Finished runs are kept, others taken up where they were: the same
    command goes on. sweep.csv has a row a run. A run that fails stops no other; the exit code is then that of the
    failure.
    """
    # Loaded here: `landscape --help` must not wait for torch.
    from landscape.config.recipe import apply_overrides
    from landscape.config.sweep import read_sweep, runs_of, with_changes
    from landscape.workflows.sweep import TABLE, exit_code, plan_sweep, run_sweep

    names, workers = places(devices, jobs)
    chosen = with_changes(read_sweep(source), apply_overrides({}, overrides or []), seeds)
    folder = out if out is not None else Path("runs") / f"{Path(source).stem}{'-small' if small else ''}"
    states = plan_sweep(runs_of(chosen, small=small), folder)
    if dry_run:
        console.show(sweep_table(states))
        return
    targets.check_folder(folder, "--out")
    try:
        with watch_sweep(states, quiet=quiet) as on_change:
            run_sweep(states, folder, workers=workers, devices=names, on_change=on_change)
    except KeyboardInterrupt:
        done = sum(state.status == "finished" for state in states)
        console.say(f"{done} of {len(states)} runs are finished; finished epochs are kept: the same command goes on")
        raise
    console.show(sweep_table(states))
    for state in states:
        if state.reason:
            console.say(f"{state.name}: {state.reason}")
    done = sum(state.status == "finished" for state in states)
    following = f"next      landscape correlate {shlex.quote(str(folder))}\n" if done > 2 else ""
    console.write_document(f"\nfinished  {done} of {len(states)} runs\ntable     {folder / TABLE}\n{following}")
    if code := exit_code(states):
        raise typer.Exit(code)


def sweep_table(states: Sequence[RunState]) -> Table:
    """A row a run: its status, and the metrics of its final weights."""
    table = Table(show_edge=False, pad_edge=False, header_style="bold")
    table.add_column("run", overflow="fold")
    table.add_column("status", no_wrap=True)
    for title in ("train accuracy", "test accuracy", "test loss"):
        table.add_column(title, justify="right")
    for state in states:
        numbers = [state.metrics.get(name) for name in ("train_accuracy", "test_accuracy", "test_loss")]
        cells = (state.name, state.status, *("" if number is None else format_plain(number) for number in numbers))
        table.add_row(*(Text(cell) for cell in cells))
    return table
