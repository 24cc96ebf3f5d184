"""`landscape report`: what was measured, compared, correlated, trained and drawn, in one document."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from landscape.errors import OptionError
from landscape_cli import console, targets


def report(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...",
            help="Analyses, correlations or comparisons (.json), surfaces (.npz), run folders of landscape train, "
            "folders of these, or checkpoints with an analysis beside them.",
            show_default=False,
        ),
    ],
    out: Annotated[
        list[Path] | None,
        typer.Option(
            "--out", "-o", metavar="FILE", show_default=False,
            help="The report, .pdf or .html (one file with all in it); may be repeated. Default: report.pdf.",
        ),
    ] = None,
    sections: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES", show_default=False,
            help="Of study, comparison, networks, training, surfaces, comma-separated. Default: all that the files "
            "give.",
        ),
    ] = None,
    networks: Annotated[
        str | None,
        typer.Option(
            metavar="all|best|none|NAMES", show_default=False,
            help="Which networks have pages of their own. Default: all of up to four, of more the best.",
        ),
    ] = None,
    target: Annotated[
        str,
        typer.Option(
            metavar="accuracy|gap|loss",
            help="What a study of the networks predicts, as in landscape correlate; several are separated by commas.",
        ),
    ] = "accuracy",
    title: Annotated[
        str | None, typer.Option(metavar="TEXT", help="The title on the first page.", show_default=False)
    ] = None,
    allow_mixed: Annotated[
        bool,
        typer.Option(
            "--allow-mixed", metavar="",
            help="Hold networks against each other although data sets, settings or networks differ, and say so.",
        ),
    ] = False,
) -> None:  # fmt: skip
    """Write a report with contents and figures: networks, a comparison, a training, a study, surfaces, or all of them.

    Nothing is computed anew and no torch is loaded. The same files give the same bytes.
    """
    wanted = out or [Path("report.pdf")]
    if len(set(wanted)) < len(wanted):
        raise OptionError("--out: a file is named twice; name each once.")
    for path in wanted:
        targets.check_report(path, "--out")

    # Loaded here: `landscape --help` must not wait for matplotlib and the typesetter. None of it loads torch.
    from landscape.report.writing import write_document
    from landscape.workflows.reporting import Choice, find, report_of

    choice = Choice(
        sections=_names(sections),
        networks=_names(networks),
        targets=_names(target),
        allow_mixed=allow_mixed,
        title=title,
    )
    document, notes = report_of(find(files), choice)
    for note in notes:
        console.say(note)
    for path in wanted:
        write_document(document, path)
        console.say(f"wrote {path}")


def _names(text: str | None) -> list[str]:
    return [] if text is None else list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
