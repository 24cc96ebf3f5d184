"""`landscape correlate`: over many networks, which measure goes with how well they do."""

from __future__ import annotations

import json as jsons
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from landscape.errors import OptionError
from landscape_cli import console, options, targets

if TYPE_CHECKING:
    from landscape.study.correlation import Correlation
    from landscape.study.margins import MarginRegression, NoRegression
    from landscape.workflows.correlate import Correlations, Study

_SHOWN = 8  # names of dropped networks in one line


def correlate(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN...",
            help="Analyses (JSON), run folders of landscape train, folders of analyses, checkpoints, or one table "
            "(.csv, .parquet) with a row a network.",
            show_default=False,
        ),
    ],
    target: Annotated[
        str,
        typer.Option(
            metavar="accuracy|gap|loss|COLUMN",
            help="What is predicted: test accuracy, train less test accuracy, test loss; of a table, a column.",
        ),
    ] = "accuracy",
    measures: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES", help="Measures (or columns), comma-separated. Default: all that are there.",
            show_default=False,
        ),
    ] = None,
    axes: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="The hyperparameters, comma-separated. Default: every setting that varies; of a table, none.",
            show_default=False,
        ),
    ] = None,
    no_log: Annotated[
        bool, typer.Option("--no-log", metavar="", help="Take the measures as they are, not their logarithms.")
    ] = False,
    no_groups: Annotated[
        bool, typer.Option("--no-groups", metavar="", help="Whole networks only, no substructures.")
    ] = False,
    allow_mixed: Annotated[
        bool,
        typer.Option(
            "--allow-mixed", metavar="", help="Correlate networks, data sets or settings of the analysis that differ."
        ),
    ] = False,
    resamples: Annotated[
        int, typer.Option(metavar="N", min=0, help="Bootstrap samples of the networks; 0: no intervals.")
    ] = 1000,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Of the bootstrap and of the folds.")] = 0,
    csv: Annotated[
        bool, typer.Option("--csv", metavar="", help="Standard output carries a row a measure as CSV.")
    ] = False,
    json: Annotated[
        bool, typer.Option("--json", metavar="", help="Standard output carries all of it as JSON, the points too.")
    ] = False,
    parquet: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write what --csv has as Parquet; wants pyarrow.", show_default=False),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Draw each measure against the target, .svg, .pdf or .png.", show_default=False
        ),
    ] = None,
    plot_groups: Annotated[
        bool, typer.Option("--plot-groups", metavar="", help="Draw the substructures too.")
    ] = False,
    samples: options.Samples = None,
    split: options.Split = "train",
    by: options.By = "role",
    device: options.Device = None,
    quiet: options.Quiet = False,
) -> None:  # fmt: skip
    """Correlate measures with test accuracy over many networks: R² with intervals, rank correlations, warnings.

    A finished run that has no analysis is measured first, as by landscape analyze, with --samples, --split, --by and
    --device; its analysis.json stays beside it. Without any to measure, no torch is loaded.
    """
    if csv and json:
        raise OptionError("--csv and --json both want standard output: give one of them.")
    if plot_groups and plot is None:
        raise OptionError("--plot-groups says what is drawn: give --plot FILE too.")
    if plot_groups and no_groups:
        raise OptionError("--plot-groups and --no-groups contradict each other: give one of them.")

    # Loaded here: `landscape --help` must not wait for pandas, SciPy and matplotlib. None of it loads torch.
    from landscape.plots.style import FORMATS, save
    from landscape.workflows.correlate import run_study
    from landscape.workflows.numbers_table import need_parquet, write_parquet

    if plot is not None:
        if plot.suffix.lower() not in FORMATS:
            raise OptionError(f"--plot: expected a name that ends in {', '.join(FORMATS)}, got {plot}.")
        targets.check_folder(plot.parent, "--plot")
    if parquet is not None:
        need_parquet()
        targets.check_folder(parquet.parent, "--parquet")
    wanted = [_names(text) for text in (measures, axes)]
    missing = {"samples": samples, "split": split, "by": by, "device": device}
    study = _study(runs, target, wanted[0] or [], wanted[1], allow_mixed, missing, quiet)
    result = run_study(study, log=not no_log, groups=not no_groups, resamples=resamples, seed=seed)
    if plot is not None:
        from landscape.workflows.correlate_figure import correlation_figure

        save(correlation_figure(result, groups=plot_groups), plot)
        console.say(f"wrote {plot}")
    if parquet is not None:
        write_parquet(result.table(), parquet)
        console.say(f"wrote {parquet}")
    if csv:
        console.write_document(result.table().to_csv(index=False))
    elif json:
        console.write_document(jsons.dumps(result.to_plain(), indent=2, allow_nan=False) + "\n")
    else:
        console.show(correlation_tables(result))


def _study(
    runs: list[Path],
    target: str,
    measures: list[str],
    axes: list[str] | None,
    allow_mixed: bool,
    missing: dict[str, str | None],
    quiet: bool,
) -> Study:
    from landscape.workflows.correlate import study_of, study_of_table
    from landscape.workflows.evidence import find_sources, gather
    from landscape.workflows.numbers_table import TABLES, read_table
    from landscape_cli.measure_missing import measure_missing

    tables = [path for path in runs if path.suffix.lower() in TABLES]
    if tables:
        if len(runs) > 1:
            raise OptionError(f"expected one table and nothing else, got {len(runs)} paths; join the tables first.")
        return study_of_table(read_table(tables[0]), target=target, measures=measures, axes=axes)
    sources = find_sources(runs)
    measured = measure_missing(sources, quiet=quiet, mixed=allow_mixed, **missing)
    networks = gather(sources, measured)
    left_out = {str(path): reason for path, reason in sources.left_out.items()}
    return study_of(networks, target=target, measures=measures, axes=axes, allow_mixed=allow_mixed, left_out=left_out)


def _names(text: str | None) -> list[str] | None:
    return None if text is None else list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def correlation_tables(result: Correlations) -> Group:
    """What was found, as tables and lines for a terminal."""
    used = len(result.names)
    hyper = f"; they vary in {', '.join(result.axes)}" if result.axes else ""
    parts: list[Table | Text] = [Text(f"{result.target} of {used} networks{hyper}", style="bold")]
    parts.append(_table(result.whole(), "measure", granulated=bool(result.axes)))
    inner = [one for one in result.found if one.group]
    if inner:
        parts.append(_table(inner, "measure, substructure", granulated=bool(result.axes)))
    if result.margins is not None:
        parts.append(Text(_margin_words(result.margins)))
    parts += [Text(line, style="dim" if quiet else "yellow") for line, quiet in _remarks(result)]
    return Group(*parts)


def _table(found: list[Correlation], first: str, *, granulated: bool) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column(first, no_wrap=True)
    names = ["n", "R²", "95 %", "slope", "Pearson", "Spearman", "Kendall", "95 %"]
    names += ["granulated", "sign error", "worst"] if granulated else []
    for name in names:
        table.add_column(name, justify="right")
    for one in found:
        label = f"{one.measure}, {one.group}" if one.group else one.measure
        if one.line is None:
            table.add_row(label, str(one.n), "refused", style="dim")
            continue
        c, i = one.coefficients, one.intervals
        cells = [
            str(one.n),
            _two(one.line.r2),
            _interval(i.r2.low, i.r2.high),
            "+" if one.line.slope > 0 else "−",
            _two(c.pearson),
            _two(c.spearman),
            _two(c.kendall),
            _interval(i.kendall.low, i.kendall.high),
        ]
        if granulated:
            cells += [_two(one.granulated.psi), _two(one.sign_error.mean), _two(one.sign_error.worst)]
        table.add_row(label, *cells)
    return table


def _remarks(result: Correlations) -> list[tuple[str, bool]]:
    """What the table cannot say, a line each, with whether it is said quietly: refusals, dropped networks, warnings."""
    remarks: list[tuple[str, bool]] = [(note, True) for note in result.notes]
    refused: dict[str, list[str]] = {}
    dropped: dict[tuple[str, ...], list[str]] = {}
    for one in result.found:
        label = f"{one.measure}, {one.group}" if one.group else one.measure
        if one.refused is not None:
            refused.setdefault(one.refused, []).append(label)
        elif one.dropped:
            dropped.setdefault(tuple(f"{name} ({why})" for name, why in one.dropped.items()), []).append(label)
        if one.explained_by and not one.group:
            words = ", ".join(f"{name} (leaves {_two(left)})" for name, left in one.explained_by.items())
            remarks.append((f"warning: {label}: the order is explained by {words}", False))
    remarks += [(f"refused: {_few(labels)}: {reason}", True) for reason, labels in refused.items()]
    every = len([one for one in result.found if one.refused is None])
    for reasons, labels in dropped.items():
        of = "all measures" if len(labels) == every else _few(labels)
        remarks.append((f"dropped {len(reasons)} of {len(result.names)} from {of}: {_few(reasons)}", True))
    return remarks


def _margin_words(margins: MarginRegression | NoRegression) -> str:
    from landscape.study.margins import NoRegression

    if isinstance(margins, NoRegression):
        return f"margin regression refused: {margins.reason}"
    kind = "logarithms of the margins'" if margins.log else "margins'"
    text = (
        f"regression on the {kind} {', '.join(margins.entries)}: R² {_two(margins.r2)}, "
        f"adjusted {_two(margins.adjusted_r2)}, {margins.folds} folds {_two(margins.folds_r2)}, n {margins.n}"
    )
    text += "".join(f"; {entry} left out ({why})" for entry, why in margins.left_out.items())
    if margins.dropped:
        text += (
            f"; dropped {len(margins.dropped)}: {_few([f'{name} ({why})' for name, why in margins.dropped.items()])}"
        )
    return text


def _few(names: list[str] | tuple[str, ...]) -> str:
    rest = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {rest} more (--json has all)" if rest > 0 else "")


def _two(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.2f}".replace("-", "−")


def _interval(low: float, high: float) -> str:
    return "" if math.isnan(low) else f"[{_two(low)}, {_two(high)}]"
