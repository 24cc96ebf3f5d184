"""`landscape verify`: are the numbers of this network right? Each is checked another way."""

from __future__ import annotations

from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group
from rich.table import Table
from rich.text import Text

from landscape.numbers import format_error, format_rounded, format_short
from landscape_cli import console, options
from landscape_cli.exits import Exit

if TYPE_CHECKING:
    from landscape.workflows.verification import Finding, Verification

_STYLES = {"passed": "green", "failed": "bold red", "kinks": "yellow", "skipped": "dim"}


def verify(
    checkpoint: Annotated[Path, typer.Argument(metavar="CKPT", help="A checkpoint file.", show_default=False)],
    checks: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES", help="Only these checks, comma-separated, by their names in the table.", show_default=False
        ),
    ] = None,
    split: options.Split = "train",
    samples: Annotated[
        str | None,
        typer.Option(
            metavar="N|first:N|all",
            help="How many samples of the split: N drawn by the seed, the first N, or all. Default: 64, or all "
            "of fewer.",
            rich_help_panel=options.WHAT,
            show_default=False,
        ),
    ] = None,
    bn: options.Bn = "eval",
    model: options.Model = None,
    data: options.Data = None,
    normalize: options.Normalize = None,
    key: options.Key = None,
    problem: options.ProblemFile = None,
    rtol: options.Rtol = 0.05,
    budget: options.Budget = 200.0,
    seed: options.Seed = 0,
    device: Annotated[
        str, typer.Option(metavar="DEVICE", help="auto, cpu or cuda:0.", rich_help_panel=options.HOW)
    ] = "auto",
    batch_size: options.BatchSize = None,
    json: Annotated[
        bool, typer.Option("--json", metavar="", help="Standard output carries the findings as JSON.")
    ] = False,
    quiet: options.Quiet = False,
) -> None:
    """Check the numbers on this very network: against plain PyTorch, differences, ARPACK, PyHessian and theory.

    Everything is computed in float64 on a few samples. The exit code is 4 where a check fails; then the likely cause is
    named.
    """
    # Loaded here: `landscape --help` must not wait for torch.
    from landscape.config.analysis import AnalysisRun, AnalysisSettings
    from landscape.config.recipe import validate

    chosen = {"split": split, "samples": samples, "bn": bn, "rtol": rtol, "budget": budget, "seed": seed}
    settings = validate(AnalysisSettings, chosen)
    validate(AnalysisRun, {"batch_size": batch_size})
    from landscape.workflows.source import Source
    from landscape.workflows.verify import verify_checkpoint

    def tell(name: str, finding: Finding | None) -> None:
        if finding is None and not quiet:
            console.say(f"  {name} ...")

    if not quiet:
        console.say(str(checkpoint))
    found = verify_checkpoint(
        checkpoint,
        checks=[name.strip() for name in checks.split(",")] if checks is not None else (),
        source=Source(model=model, data=data, normalize=normalize, key=key, problem_file=problem),
        split=settings.split,
        samples=settings.samples,
        bn=settings.bn,
        seed=settings.seed,
        rtol=settings.rtol,
        budget=settings.budget,
        device=device,
        batch_size=batch_size,
        on_check=tell,
    )
    if json:
        console.write_document(dumps(found.to_dict(), indent=2, allow_nan=False) + "\n")
    else:
        console.show(_shown(found, str(checkpoint)))
    if not found.passed:
        raise typer.Exit(Exit.NOT_VERIFIED)


def _shown(found: Verification, title: str) -> Group:
    table = Table(show_edge=False, pad_edge=False, header_style="bold")
    for column in ("check", "verdict", "what", "landscape", "otherwise", "apart", "allowed"):
        right = column in ("landscape", "otherwise", "apart", "allowed")
        table.add_column(column, no_wrap=column in ("check", "verdict") or right, justify="right" if right else "left")
    for name, finding in found.findings.items():
        verdict = Text(finding.verdict, style=_STYLES[finding.verdict])
        first: list[Text] = [Text(name), verdict]
        for figure in finding.figures:
            values = (format_rounded(number, digits=6) for number in (figure.value, figure.other))
            numbers = (*values, format_error(figure.difference), format_error(figure.allowed))
            style = "" if figure.holds else "bold red"
            table.add_row(*first, Text(figure.what), *(Text(number, style=style) for number in numbers))
            first = [Text(""), Text("")]
        if finding.reason:
            table.add_row(*first, Text(finding.reason, style="dim"))
            first = [Text(""), Text("")]
        for cause in finding.causes:
            table.add_row(*first, Text(f"likely cause: {cause}", style="bold"))
            first = [Text(""), Text("")]
    counts = {verdict: sum(f.verdict == verdict for f in found.findings.values()) for verdict in _STYLES}
    words = ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)
    heading = f"{title}: {found.problem['samples']} samples, {found.problem['parameters']:,} parameters"
    end = f"{'all that applies holds' if found.passed else 'NOT verified'}: {words} in {format_short(found.seconds)} s"
    return Group(Text(heading, style="bold"), table, Text(end, style="bold green" if found.passed else "bold red"))
