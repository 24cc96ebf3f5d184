"""From a problem or a checkpoint to an `Analysis`: every measure, what they share computed once."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from landscape.catalog import PRESETS, expand
from landscape.config.analysis import AnalysisRun, AnalysisSettings
from landscape.config.measure_options import own_options
from landscape.config.recipe import validate
from landscape.distributed import ALONE, Group, parse_devices
from landscape.errors import LandscapeError, NotApplicableError, OptionError, near
from landscape.float32_products import full_products
from landscape.measures import MEASURES, evaluate
from landscape.measures.sharing import Shared
from landscape.memory import watch_peak
from landscape.parameters import group_parameters
from landscape.problem import Problem
from landscape.records import Analysis, Record
from landscape.work import Work, count_work
from landscape.workflows.description import describe, provenance
from landscape.workflows.events import (
    Interrupted,
    MeasureFinished,
    MeasureProgress,
    MeasureStarted,
    NotKept,
    OnEvent,
)
from landscape.workflows.fingerprint import training_digest
from landscape.workflows.known import Known
from landscape.workflows.out_of_memory import memory_errors
from landscape.workflows.shared_spectrum import SharedSpectrum
from landscape.workflows.source import Source


def analyze_checkpoint(
    path: Path | str,
    *,
    settings: AnalysisSettings | None = None,
    run: AnalysisRun | None = None,
    source: Source | None = None,
    on_event: OnEvent | None = None,
    cache: bool | Path = True,
    group: Group = ALONE,
) -> Analysis:
    """Load a checkpoint and measure it; `cache` as in `analyze`.

    Args:
        path: the checkpoint.
        settings: what decides the values.
        run: how it is run; where `devices` names several, the group says which is this process's.
        source: where the network and the data come from.
        on_event: hears of the progress.
        group: the processes that share the samples; each calls this function and gets the same analysis.

    Raises:
        LandscapeError: what is wrong with the file, the data or the options.
        Interrupted: Ctrl-C; carries what was finished.
    """
    settings, run, source = settings or AnalysisSettings(), run or AnalysisRun(), source or Source()
    _check_options(settings.options, _chosen(settings.measures))
    device = group.device if group.size > 1 else _one_device(run.devices)
    with memory_errors(run.batch_size):
        problem = source.problem(
            path,
            split=settings.split,
            samples=settings.samples,
            seed=settings.seed,
            dtype=settings.dtype,
            device=device,
            bn=settings.bn,
            batch_size=run.batch_size,
        )
    return _measure(problem.across(group), settings, on_event, cache)


def analyze(
    problem: Problem,
    measures: Sequence[str] = (),
    *,
    on_event: OnEvent | None = None,
    cache: bool | Path = False,
    **settings: Any,
) -> Analysis:
    """Measure a problem.

    Args:
        problem: the problem; its samples, dtype and BatchNorm mode are as it was made.
        measures: names of measures or presets (`quick`, `default`, `paper`, `all`); the default ones if empty.
        on_event: hears of the progress.
        cache: whether to take what an earlier analysis found and to keep what this one finds, in the user's cache
            folder (True) or in that folder (a path). A measure's result is kept as soon as it is there.
        settings: `rtol`, `budget`, `top`, `connectivity_batch`, `seed`, `by`, `engine`, `hvp`, `options` of
            `landscape.config.analysis.AnalysisSettings`.

    Returns:
        The analysis. A measure that does not apply is there with its reason in `skipped`.

    Raises:
        OptionError: a name or a value is unknown.
        NonFiniteError: a loss or a product is NaN or infinite.
        OutOfMemoryError: a batch did not fit.
        Interrupted: Ctrl-C; carries what was finished.
        An error in the middle carries what was finished as well, as its `partial`.
    """
    fixed = {"split", "samples", "dtype", "bn"} & settings.keys()
    if fixed:
        raise OptionError(f"{', '.join(sorted(fixed))} belong to the problem; give them to landscape.load or Problem.")
    values = {
        "measures": tuple(measures),
        "bn": problem.bn,
        "dtype": str(problem.dtype).removeprefix("torch."),
        **settings,
    }
    return _measure(problem, validate(AnalysisSettings, values), on_event, cache)


def _one_device(text: str) -> str:
    names = parse_devices(text).names
    if len(names) > 1 and text != "auto":
        raise OptionError(
            f"devices {text!r} is {len(names)} processes, and this is one; name one device, or give a group "
            "(landscape.distributed.join) in each process of a launcher."
        )
    return names[0]


def _chosen(names: Sequence[str]) -> list[str]:
    unknown = next((name for name in names if name not in MEASURES and name not in PRESETS), None)
    if unknown is not None:
        raise OptionError(f"unknown measure {unknown!r}.{near(unknown, [*MEASURES, *PRESETS])}")
    return list(expand(names))


def _check_options(options: Mapping[str, Mapping[str, Any]], names: Sequence[str]) -> None:
    for name, own in options.items():
        if name not in MEASURES:
            raise OptionError(f"options for an unknown measure {name!r}.{near(name, MEASURES)}")
        own_options(name, own)
        if name not in names:
            raise OptionError(f"options for {name}, which is not measured; add it to the measures.")


def _measure(problem: Problem, settings: AnalysisSettings, on_event: OnEvent | None, cache: bool | Path) -> Analysis:
    names = _chosen(settings.measures)
    _check_options(settings.options, names)
    group_parameters(problem.infos, settings.by)  # a wrong pattern is told before anything long
    start = time.perf_counter()
    records: dict[str, Record] = {}
    tell: OnEvent = on_event or (lambda _: None)
    options = {name: _options(name, settings) for name in names if _computes(settings.engine, name)}
    with full_products(), count_work() as total, memory_errors(problem.batch_size):
        # process 0 alone looks into the cache and fills it: what is computed must be the same in all
        group = problem.group
        known = Known(problem, cache if group.rank == 0 else False, lambda reason: tell(NotKept(reason)))
        evaluation = group.first(known.evaluation())
        if evaluation is None:
            evaluation = evaluate(problem)
            known.keep_evaluation(evaluation)
        known_by = {name: {**own, **_trained(problem, name)} for name, own in options.items()}
        found = group.first(known.records(known_by))
        about = describe(problem, evaluation.loss, evaluation.accuracy, evaluation.classes)

        def finish(*, whole: bool = True) -> Analysis:
            # an interrupted process cannot ask the others what they did
            cost = total.gradient_equivalents(len(problem) if whole else max(problem.own_count, 1))
            return Analysis(
                measures=records,
                problem=about,
                settings={
                    **settings.model_dump(),
                    "split": about["split"],
                    "measures": names,
                    "samples": settings.samples or about.get("subset", str(len(problem))),
                },
                checkpoint=problem.about.get("checkpoint", {}),
                total={
                    "cost": float(problem.group.sum_array(np.array(cost))) if whole else cost,
                    "seconds": time.perf_counter() - start,
                    "cached": [name for name in records if name in found],
                },
                provenance=provenance(),
            )

        spectrum = SharedSpectrum(problem, settings, [name for name in names if name not in found])
        shared = Shared(problem, {need for name in names if name not in found for need in MEASURES[name].needs})
        try:
            for index, name in enumerate(names):
                tell(MeasureStarted(name, index, len(names)))
                if name in found:
                    records[name] = found[name]
                else:
                    with memory_errors(problem.batch_size):
                        records[name] = _one(problem, name, settings, spectrum, shared, on_event)
                    later = [MEASURES[other].needs for other in names[index + 1 :] if other not in found]
                    shared.keep_only({need for needs in later for need in needs})
                    known.keep(name, known_by.get(name, {}), records[name])
                spectrum.let_go(name)
                tell(MeasureFinished(name, records[name], cached=name in found))
        except KeyboardInterrupt as error:
            raise Interrupted(finish(whole=False)) from error
        except LandscapeError as error:
            error.partial = finish(whole=False)
            raise
        return finish()


def _one(
    problem: Problem,
    name: str,
    settings: AnalysisSettings,
    spectrum: SharedSpectrum,
    shared: Shared,
    on_event: OnEvent | None,
) -> Record:
    measure = MEASURES[name]
    if not _computes(settings.engine, name):
        return Record.skip(f"--engine {settings.engine} does not compute it; use --engine landscape")
    known: tuple[str, float] = ("", settings.budget)
    own = max(problem.own_count, 1)

    def report(work: Work) -> None:
        if on_event is not None:
            on_event(MeasureProgress(name, work.gradient_equivalents(own), known[1], known[0]))

    def learn(message: str, expected: float) -> None:
        nonlocal known
        known = (message, expected)

    options = _options(name, settings)
    try:
        # around the shared Krylov run too: it is part of the measure that makes it
        with count_work(on_charge=report), watch_peak(problem.device) as peak:
            if measure.krylov is not None and settings.engine == "landscape":
                options["spectrum"] = spectrum.get(learn)
            if measure.needs:
                options["shared"] = shared
            record = measure.function(problem, **options, on_progress=learn)
    except NotApplicableError as error:
        return Record.skip(str(error))
    if on_event is not None and measure.needs:  # what others had computed was not seen to pass
        on_event(MeasureProgress(name, record.cost, record.cost, known[0]))
    return replace(record, peak_memory=peak.bytes)


def _computes(engine: str, name: str) -> bool:
    measure = MEASURES[name]
    return engine in measure.engines or measure.krylov is None


def _options(name: str, settings: AnalysisSettings) -> dict[str, Any]:
    """The settings that a measure takes: those that it shares with others and its own."""
    shared = {key: getattr(settings, key) for key in MEASURES[name].options}
    return {**shared, **own_options(name, settings.options.get(name, {}))}


def _trained(problem: Problem, name: str) -> dict[str, Any]:
    """What decides the value of a measure that asks for the training, beside the problem and its settings."""
    return {"training": training_digest(problem)} if MEASURES[name].about.training_state else {}
