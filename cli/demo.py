"""`landscape demo`: train a small network on real images, measure it, typeset the report."""

from __future__ import annotations

from pathlib import Path

import typer

from landscape_cli import console, options
from landscape_cli.exits import Exit
from landscape_cli.train_progress import watch_training


def demo(quiet: options.Quiet = False) -> None:
    """Train a small residual network on real images, measure it and write a report; about a minute, no download.

    Writes landscape-demo.pdf and the run folder landscape-demo into the current folder, numbered where they are there.
    """
    # Loaded here: `landscape --help` must not wait for torch.
    from landscape.workflows.analyze import Interrupted
    from landscape.workflows.demo import Trained, measure_demo, train_demo
    from landscape_cli.progress import watch_analysis
    from landscape_cli.tables import analysis_tables

    with watch_training("resnet8 on digits", quiet=quiet) as on_training:
        trained: Trained = train_demo(Path(), on_training)
    try:
        with watch_analysis(str(trained.checkpoint), quiet=quiet) as on_analysis:
            measured = measure_demo(trained, on_analysis)
    except Interrupted:
        console.say(f"the trained network is kept; measure it with: landscape analyze {trained.checkpoint}")
        raise typer.Exit(Exit.INTERRUPTED) from None
    console.show(analysis_tables(measured.analysis, str(trained.checkpoint)))
    console.write_document(
        f"\nreport    {measured.report}\n"
        f"document  {measured.document}\n"
        f"next      landscape analyze {trained.checkpoint} --split test\n"
    )
