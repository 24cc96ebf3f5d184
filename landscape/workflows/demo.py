"""The demonstration: train a small network on real images, measure it, write the report."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path

from landscape.config.analysis import AnalysisRun, AnalysisSettings
from landscape.config.recipe import packaged_recipe, validate
from landscape.config.training import TrainConfig, TrainRun
from landscape.records import Analysis
from landscape.report import write_report
from landscape.training.events import OnEvent as OnTraining
from landscape.training.events import ignore
from landscape.workflows.analyze import OnEvent as OnAnalysis
from landscape.workflows.analyze import analyze_checkpoint
from landscape.workflows.source import Source
from landscape.workflows.train import TrainResult, train

NAME = "landscape-demo"

SETTINGS = AnalysisSettings(samples="512")
"""What is measured: everything, on as many training images as keep the whole demonstration below 90 s on two cores."""


@dataclass(frozen=True)
class Trained:
    """The first half of the demonstration.

    Attributes:
        result: the finished training run.
        report: where the report will be.
    """

    result: TrainResult
    report: Path

    @property
    def checkpoint(self) -> Path:
        """The trained network."""
        return self.result.checkpoint


@dataclass(frozen=True)
class Measured:
    """The second half of the demonstration.

    Attributes:
        analysis: every measure of the trained network.
        document: the analysis as JSON, in the run folder.
        report: the typeset report.
    """

    analysis: Analysis
    document: Path
    report: Path


def train_demo(where: Path, on_event: OnTraining = ignore) -> Trained:
    """Train the recipe `demo` in the folder `where`.

    The run folder is `landscape-demo` and the report will be `landscape-demo.pdf`, both with `-2`, `-3`, ...
    where an earlier demonstration is there: nothing is overwritten.

    Raises:
        WriteError: the folder cannot be written.
    """
    folder, report = _free(Path(where))
    return Trained(train(validate(TrainConfig, packaged_recipe("demo")), TrainRun(out=folder), on_event), report)


def measure_demo(trained: Trained, on_event: OnAnalysis | None = None) -> Measured:
    """Measure the trained network by `SETTINGS`, write the document and the report.

    Nothing is taken from a cache: the demonstration shows the measuring.

    Raises:
        WriteError: the document or the report cannot be written.
        Interrupted: Ctrl-C; the trained network is kept.
    """
    analysis = analyze_checkpoint(
        trained.checkpoint, settings=SETTINGS, run=AnalysisRun(), source=Source(), on_event=on_event, cache=False
    )
    document = trained.result.folder / "analysis.json"
    analysis.write(document)
    write_report([analysis], trained.report)
    return Measured(analysis, document, trained.report)


def _free(where: Path) -> tuple[Path, Path]:
    """The first run folder and report of which neither is there."""
    for number in itertools.count(1):
        name = NAME if number == 1 else f"{NAME}-{number}"
        folder, report = where / name, where / f"{name}.pdf"
        if not folder.exists() and not report.exists():
            return folder, report
    raise AssertionError("counting has no end")
