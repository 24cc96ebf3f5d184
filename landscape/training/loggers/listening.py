"""Hands the history and the track of a run to loggers, as a listener to its events."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

from landscape.config.training import TrainConfig
from landscape.training.events import EpochFinished, Event, OnEvent, Tracked, TrainingStarted
from landscape.training.loggers.logger import Logger, LoggerFamily
from landscape.training.loggers.tensorboard import TENSORBOARD
from landscape.training.loggers.wandb import WANDB
from landscape.training.run_folder import RunFolder

LOGGERS: Mapping[str, LoggerFamily] = MappingProxyType({family.name: family for family in (TENSORBOARD, WANDB)})


class Log:
    """The loggers of a run.

    Values are named `history/train_loss`, `track/norm` and, of a substructure, `track/norm/conv.weight`.

    Args:
        names: of `LOGGERS`; `csv` stands for the files that are always written.
        folder: of the run.
        config: its settings.

    Raises:
        OptionError: what a logger needs is not installed.
    """

    def __init__(self, names: Sequence[str], folder: RunFolder, config: TrainConfig) -> None:
        self._families = [LOGGERS[name] for name in dict.fromkeys(names) if name != "csv"]
        for family in self._families:
            family.check()
        self._folder, self._settings = folder, config.plain()
        self._loggers: list[Logger] = []

    @contextmanager
    def open(self, on_event: OnEvent) -> Iterator[OnEvent]:
        """Give a callback that logs and passes every event on to `on_event`; the loggers are closed after the block."""

        def call(event: Event) -> None:
            self._hear(event)
            on_event(event)

        try:
            yield call if self._families else on_event
        finally:
            for logger in self._loggers:
                logger.close()
            self._loggers = []

    def _hear(self, event: Event) -> None:
        match event:
            case TrainingStarted():
                self._loggers = [f.open(self._folder, self._settings, event.first_step) for f in self._families]
            case EpochFinished():
                self._log(event.row["step"], {f"history/{name}": value for name, value in event.row.items()})
            case Tracked() if event.rows:
                values = {"/".join(filter(None, ("track", r.quantity, r.group))): r.value for r in event.rows}
                self._log(event.rows[0].step, values)

    def _log(self, step: int, values: Mapping[str, Any]) -> None:
        numbers = {
            name: float(value)
            for name, value in values.items()
            if isinstance(value, (int, float)) and math.isfinite(value) and name != "history/step"
        }
        for logger in self._loggers:
            logger.log(step, numbers)
