"""`landscape analyze`: measure checkpoints, show the result, write it down."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from landscape.errors import LandscapeError, NotApplicableError
from landscape_cli import console, options, targets
from landscape_cli.exits import Exit

if TYPE_CHECKING:
    from landscape.config.analysis import AnalysisRun, AnalysisSettings
    from landscape.records import Analysis
    from landscape.workflows.analyze import Source


def analyze(
    checkpoints: options.Checkpoints,
    measures: options.Measures = None,
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
    rtol: options.Rtol = 0.05,
    budget: options.Budget = 200.0,
    seed: options.Seed = 0,
    engine: options.Engine = "landscape",
    hvp: options.Hvp = "exact",
    dtype: options.Dtype = "float32",
    device: options.Device = "cpu",
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
    # What can be wrong on the command line is found before torch is loaded and anything is computed.
    names = options.measure_names(measures)
    documents = targets.document_names(checkpoints)
    if out is not None:
        targets.check_folder(out, "--out")
    if report is not None:
        targets.check_report(report)

    # Loaded here, as everything below: `landscape --help` must not wait for it.
    from landscape.config.analysis import AnalysisRun, AnalysisSettings
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
        },
    )
    run = validate(AnalysisRun, {"batch_size": batch_size, "device": device})

    # From here on torch is loaded.
    from landscape.workflows.analyze import Source

    source = Source(model=model, data=data, normalize=normalize, key=key, problem_file=problem)
    outcome = _Outcome(cache=not no_cache)
    for number, (path, document) in enumerate(zip(checkpoints, documents, strict=True), start=1):
        title = str(path) if len(checkpoints) == 1 else f"{path} ({number} of {len(checkpoints)})"
        analysis = _measure(path, title, settings, run, source, outcome, quiet=quiet)
        if analysis is not None:
            outcome.finished.append(analysis)
            _show(analysis, title, to_terminal=not json, document=None if out is None else out / document)
        if outcome.interrupted:
            break

    if json:
        _write_json(outcome.finished, as_array=len(checkpoints) > 1)
    if report is not None and outcome.finished:
        # Loaded here: only a report needs the typesetter and the figures.
        from landscape.report import write_report

        write_report(outcome.finished, report)
        console.say(f"wrote {report}")
    _leave(outcome, as_one=len(checkpoints) == 1)


@dataclass
class _Outcome:
    """What came of the checkpoints so far, whether they may come from the cache, and the notes that were told."""

    cache: bool = True
    told: set[str] = field(default_factory=set)
    finished: list[Analysis] = field(default_factory=list)
    failures: list[tuple[Path, LandscapeError]] = field(default_factory=list)
    interrupted: bool = False


def _measure(
    path: Path,
    title: str,
    settings: AnalysisSettings,
    run: AnalysisRun,
    source: Source,
    outcome: _Outcome,
    *,
    quiet: bool,
) -> Analysis | None:
    """Measure one checkpoint; what goes wrong with it is noted in `outcome`, so that the others are still measured."""
    from landscape.workflows.analyze import Interrupted, analyze_checkpoint
    from landscape_cli.progress import watch_analysis

    try:
        with watch_analysis(title, quiet=quiet, told=outcome.told) as on_event:
            analysis = analyze_checkpoint(
                path, settings=settings, run=run, source=source, on_event=on_event, cache=outcome.cache
            )
    except Interrupted as stop:
        outcome.interrupted = True
        return stop.partial if stop.partial.measures else None
    except KeyboardInterrupt:
        outcome.interrupted = True
        return None
    except LandscapeError as error:
        outcome.failures.append((path, error))
        return None
    for name in settings.measures:
        reason = analysis.measures[name].skipped
        if reason is not None:
            outcome.failures.append((path, NotApplicableError(f"{name} does not apply: {reason}")))
    return analysis


def _show(analysis: Analysis, title: str, *, to_terminal: bool, document: Path | None) -> None:
    from landscape_cli.tables import analysis_tables

    if analysis.problem.get("published_md5") is False:
        console.say(f"note: the files of {analysis.problem['data']} are not the published ones (their md5 differs)")
    if to_terminal:
        console.show(analysis_tables(analysis, title))
    if document is not None:
        analysis.write(document)
        console.say(f"wrote {document}")


def _write_json(finished: Sequence[Analysis], *, as_array: bool) -> None:
    if as_array:
        console.write_document(dumps([analysis.to_dict() for analysis in finished], indent=2, allow_nan=False) + "\n")
    elif finished:
        console.write_document(finished[0].to_json())


def _leave(outcome: _Outcome, *, as_one: bool) -> None:
    """End with the exit code of what happened; failures are told last, where they are not scrolled away."""
    if as_one and len(outcome.failures) == 1 and not outcome.interrupted:
        raise outcome.failures[0][1]
    for path, error in outcome.failures:
        console.say_error(str(error) if as_one else f"{path}: {error}")
    if outcome.interrupted:
        names = [name for analysis in outcome.finished[-1:] for name in analysis.measures]
        console.say(f"kept what was finished: {', '.join(names)}" if names else "nothing was finished")
        raise typer.Exit(Exit.INTERRUPTED)
    if outcome.failures:
        raise typer.Exit(max(error.exit_code for _, error in outcome.failures))
