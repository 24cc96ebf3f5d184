"""`landscape invariance`: the same function by other parameters, and which measures moved."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from landscape.errors import OptionError
from landscape_cli import console, options, processes, targets
from landscape_cli.exits import Exit

if TYPE_CHECKING:
    from landscape.workflows.invariance_document import Invariance

TRANSFORMATIONS = "What is done to the network"
_OF_DOCUMENTS = {"source", "json", "plot", "quiet"}
_SUFFIXES = (".svg", ".pdf", ".png")


def invariance(
    context: typer.Context,
    source: Annotated[
        Path,
        typer.Argument(
            metavar="CKPT|FILE.json",
            help="A checkpoint; or a document of this command, to show or draw again, which needs no network.",
            show_default=False,
        ),
    ],
    transform: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="rho (units of layers times c, what takes them in by c), scale (weights before a batch normalisation "
            "times c), fold (batch normalisation folded into the layer before it), comma-separated. Default: all that "
            "the network has a place for.",
            rich_help_panel=TRANSFORMATIONS, show_default=False,
        ),
    ] = None,
    factors: Annotated[
        str, typer.Option(metavar="C,...", help="The factors c of rho and scale.", rich_help_panel=TRANSFORMATIONS)
    ] = "0.5,2,10",
    units: Annotated[
        str,
        typer.Option(
            metavar="half|all|N|LAYER:K,...",
            help="Which units: half of them or N, drawn by the seed, all, or channel K of a layer (LAYER:*: all).",
            rich_help_panel=TRANSFORMATIONS,
        ),
    ] = "half",
    measures: Annotated[
        str,
        typer.Option(
            metavar="NAMES|none",
            help="Measures and presets as of landscape analyze, comma-separated; none compares the outputs alone.",
            rich_help_panel=options.WHAT,
        ),
    ] = "default",
    own: options.Set = None,
    split: options.Split = "train",
    samples: options.Samples = None,
    top: options.Top = 3,
    connectivity_batch: options.ConnectivityBatch = 128,
    model: options.Model = None,
    data: options.Data = None,
    normalize: options.Normalize = None,
    key: options.Key = None,
    problem: options.ProblemFile = None,
    rtol: options.Rtol = 0.05,
    budget: options.Budget = 200.0,
    seed: options.Seed = 0,
    dtype: options.Dtype = "float64",
    devices: options.Devices = "auto",
    batch_size: options.BatchSize = None,
    no_cache: options.NoCache = False,
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
            metavar="FILE", help="Draw the ratios to the original values: .svg, .pdf or .png.",
            rich_help_panel=options.OUTPUT, show_default=False,
        ),
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.pt", help="Write the transformed network, a checkpoint; with one --transform and one factor.",
            rich_help_panel=options.OUTPUT, show_default=False,
        ),
    ] = None,
    quiet: options.Quiet = False,
) -> None:  # fmt: skip
    """Give a network other parameters of the same function, and show which measures moved.

    That the outputs stay is checked every time, on all samples, and told. Measures are compared against rounding and
    four standard errors, and with what their definitions say.
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
    if processes.leads():
        targets.check_file(plot, "--plot", _SUFFIXES)
        targets.check_file(out, "--out", (".json",))
        targets.check_file(save, "--save", (".pt",))

    # Loaded here: `landscape --help` must not wait for pydantic. None of it loads torch.
    from landscape.workflows.invariance_document import read_invariance

    if reading:
        _show(read_invariance(source), None, json, plot)
        return
    names = () if measures == "none" else options.measure_names(measures)
    from landscape.config.analysis import AnalysisRun, AnalysisSettings
    from landscape.config.invariance import InvarianceSettings, parse_factors, parse_transforms
    from landscape.config.measure_options import read_assignments
    from landscape.config.recipe import validate

    settings = validate(
        InvarianceSettings,
        {"transforms": parse_transforms(transform), "factors": parse_factors(factors), "units": units},
    )
    analysis = validate(
        AnalysisSettings,
        {
            "measures": names, "split": split, "samples": samples, "rtol": rtol, "budget": budget, "top": top,
            "connectivity_batch": connectivity_batch, "dtype": dtype, "seed": seed,
            "options": read_assignments(own or []),
        },
    )  # fmt: skip
    # From here on torch is loaded.
    group = processes.enter(devices)
    from landscape.workflows.invariance import InvarianceInterrupted, invariance_checkpoint
    from landscape.workflows.source import Source
    from landscape_cli.variant_progress import watch_variants

    run = validate(AnalysisRun, {"batch_size": batch_size, "devices": group.device})
    where = Source(model=model, data=data, normalize=normalize, key=key, problem_file=problem)
    still = quiet or not processes.leads()
    interrupted = False
    try:
        with watch_variants(quiet=still) as on_progress:
            study = invariance_checkpoint(
                source, settings=settings, analysis=analysis, run=run, source=where, save=save,
                measure=measures != "none", on_progress=on_progress, cache=not no_cache, group=group,
            )  # fmt: skip
    except InvarianceInterrupted as stop:
        study, interrupted = stop.partial, True
    if not processes.leads():
        return
    if study.saved:
        console.say(f"wrote {save}")
    _show(study, out, json, plot)
    if interrupted:
        if not no_cache:
            console.say("what was measured is in the cache; the same command goes on with it")
        raise typer.Exit(Exit.INTERRUPTED)


def _show(study: Invariance, out: Path | None, json: bool, plot: Path | None) -> None:
    # Loaded here: Rich's tables are for those who look.
    from landscape_cli.invariance_tables import invariance_tables

    if out is not None:
        from landscape.files import write_atomically

        write_atomically(out, study.to_json().encode())
        console.say(f"wrote {out}")
    if plot is not None:
        # Loaded here: only a figure needs matplotlib.
        from landscape.plots.style import save
        from landscape.workflows.invariance_figure import study_figure

        save(study_figure(study), plot)
        console.say(f"wrote {plot}")
    if json:
        console.write_document(study.to_json())
    else:
        console.show(invariance_tables(study))
