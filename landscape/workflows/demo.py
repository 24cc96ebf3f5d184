"""The demonstration: the study of Bias Decay Matters, section 3.2, so small that it takes minutes.

Nine networks on the embedded digits are trained and measured, each in a run folder of its own; what they tell together
becomes one report. What is there is kept: a demonstration that was stopped goes on where it was.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev

from landscape.config.analysis import AnalysisSettings
from landscape.config.sweep import SweepRun, read_sweep, runs_of
from landscape.data.digits import TEST_IMAGES
from landscape.errors import OptionError
from landscape.files import write_atomically
from landscape.numbers import format_share
from landscape.report.blocks import Block, Heading, Prose
from landscape.report.typeset import typeset
from landscape.study.chance import accuracy_error
from landscape.workflows.correlate import Correlations, run_study, study_of
from landscape.workflows.evidence import Evidence, find_sources, gather
from landscape.workflows.reporting import Choice, find, report_of
from landscape.workflows.reporting.document import LEAST, best_of
from landscape.workflows.study_pool import run_jobs
from landscape.workflows.study_run import Job, missing
from landscape.workflows.sweep import OnChange, RunState, plan_sweep, run_sweep

NAME = "landscape-demo"
SWEEP = "cs"
SCHEMA = "landscape.demo/1"

MEASURES = (
    "hessian_trace",
    "top_eigenvalues",
    "spectral_density",
    "fisher_rao",
    "connectivity",
    "connectivity_batch",
    "margin",
    "jacobian_norm",
)
SETTINGS = AnalysisSettings(measures=MEASURES, samples="all")
"""What is measured, on all images that the networks were trained on: their draw adds no error."""

_MARK = "demo.json"
"""In the folder of a demonstration: that it is one, and the hash of the report that it wrote."""

OnMeasured = Callable[[str, int, int], None]
"""Hears the name of a network that was measured, and of how many that had to be it is which."""


@dataclass(frozen=True)
class Demo:
    """A demonstration, begun or not.

    Attributes:
        folder: of the runs.
        report: where the report will be.
        states: of the runs, in the order of the sweep.
    """

    folder: Path
    report: Path
    states: Sequence[RunState]


@dataclass(frozen=True)
class Shown:
    """What a demonstration came to.

    Attributes:
        report: the typeset report.
        best: the network of the highest test accuracy.
        result: the correlations with the test accuracy; None of fewer than three networks.
    """

    report: Path
    best: Evidence
    result: Correlations | None


def plan_demo(where: Path) -> Demo:
    """Look for a demonstration in the folder `where` to go on with, else for a place for a new one.

    It is `landscape-demo` and `landscape-demo.pdf`, both with `-2`, `-3`, ... where something else is there: nothing is
    overwritten but a demonstration's own report.
    """
    runs = runs_of(read_sweep(SWEEP), small=True)
    for number in itertools.count(1):
        name = NAME if number == 1 else f"{NAME}-{number}"
        folder, report = where / name, where / f"{name}.pdf"
        if _free(folder, report) and (states := _planned(runs, folder)) is not None:
            return Demo(folder, report, states)
    raise AssertionError("counting has no end")


def train_demo(demo: Demo, *, workers: int, on_change: OnChange | None = None) -> None:
    """Train the networks that are not there yet, `workers` at a time.

    Raises:
        WriteError: the folder cannot be written.
        KeyboardInterrupt: Ctrl-C; what was finished is kept, the last epoch of each other run too.
    """
    if not (demo.folder / _MARK).exists():
        _mark(demo, "")
    run_sweep(demo.states, demo.folder, workers=workers, on_change=on_change)


def measure_demo(demo: Demo, *, workers: int, on_measured: OnMeasured | None = None) -> None:
    """Measure the trained networks by `SETTINGS`, `workers` at a time; each document stands beside its network.

    Nothing is taken from a cache: the demonstration shows the measuring.

    Raises:
        LandscapeError: of the first network that cannot be measured.
        KeyboardInterrupt: Ctrl-C; the networks that were measured stay so.
    """
    jobs = [Job(s.folder, s.config, analysis=SETTINGS) for s in demo.states if s.status == "finished"]
    left = missing(jobs)
    with closing(run_jobs(left, workers)) as ended:
        for number, end in enumerate(ended, start=1):
            if end.error is not None:
                raise end.error
            if on_measured is not None:
                on_measured(end.job.folder.name, number, len(left))


def report_demo(demo: Demo) -> Shown:
    """Write the report: the study, the comparison, the pages of the best network.

    Raises:
        OptionError: no network was trained.
        WriteError: the report cannot be written.
    """
    folders = [state.folder for state in demo.states if state.status == "finished"]
    if not folders:
        raise OptionError(f"none of the networks in {demo.folder} could be trained; {demo.folder}/sweep.csv says why.")
    networks = gather(find_sources(folders), {})
    choice = Choice(
        sections=[name for name, least in _SECTIONS if len(networks) >= least],
        networks=["best"],
        targets=("accuracy", "loss"),
        title="Which sharpness predicts accuracy?",
        lead=_lead(networks),
    )
    document, _ = report_of(find(folders), choice)
    pdf = typeset(document)
    _mark(demo, hashlib.sha256(pdf).hexdigest())
    write_atomically(demo.report, pdf)
    result = run_study(study_of(networks), groups=False) if len(networks) >= LEAST else None
    return Shown(demo.report, best_of(networks), result)


_SECTIONS = (("study", LEAST), ("comparison", 2), ("networks", 1))


def _free(folder: Path, report: Path) -> bool:
    """Whether a demonstration can be here: nothing is, or one of ours whose report nobody has changed."""
    try:
        mark = json.loads((folder / _MARK).read_text(encoding="utf-8"))
        ours = mark["schema"] == SCHEMA
        written = mark["report_sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        return not folder.exists() and not report.exists()
    if not report.exists():
        return bool(ours)
    return bool(ours) and report.is_file() and hashlib.sha256(report.read_bytes()).hexdigest() == written


def _planned(runs: Sequence[SweepRun], folder: Path) -> list[RunState] | None:
    """The states of the runs in `folder`; None where it holds runs of another version."""
    try:
        return plan_sweep(runs, folder)
    except OptionError:
        return None


def _mark(demo: Demo, sha256: str) -> None:
    text = json.dumps({"schema": SCHEMA, "report": demo.report.name, "report_sha256": sha256})
    write_atomically(demo.folder / _MARK, f"{text}\n".encode())


def _lead(networks: Sequence[Evidence]) -> list[Block]:
    """What was done, and what so few and so small networks can say."""
    count, samples = len(networks), networks[0].analysis.problem.get("samples")
    accuracies = [one.metrics["test_accuracy"] for one in networks]
    text = (
        f"A study of {count} small networks, trained on {samples:,} images of handwritten digits: a baseline and "
        "ablations of batch size, weight decay, learning rate and the decay of biases, the design of Bias Decay "
        f"Matters, section 3.2. Each was measured on all of these images by {len(MEASURES)} measures of sharpness and "
        "geometry, and the measures are held against how well the networks do on images that they have not seen."
    )
    blocks: list[Block] = [Prose(text)]
    if count < 2:
        return blocks
    error, spread = accuracy_error(fmean(accuracies), TEST_IMAGES), stdev(accuracies)
    images = round((max(accuracies) - min(accuracies)) * TEST_IMAGES)
    counted = (
        f"Accuracy is counted on {TEST_IMAGES} images: another draw of them would move it by {100 * error:.2f} "
        f"percentage points, one standard error. Among the networks its standard deviation is {100 * spread:.2f}, and "
        f"from the best ({format_share(max(accuracies))}) to the worst ({format_share(min(accuracies))}) it is "
        f"{images} images."
    )
    if spread < 2 * error:
        counted += " Their order is largely luck, and a measure that follows it follows luck."
    others = (
        "The second target, the test loss, tells confident mistakes from narrow ones and so has more to say. Still "
        f"there is one seed of each network, and {count} points leave wide intervals: read these before the "
        "coefficients. What the study does show is how such a question is asked, how exactly each measure is known, "
        "and what it costs. At the paper's own scale it is asked by landscape reproduce cs-figure1 --data "
        "cifar10:FOLDER."
    )
    return [*blocks, Heading(2, "What so small a study can say"), Prose(counted), Prose(others)]
