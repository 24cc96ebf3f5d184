"""`landscape analyze`: measure checkpoints, show the result, write it down."""

from __future__ import annotations

from collections.abc import Sequence
from json import dumps
from typing import TYPE_CHECKING

import typer

from landscape.errors import OptionError
from landscape_cli import console, options, processes, targets
from landscape_cli.exits import Exit
from landscape_cli.measuring import Outcome, Task, measure_all

if TYPE_CHECKING:
    from landscape.records import Analysis


def analyze(
    context: typer.Context,
    checkpoints: options.Checkpoints,
    measures: options.Measures = "default",
    own: options.Set = None,
    split: options.Split = "train",
    samples: options.Samples = None,
    top: options.Top = 3,
    connectivity_batch: options.ConnectivityBatch = 128,
    by: options.By = "role",
    bn: options.Bn = "eval",
    model: options.Model = None,
    data: options.Data = None,
    normalize: options.Normalize = None,
    key: options.Key = None,
    problem: options.ProblemFile = None,
    initial: options.Initial = None,
    rtol: options.Rtol = 0.05,
    budget: options.Budget = 200.0,
    seed: options.Seed = 0,
    engine: options.Engine = "landscape",
    hvp: options.Hvp = "exact",
    dtype: options.Dtype = "float32",
    devices: options.Devices = "auto",
    device: options.Device = None,
    batch_size: options.BatchSize = None,
    no_cache: options.NoCache = False,
    out: options.Out = None,
    json: options.Json = False,
    report: options.Report = None,
    quiet: options.Quiet = False,
) -> None:
    """Measure the sharpness and geometry of trained networks.

    A table per checkpoint goes to standard output; --json, --out and --report write the same as a document.
    """
    devices = _devices(context, devices, device)
    processes.join_launched(devices)
    # What can be wrong on the command line is found before torch is loaded and anything is computed.
    names = options.measure_names(measures)
    documents = targets.document_names(checkpoints)
    if out is not None and processes.leads():
        targets.check_folder(out, "--out")
    if report is not None and processes.leads():
        targets.check_report(report, "--report")

    # Loaded here, as everything below: `landscape --help` must not wait for it.
    from landscape.config.analysis import AnalysisRun, AnalysisSettings
    from landscape.config.measure_options import read_assignments
    from landscape.config.recipe import validate

    settings = validate(
        AnalysisSettings,
        {
            "measures": names,
            "split": split,
            "samples": samples,
            "rtol": rtol,
            "budget": budget,
            "top": top,
            "connectivity_batch": connectivity_batch,
            "bn": bn,
            "dtype": dtype,
            "seed": seed,
            "by": by,
            "engine": engine,
            "hvp": hvp,
            "options": read_assignments(own or []),
        },
    )
    validate(AnalysisRun, {"batch_size": batch_size, "devices": devices})

    # From here on torch is loaded.
    group = processes.enter(devices)
    from landscape.workflows.source import Source

    run = validate(AnalysisRun, {"batch_size": batch_size, "devices": group.device})
    source = Source(model=model, data=data, normalize=normalize, key=key, problem_file=problem, initial=initial)
    still = quiet or not processes.leads()
    cache = not no_cache
    task = Task(checkpoints, documents, settings, run, source, out, cache=cache, quiet=still, tables=not json)
    outcome = measure_all(task, group)
    if not processes.leads():
        return
    if json:
        _write_json(outcome.finished, as_array=len(checkpoints) > 1)
    if report is not None and outcome.finished:
        # Loaded here: only a report needs the typesetter and the figures.
        from landscape.workflows.reporting import write_report

        write_report(outcome.finished, report)
        console.say(f"wrote {report}")
    _leave(outcome, as_one=len(checkpoints) == 1)


def _devices(context: typer.Context, devices: str, device: str | None) -> str:
    if device is None:
        return devices
    source = context.get_parameter_source("devices")
    if source is not None and source.name != "DEFAULT":
        raise OptionError(f"--device and --devices are the same: give one of them, not {device} and {devices}.")
    return device


def _write_json(finished: Sequence[Analysis], *, as_array: bool) -> None:
    if as_array:
        console.write_document(dumps([analysis.to_dict() for analysis in finished], indent=2, allow_nan=False) + "\n")
    elif finished:
        console.write_document(finished[0].to_json())


def _leave(outcome: Outcome, *, as_one: bool) -> None:
    """End with the exit code of what happened; failures are told last, where they are not scrolled away."""
    kept = ", ".join(name for analysis in outcome.finished[-1:] for name in analysis.measures)
    if as_one and outcome.broke_off and kept:
        console.say(f"kept what was finished: {kept}")
    if as_one and len(outcome.failures) == 1 and not outcome.interrupted:
        raise outcome.failures[0][1]
    for path, error in outcome.failures:
        named = as_one or str(error).startswith(str(path))
        console.say_error(str(error) if named else f"{path}: {error}")
    if outcome.interrupted:
        console.say(f"kept what was finished: {kept}" if kept else "nothing was finished")
        raise typer.Exit(Exit.INTERRUPTED)
    if outcome.failures:
        raise typer.Exit(max(error.exit_code for _, error in outcome.failures))
