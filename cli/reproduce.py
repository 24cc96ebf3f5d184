"""Repeat tables of the papers and write docs/reproduction.md: `python -m landscape_cli.reproduce`.

python -m landscape_cli.reproduce --small          the small recipes of the tables in SMALL
python -m landscape_cli.reproduce --small NAME...  of other tables
python -m landscape_cli.reproduce --page           write the page anew from the records that are there
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

from landscape.config.paper_recipes import tables
from landscape.errors import LandscapeError, OptionError, near
from landscape.workflows.reproduce import RunDone, StudyPlan, read_documents, reproduce, write_documents
from landscape.workflows.reproduction_page import write_page
from landscape_cli import console
from landscape_cli.exits import Exit

SMALL = ("cs-table2", "cs-table4", "tp-table2", "wd-table1", "cb-figure9", "cb-figure10", "cb-figure11-14")


def main(arguments: list[str]) -> int:
    """Make the runs that are missing, write the records and the page."""
    parser = argparse.ArgumentParser(
        prog="python -m landscape_cli.reproduce", description="Repeat tables of the papers."
    )
    parser.add_argument("names", nargs="*", default=list(SMALL), metavar="NAME", help="tables; see landscape recipes")
    parser.add_argument("--small", action="store_true", help="the small variant of each recipe")
    parser.add_argument("--seeds", type=int, default=None, help="runs of each row (default: the table's own)")
    parser.add_argument("--data", action="append", default=[], metavar="NAME:FOLDER", help="where a data set lies")
    parser.add_argument("--runs", type=Path, default=Path("runs/reproduce"), help="where runs are kept")
    parser.add_argument("--page", action="store_true", help="run nothing, write the page anew from the records")
    parser.add_argument("--docs", type=Path, default=Path("docs"), help="the folder of reproduction.md")
    given = parser.parse_args(arguments)
    try:
        for name in given.names:
            if name not in tables():
                raise OptionError(f"unknown table {name!r}.{near(name, tables())}")
        if not given.page:
            _run(given)
        records = given.docs / "reproduction"
        write_page(given.docs / "reproduction.md", read_documents(records), records)
    except LandscapeError as error:
        console.say_error(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        console.say("interrupted; finished runs are kept, the same command goes on")
        return Exit.INTERRUPTED
    return Exit.OK


def _run(given: argparse.Namespace) -> None:
    data = dict(text.split(":", 1) for text in given.data)
    chosen = {name: tables()[name] for name in given.names}
    plan = StudyPlan(chosen, given.runs / ("small" if given.small else "full"), given.small, given.seeds, data)
    workers = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    begun = time.monotonic()

    def say(done: RunDone) -> None:
        values = done.outcome.values
        what = done.outcome.diverged or f"test accuracy {values['test_accuracy']:.4f}"
        left = (time.monotonic() - begun) / done.number * (done.total - done.number)
        console.say(f"[{done.number}/{done.total}, {left / 60:.0f} min left] {done.recipe} seed {done.seed}: {what}")

    write_documents(reproduce(plan, workers=workers, on_run=say), given.docs / "reproduction")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
