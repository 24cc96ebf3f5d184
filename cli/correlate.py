"""`landscape correlate`: over many networks, which measure goes with how well they do."""

from __future__ import annotations

import json as jsons
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from landscape.errors import OptionError
from landscape_cli import console, options, targets

if TYPE_CHECKING:
    from landscape.study.correlation import Correlation
    from landscape.workflows.correlate import Correlations, Study


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
            metavar="NAMES",
            help="Measures and presets (quick, default, paper, all), or columns of a table, comma-separated. Default: "
            "all that are there.",
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

    A finished run that has no analysis is measured first, as by landscape analyze, with --measures, --samples, --split,
    --by and --device; its analysis.json stays beside it. Without any to measure, no torch is loaded.
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
        if parquet.suffix.lower() != ".parquet" or parquet.is_dir():
            raise OptionError(f"--parquet: expected the name of a file that ends in .parquet, got {parquet}.")
        need_parquet()
        targets.check_folder(parquet.parent, "--parquet")
    missing = {"samples": samples, "split": split, "by": by, "device": device}
    chosen = {"target": target, "measures": _names(measures, "--measures") or [], "axes": _names(axes, "--axes")}
    study = _study(runs, chosen, missing, mixed=allow_mixed, quiet=quiet)
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
    runs: list[Path], chosen: dict[str, Any], missing: dict[str, str | None], *, mixed: bool, quiet: bool
) -> Study:
    """What is correlated; networks without an analysis are measured, once all that can be refused before has been."""
    from landscape.study.coefficients import LEAST
    from landscape.workflows.correlate import check_target, study_of, study_of_table
    from landscape.workflows.evidence import find_sources, gather
    from landscape.workflows.numbers_table import TABLES, read_table
    from landscape_cli.measure_missing import measure_missing

    tables = [path for path in runs if path.suffix.lower() in TABLES]
    if tables:
        if len(runs) > 1:
            raise OptionError(f"expected one table and nothing else, got {len(runs)} paths; join the tables first.")
        return study_of_table(read_table(tables[0]), **chosen)
    check_target(chosen["target"])
    sources = find_sources(runs)
    # Of networks that are all measured a name may be that of a measure which this version does not know.
    asked = options.measure_names(",".join(chosen["measures"]) or None) if sources.missing else ()
    if sources.missing and len(sources.order) < LEAST and not sources.documents:
        raise OptionError(f"a correlation wants {LEAST} networks or more, got {len(sources.order)}.")
    measured = measure_missing(sources, quiet=quiet, mixed=mixed, measures=asked or None, **missing)
    networks = gather(sources, measured)
    left_out = {str(path): reason for path, reason in sources.left_out.items()}
    return study_of(networks, **chosen, allow_mixed=mixed, left_out=left_out)


def _names(text: str | None, option: str) -> list[str] | None:
    if text is None:
        return None
    names = list(dict.fromkeys(name.strip() for name in text.split(",")))
    if "" in names:
        raise OptionError(f"{option}: expected names, comma-separated, got {text!r}.")
    return names


def correlation_tables(result: Correlations) -> Group:
    """What was found, as tables and lines for a terminal."""
    # Loaded here: it comes with pandas and SciPy.
    from landscape.workflows.correlate_words import margin_words, remarks

    used = len(result.names)
    hyper = f"; they vary in {', '.join(result.axes)}" if result.axes else ""
    parts: list[Table | Text] = [Text(f"{result.target} of {used} networks{hyper}", style="bold")]
    parts.append(_table(result.whole(), "measure", granulated=bool(result.axes)))
    inner = [one for one in result.found if one.group]
    if inner:
        parts.append(_table(inner, "measure, substructure", granulated=bool(result.axes)))
    if result.margins is not None:
        parts.append(Text(margin_words(result.margins)))
    parts += [Text(remark.text, style="yellow" if remark.warns else "dim") for remark in remarks(result)]
    return Group(*parts)


def _table(found: list[Correlation], first: str, *, granulated: bool) -> Table:
    from landscape.workflows.correlate_words import interval, label_of, two

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column(first, no_wrap=True)
    names = ["n", "R²", "95 %", "slope", "Pearson", "Spearman", "Kendall", "95 %"]
    names += ["granulated", "sign error", "worst"] if granulated else []
    for name in names:
        table.add_column(name, justify="right")
    for one in found:
        label = label_of(one)
        if one.line is None:
            table.add_row(label, str(one.n), "refused", style="dim")
            continue
        c, i = one.coefficients, one.intervals
        cells = [
            str(one.n),
            two(one.line.r2),
            interval(i.r2.low, i.r2.high),
            "+" if one.line.slope > 0 else "−",
            two(c.pearson),
            two(c.spearman),
            two(c.kendall),
            interval(i.kendall.low, i.kendall.high),
        ]
        if granulated:
            cells += [two(one.granulated.psi), two(one.sign_error.mean), two(one.sign_error.worst)]
        table.add_row(label, *cells)
    return table
