"""Repeating tables of the papers: every row over several seeds, then what the table compares, by rule.

The runs of all tables are spread over processes; runs of the same settings, wherever they stand, are made once. A
study that was stopped goes on where it was: finished runs are kept, and so is the half of one.
"""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

import landscape
from landscape.config.paper_recipes import Claim, PaperRecipe, Table, recipes_of
from landscape.config.training import TrainConfig
from landscape.errors import OptionError
from landscape.files import write_atomically
from landscape.study.comparison import compare
from landscape.workflows.study_pool import run_jobs
from landscape.workflows.study_run import Job, Outcome, do, missing

SCHEMA = "landscape.reproduction/1"

CURVE_DIGITS = 5


@dataclass(frozen=True)
class StudyPlan:
    """What is reproduced.

    Attributes:
        tables: by name.
        folder: where the runs are kept.
        small: the small variant of each recipe.
        seeds: runs of each row; None: as many as the table's study says.
        data: folders of data sets by name, for what is not built in.
    """

    tables: Mapping[str, Table]
    folder: Path
    small: bool
    seeds: int | None = None
    data: Mapping[str, str] | None = None


@dataclass(frozen=True)
class RunDone:
    """A run is finished: `number` of `total` that had to be made; its recipe, seed and what it came to."""

    number: int
    total: int
    recipe: str
    seed: int
    outcome: Outcome


OnRun = Callable[[RunDone], None]


@dataclass(frozen=True)
class _Planned:
    """A job with the recipe and the seed that it is for."""

    recipe: str
    seed: int
    job: Job
    needs: bool


def reproduce(
    plan: StudyPlan, *, workers: int = 1, devices: Sequence[str] = ("cpu",), on_run: OnRun | None = None
) -> dict[str, dict[str, Any]]:
    """Make the runs of `plan` that are not there and return a document for each table, by name.

    A document holds `schema`, `table`, `small`, `versions`, `rows` (recipe, settings, runs with their values and
    curves, `diverged` where one did), `left_out` (recipe -> the earlier one with the same settings) and `comparisons`.

    Args:
        plan: what is reproduced.
        workers: processes, each with one thread.
        devices: of the processes, in turn.
        on_run: hears of each run that was made.

    Raises:
        LandscapeError: what is wrong with the settings or the data of a run.
        ProcessError: a process died.
        KeyboardInterrupt: Ctrl-C; what was finished is kept.
    """
    chosen = {name: _distinct(name, table, plan) for name, table in plan.tables.items()}
    planned = [
        _planned(recipe, seed, plan)
        for name, (recipes, _) in chosen.items()
        for recipe in recipes
        for seed in range(_seeds(plan.tables[name], plan))
    ]
    # What needs the run of another row comes after all that do not.
    for late in (False, True):
        _make([run for run in planned if run.needs is late], workers, devices, on_run)
    return {name: _document(name, plan.tables[name], recipes, same, plan) for name, (recipes, same) in chosen.items()}


def write_documents(documents: Mapping[str, Mapping[str, Any]], folder: Path) -> None:
    """Write each document to NAME.json in `folder`.

    Raises:
        WriteError: a file cannot be written.
    """
    for name, document in documents.items():
        text = json.dumps(document, indent=1, allow_nan=False)
        # A list of numbers on one line: the curves are most of the file.
        text = re.sub(r"\[\s+([-\d.e+,\s]+?)\s+\]", lambda match: f"[{' '.join(match[1].split())}]", text)
        write_atomically(folder / f"{name}.json", (text + "\n").encode())


def read_documents(folder: Path) -> dict[str, dict[str, Any]]:
    """Read what `write_documents` wrote.

    Raises:
        OptionError: a file is of another schema.
    """
    documents = {}
    for path in sorted(folder.glob("*.json")):
        document = json.loads(path.read_text())
        if document.get("schema") != SCHEMA:
            raise OptionError(f"{path.name}: expected schema {SCHEMA}, got {document.get('schema')!r}.")
        documents[path.stem] = document
    return documents


def _make(wave: Sequence[_Planned], workers: int, devices: Sequence[str], on_run: OnRun | None) -> None:
    jobs: dict[Path, _Planned] = {}
    for planned in wave:
        first = jobs.get(planned.job.folder, planned)
        # The same run for two tables is made once, with the measures of both.
        measures = tuple(dict.fromkeys((*first.job.measures, *planned.job.measures)))
        jobs[planned.job.folder] = replace(first, job=replace(first.job, measures=measures))
    todo = {job.folder for job in missing([planned.job for planned in jobs.values()])}
    left = [planned for planned in jobs.values() if planned.job.folder in todo]
    with closing(run_jobs([planned.job for planned in left], workers, devices)) as ended:
        for number, end in enumerate(ended, start=1):
            if end.error is not None:
                raise end.error
            if on_run is not None and end.outcome is not None:
                planned = jobs[end.job.folder]
                on_run(RunDone(number, len(left), planned.recipe, planned.seed, end.outcome))


def _distinct(name: str, table: Table, plan: StudyPlan) -> tuple[list[PaperRecipe], dict[str, str]]:
    """The recipes of a table without those whose settings an earlier one has, and which earlier one that is."""
    first: dict[str, PaperRecipe] = {}
    same: dict[str, str] = {}
    for recipe in recipes_of(name, table):
        key = f"{recipe.config(small=plan.small).digest()} {sorted(recipe.needs.items())}"
        if key in first:
            same[recipe.name] = first[key].name
        else:
            first[key] = recipe
    return list(first.values()), same


def _planned(recipe: PaperRecipe, seed: int, plan: StudyPlan) -> _Planned:
    config = _config(recipe, seed, plan)
    job = Job(_folder(config, plan), config, recipe.about.study.measures)
    return _Planned(recipe.name, seed, job, bool(recipe.needs))


def _config(recipe: PaperRecipe, seed: int, plan: StudyPlan) -> TrainConfig:
    over: dict[str, Any] = {"seed": seed}
    data = (recipe.small if plan.small else recipe.settings).get("data", "")
    if plan.data and data in plan.data:
        over["data"] = f"{data}:{plan.data[data]}"
    others = {other.name: other for other in recipes_of(recipe.table, recipe.about)} if recipe.needs else {}
    for setting, name in recipe.needs.items():
        over[setting] = str(_folder(_config(others[name], seed, plan), plan).resolve())
    return recipe.config(small=plan.small, **over)


def _folder(config: TrainConfig, plan: StudyPlan) -> Path:
    """The run folder: by settings and seed, so that two tables may share a run."""
    words = re.sub(r"[^A-Za-z0-9.]+", "-", config.model)
    return plan.folder / f"{words}-{config.digest()[:12]}-seed{config.seed}"


def _seeds(table: Table, plan: StudyPlan) -> int:
    return plan.seeds if plan.seeds is not None else table.study.seeds


def _document(
    name: str, table: Table, recipes: Sequence[PaperRecipe], same: Mapping[str, str], plan: StudyPlan
) -> dict[str, Any]:
    rows = [_row(recipe, table, plan) for recipe in recipes]
    values = {row["recipe"].removeprefix(f"{name}-"): row["runs"] for row in rows}
    return {
        "schema": SCHEMA,
        "table": name,
        "small": plan.small,
        "seeds": _seeds(table, plan),
        "versions": {
            "landscape": landscape.__version__,
            "torch": str(torch.__version__),
            "python": platform.python_version(),
            # Its kernels sum in an order of their own, so that runs are the same bits on the same kind only.
            "cpu": torch.backends.cpu.get_cpu_capability(),
        },
        "rows": rows,
        "left_out": dict(same),
        "comparisons": [
            _comparison(claim, values) for claim in table.study.claims if claim.more in values and claim.than in values
        ],
    }


def _row(recipe: PaperRecipe, table: Table, plan: StudyPlan) -> dict[str, Any]:
    runs = []
    for seed in range(_seeds(table, plan)):
        job = _planned(recipe, seed, plan).job
        outcome = do(job)  # it is there; this reads it
        curve = [row.get(table.study.curve) for row in outcome.history]
        runs.append(
            {
                "seed": seed,
                "diverged": outcome.diverged,
                "values": {key: value for key, value in outcome.values.items() if key not in ("epoch", "step", "lr")},
                "curve": [None if value is None else float(f"{value:.{CURVE_DIGITS}g}") for value in curve],
            }
        )
    settings = recipe.small if plan.small else recipe.settings
    return {"recipe": recipe.name, "settings": dict(settings), "runs": runs}


def _comparison(claim: Claim, runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    def by_seed(row: str) -> dict[int, float]:
        return {run["seed"]: run["values"][claim.of] for run in runs[row] if claim.of in run["values"]}

    found = asdict(compare(by_seed(claim.more), by_seed(claim.than)))
    plain = {key: None if isinstance(value, float) and value != value else value for key, value in found.items()}
    return {"more": claim.more, "than": claim.than, "of": claim.of, **plain}
