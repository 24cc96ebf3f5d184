"""`landscape demo`: train nine networks on real images, measure them, and report which measure predicts what."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from landscape_cli import console, options, targets
from landscape_cli.exits import Exit
from landscape_cli.places import places
from landscape_cli.sweep_progress import watch_sweep


def demo(quiet: options.Quiet = False) -> None:
    """Train nine small networks on real images, measure each, and report which measure goes with accuracy; no download.

    Less than four minutes on two cores. Writes landscape-demo.pdf and the runs in landscape-demo into the current
    folder, numbered where something else is there. What is finished is kept: after Ctrl-C the same command goes on.
    """
    # Loaded here: `landscape --help` must not wait for torch.
    from landscape.workflows.demo import measure_demo, plan_demo, report_demo, train_demo
    from landscape.workflows.sweep import exit_code
    from landscape_cli.correlate import correlation_tables
    from landscape_cli.sweep import sweep_table
    from landscape_cli.tables import analysis_tables

    planned = plan_demo(Path())
    targets.check_folder(planned.folder, "landscape demo")
    _, workers = places("cpu", None)
    workers = min(workers, len(planned.states))
    try:
        with watch_sweep(planned.states, quiet=quiet) as on_change:
            train_demo(planned, workers=workers, on_change=on_change)
        with _watch_measuring(quiet=quiet) as on_measured:
            measure_demo(planned, workers=workers, on_measured=on_measured)
    except KeyboardInterrupt:
        trained = sum(state.status == "finished" for state in planned.states)
        console.say(f"{trained} of {len(planned.states)} networks are trained; the same command goes on from here")
        raise typer.Exit(Exit.INTERRUPTED) from None
    shown = report_demo(planned)
    console.show(sweep_table(planned.states))
    if shown.result is not None:
        console.show(correlation_tables(shown.result))
    console.show(analysis_tables(shown.best.analysis, f"the best: {shown.best.name}"))
    for state in planned.states:
        if state.reason:
            console.say(f"{state.name}: {state.reason}")
    best = planned.folder / shown.best.name
    console.write_document(
        f"\nreport    {shown.report}\n"
        f"runs      {planned.folder}\n"
        f"next      landscape report {planned.folder} -o {planned.folder}.html\n"
        f"          landscape analyze {best / 'final.pt'} --split test\n"
    )
    if code := exit_code(planned.states):
        raise typer.Exit(code)


@contextmanager
def _watch_measuring(*, quiet: bool) -> Iterator[Callable[[str, int, int], None] | None]:
    """Give the callback that shows how many networks are measured: a live bar in a terminal, lines elsewhere."""
    if quiet:
        yield None
    elif console.messages().is_terminal:
        columns = (TextColumn("measuring"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=console.messages(), transient=True) as progress:
            task = progress.add_task("", total=None)
            yield lambda _, number, total: progress.update(task, completed=number, total=total)
    else:
        yield lambda name, number, total: console.say(f"[{number}/{total}] {name}: measured")
