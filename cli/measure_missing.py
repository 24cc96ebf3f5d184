"""Measuring the checkpoints that have no analysis yet, for commands that join analyses."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from landscape.errors import OptionError, WriteError
from landscape_cli import console, targets

if TYPE_CHECKING:
    from landscape.records import Analysis
    from landscape.workflows.evidence import Sources

# What must be alike for two analyses to be of the same thing.
_ALIKE = ("split", "samples", "seed", "bn", "dtype", "by", "connectivity_batch", "engine")


def measure_missing(sources: Sources, *, quiet: bool, mixed: bool, **settings: Any) -> dict[Path, Analysis]:
    """Analyze the checkpoints that have no analysis and write each document where it belongs.

    A setting that is not asked for is that of the analyses that are there, so that all are alike.

    Args:
        sources: what the command line leads to.
        quiet: show no progress.
        mixed: let the settings differ from those of the analyses that are there.
        settings: of `landscape.config.analysis.AnalysisSettings` and `Source`, and `device`; None is the default.

    Raises:
        OptionError: a setting is asked for that the analyses which are there were not made with.
        LandscapeError: of the first checkpoint that cannot be measured; what is finished is kept.
    """
    # None of this loads torch.
    from landscape.config.analysis import AnalysisRun, AnalysisSettings
    from landscape.config.recipe import validate
    from landscape.workflows.evidence import read_documents

    given = {name: value for name, value in settings.items() if value is not None}
    default = AnalysisSettings().model_dump()
    there = read_documents(sources.documents[0])[0].settings if sources.documents else {}
    wanted = [name for name in _ALIKE if name in given and given[name] != default[name]]
    for name in wanted:
        if name in there and str(there[name]) != str(given[name]) and not mixed:
            raise OptionError(
                f"--{name} {given[name]}: {sources.documents[0]} was made with {there[name]}; leave the option out, "
                "or remove that analysis to have it made anew."
            )
    missing = sources.missing
    if not missing:
        return {}
    for document in missing.values():
        if document is not None:
            targets.check_folder(document.parent, "analysis.json")
    # Loaded here: only a checkpoint without an analysis needs torch.
    from landscape.workflows.analyze import analyze_checkpoint
    from landscape.workflows.events import Interrupted
    from landscape.workflows.source import Source
    from landscape_cli.progress import watch_analysis

    source = Source(**{name: given.pop(name) for name in ("model", "data", "normalize") if name in given})
    run = validate(AnalysisRun, {"devices": given.pop("device", "auto")})
    alike = {name: there[name] for name in _ALIKE if name in there and name not in wanted}
    asked = validate(AnalysisSettings, {**given, **alike})
    found: dict[Path, Analysis] = {}
    told: set[str] = set()
    for number, (path, document) in enumerate(missing.items(), start=1):
        title = f"{path} ({number} of {len(missing)})"
        try:
            with watch_analysis(title, quiet=quiet, told=told) as on_event:
                analysis = analyze_checkpoint(path, settings=asked, run=run, source=source, on_event=on_event)
        except Interrupted as stop:
            raise KeyboardInterrupt from stop
        found[path] = analysis
        if document is not None:
            try:
                analysis.write(document)
            except WriteError as error:
                console.say(f"not kept: {error}")
            else:
                console.say(f"wrote {document}")
    return found
