"""`landscape reproduce`: repeat tables of the papers, write the records and what they show."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from landscape.errors import OptionError, near
from landscape_cli import console, options, targets
from landscape_cli.places import places
from landscape_cli.reproduce_scaling import reproduce_scaling_figure, takes_scaling
from landscape_cli.reproduce_sweep import FIGURES, reproduce_figure, sweep_runs
from landscape_cli.reproduce_tracked import reproduce_tracked_figure, takes_tracked

if TYPE_CHECKING:
    from landscape.config.paper_recipes import Table as PaperTable
    from landscape.workflows.reproduce import RunDone

SMALL = ("cs-table2", "cs-table4", "tp-table2", "wd-table1", "cb-figure9", "cb-figure10", "cb-figure11-14")


def reproduce(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME...]", help="Tables or figures, see --list. With --small default: seven that take minutes.",
            show_default=False,
        ),
    ] = None,
    list_all: Annotated[
        bool, typer.Option("--list", metavar="", help="List the names, what each repeats and what it takes.")
    ] = False,
    small: Annotated[
        bool, typer.Option("--small", metavar="", help="The small variant, on the embedded digits.")
    ] = False,
    seeds: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Runs of each row. Default: the table's own.", show_default=False),
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME:FOLDER", help="Where a data set lies, for the full scale; may be repeated."),
    ] = None,
    out: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Where NAME.md, NAME.json and NAME.svg are written.")
    ] = Path("reproduction"),
    runs: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Where the runs are kept; other calls find them there.")
    ] = Path("runs/reproduce"),
    jobs: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, help="Runs at a time, a process and a thread each. Default: one a core, or one a GPU.",
            show_default=False,
        ),
    ] = None,
    devices: Annotated[
        str, typer.Option(metavar="DEVICES", help="cpu, auto (all GPUs), cuda:1, or cuda:0,cuda:1.")
    ] = "cpu",
    page: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Fill this page between its markers from the records in --out, in place of NAME.md.",
            show_default=False,
        ),
    ] = None,
    no_run: Annotated[
        bool, typer.Option("--no-run", metavar="", help="Train nothing; write anew from the records in --out.")
    ] = False,
    quiet: options.Quiet = False,
) -> None:  # fmt: skip
    """Repeat tables or figures of the papers: every row over several seeds, then what they show, by one rule.

    Finished runs are kept and others taken up where they were: the same command goes on.
    """
    # Loaded here: `landscape --help` must not wait for pydantic; the list needs no torch.
    from landscape.config.paper_recipes import tables
    from landscape.config.scaling_figures import SCALING_FIGURES
    from landscape.config.tracked_figures import TRACKED_FIGURES

    known = [*FIGURES, *SCALING_FIGURES, *TRACKED_FIGURES, *tables()]
    for name in names or ():
        if name not in known:
            raise OptionError(f"unknown table or figure {name!r}.{near(name, known)}")
    if list_all:
        console.show(_list(names or sorted(known)))
        return
    if not names and not small and not no_run:
        raise OptionError("expected a table to repeat (landscape reproduce --list has them), or --small for seven.")
    from landscape.workflows.reproduce import read_documents, write_documents
    from landscape.workflows.reproduction_page import read_page, write_page, write_section

    figures = [name for name in names or () if name not in tables()]
    chosen = {name: tables()[name] for name in names or SMALL if name not in figures}
    targets.check_folder(out, "--out")
    if figures and (no_run or page is not None):
        raise OptionError(f"{figures[0]} has no part in --no-run and --page; its finished runs are found without.")
    if page is not None:  # told before hours of training
        read_page(page, [] if no_run else chosen)
        targets.check_folder(page.parent, "--page")
    tracked = [name for name in figures if name in TRACKED_FIGURES]
    if tracked and seeds is not None:
        raise OptionError(f"{tracked[0]} shows single networks, as the paper does; leave out --seeds.")
    folders = {} if no_run else _folders(data or [], _data_of(chosen, figures, small), small)
    where, workers = places(devices, jobs)
    for name in figures:
        place = runs / ("small" if small else "full") / name
        if name in TRACKED_FIGURES:
            reproduce_tracked_figure(
                name, place, out, small=small, data=folders, workers=workers, devices=where, quiet=quiet
            )
            continue
        if name in SCALING_FIGURES:
            # the two that are means over the first epoch come from the same runs
            place = place if SCALING_FIGURES[name].first_step else place.with_name("cb-first-epoch")
            reproduce_scaling_figure(
                name, place, out, small=small, seeds=seeds, data=folders, workers=workers, devices=where, quiet=quiet
            )
            continue
        networks = sweep_runs(name, small=small, seeds=seeds, data=folders)
        reproduce_figure(name, networks, place, out, workers=workers, devices=where, quiet=quiet)
    if not chosen:
        return
    if no_run:
        found = read_documents(out)
        documents = {name: document for name, document in found.items() if name in (names or found)}
        absent = [name for name in names or () if name not in documents]
        if absent or not documents:
            raise OptionError(f"{out} holds no record of {', '.join(absent) or 'any table'}; leave out --no-run.")
    else:
        documents = _run(chosen, small, seeds, folders, runs, workers, where, quiet)
        write_documents(documents, out)
    if page is not None:
        write_page(page, read_documents(out), out)
        console.write_document(f"page      {page}\n")
        return
    for name, document in documents.items():
        console.write_document(write_section(name, document, out) + f"\nwrote     {out / name}.md\n")


def _run(
    chosen: dict[str, PaperTable],
    small: bool,
    seeds: int | None,
    data: dict[str, str],
    runs: Path,
    workers: int,
    where: tuple[str, ...],
    quiet: bool,
) -> dict[str, dict[str, Any]]:
    from landscape.workflows.reproduce import StudyPlan, reproduce

    plan = StudyPlan(chosen, runs / ("small" if small else "full"), small, seeds, data)
    begun = time.monotonic()

    def say(done: RunDone) -> None:
        what = done.outcome.diverged or f"test accuracy {done.outcome.values['test_accuracy']:.4f}"
        left = (time.monotonic() - begun) / done.number * (done.total - done.number)
        if not quiet:
            console.say(
                f"[{done.number}/{done.total}, {left / 60:.0f} min left] {done.recipe} seed {done.seed}: {what}"
            )

    try:
        return reproduce(plan, workers=workers, devices=where, on_run=say)
    except KeyboardInterrupt:
        console.say("finished epochs are kept: the same command goes on")
        raise


def _data_of(chosen: dict[str, PaperTable], figures: list[str], small: bool) -> list[tuple[str, str]]:
    """Each table or figure with each data set that it trains on."""
    from landscape.config.paper_recipes import recipes_of
    from landscape.config.scaling_figures import SCALING_FIGURES
    from landscape.config.tracked_figures import TRACKED_FIGURES

    tracked = [
        (name, line.config(small=small, data={}).data)
        for name in figures
        if name in TRACKED_FIGURES
        for line in TRACKED_FIGURES[name].lines
    ]
    scaling = [
        (name, str(SCALING_FIGURES[name].scale(small).settings["data"])) for name in figures if name in SCALING_FIGURES
    ]
    found = [
        (name, str((recipe.small if small else recipe.settings).get("data", "digits")))
        for name, about in chosen.items()
        for recipe in recipes_of(name, about)
    ]
    sweeps = [name for name in figures if name in FIGURES]
    return [
        *found,
        *tracked,
        *scaling,
        *((name, run.config.data) for name in sweeps for run in sweep_runs(name, small=small, seeds=None, data={})),
    ]


def _folders(given: list[str], wanted: list[tuple[str, str]], small: bool) -> dict[str, str]:
    """The folders of data sets by name.

    Raises:
        OptionError: one is no NAME:FOLDER, or a data set that is wanted has none.
    """
    from landscape.data import DATASETS

    folders = {}
    for text in given:
        name, colon, folder = text.partition(":")
        if not colon or not folder:
            raise OptionError(f"--data: expected NAME:FOLDER, got {text!r}.")
        if name not in DATASETS:
            raise OptionError(f"--data: unknown data set {name!r}.{near(name, DATASETS)}")
        folders[name] = folder
    for table, name in wanted:
        if name in DATASETS and DATASETS[name].needs_folder and name not in folders:
            remedy = "" if small else ", or take --small, which needs no files"
            raise OptionError(f"{table} trains on {name}: give its folder, --data {name}:FOLDER{remedy}.")
    return folders


def _list(names: list[str]) -> Table:
    from landscape.config.paper_recipes import recipes_of, tables
    from landscape.config.scaling_figures import SCALING_FIGURES
    from landscape.config.tracked_figures import TRACKED_FIGURES

    table = Table(show_edge=False, pad_edge=False, header_style="bold")
    for title in ("name", "paper", "of", "what", "full: runs, network, data, epochs", "small"):
        table.add_column(title, no_wrap=title in ("name", "paper", "of"))
    for name in names:
        cells: tuple[str, ...]
        if name in FIGURES:
            figure = FIGURES[name]
            cells = (figure.paper, figure.of, figure.title, *(_takes_sweep(name, small) for small in (False, True)))
        elif name in SCALING_FIGURES:
            shown = SCALING_FIGURES[name]
            cells = (shown.paper, shown.of, shown.title, *(takes_scaling(name, small) for small in (False, True)))
        elif name in TRACKED_FIGURES:
            drawn = TRACKED_FIGURES[name]
            cells = (drawn.paper, drawn.of, drawn.title, *(takes_tracked(name, small) for small in (False, True)))
        else:
            about = tables()[name]
            recipes = list(recipes_of(name, about))
            takes = (_takes([one.settings for one in recipes], about), _takes([one.small for one in recipes], about))
            cells = (about.paper, about.table, about.title, *takes)
        table.add_row(*(Text(cell) for cell in (name, *cells)))
    return table


def _takes_sweep(name: str, small: bool) -> str:
    runs = sweep_runs(name, small=small, seeds=None, data={})
    config = runs[0].config
    return f"{len(runs)} runs, {config.model}, {config.data}, {config.epochs} epochs"


def _takes(settings: list[Any], about: PaperTable) -> str:
    """Runs, networks, data sets and epochs of one of the two variants."""

    def several(key: str, default: Any) -> str:
        return ", ".join(dict.fromkeys(str(values.get(key, default)) for values in settings))

    # Rows whose settings are alike are made once.
    different = len({repr(sorted(values.items(), key=str)) for values in settings})
    words = f"{different * about.study.seeds} runs, {several('model', 'resnet8')}, {several('data', 'digits')}"
    return f"{words}, {several('epochs', 15)} epochs"
