"""Measuring chosen quantities while a network trains, in our loop or in anybody's."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from torch import optim

from landscape.config.tracking import Every
from landscape.errors import NonFiniteError, NotApplicableError, OptionError
from landscape.parameters import group_parameters
from landscape.problem import Problem
from landscape.records import Record
from landscape.training.strides import Strides
from landscape.training.track_file import COLUMNS, TrackFile, TrackRow
from landscape.workflows.analyze import analyze
from landscape.workflows.tracking.moment import Moment, Subject, Value
from landscape.workflows.tracking.quantities import Quantity, chosen

OnMoment = Callable[[Sequence[TrackRow]], None]
OnSkip = Callable[[str, str], None]


class Tracker:
    """Follows a network that is being trained, by the problem that it makes with a fixed set of samples.

        tracker = Tracker(problem, ["norms", "edge"], every=1, optimizer=optimizer, path="track.csv")
        tracker.record()                     # before the first step
        for epoch in range(10):
            for x, y in batches:
                ...
                optimizer.step()
                tracker.step()               # after each optimizer step
            tracker.end_epoch()              # after each epoch
        tracker.table                        # a pandas DataFrame

    It measures where a moment is due (`every`) and whenever `record` is called, never twice at one step. Measuring
    changes nothing of the training: not the weights, `.grad`, buffers, train and eval modes nor any random state.

    Args:
        problem: the network with its loss on the samples to follow; its weights are read where they are.
        measures: names of `QUANTITIES`: any measure of an analysis, or `norms`, `edge` and others.
        every: `5` (epochs) or `"100steps"`.
        optimizer: that of the training; some quantities need it.
        path: where the track is kept as CSV, from moment to moment. A file that is there is continued: only
            after `load_state_dict`, which says up to where.
        by: the substructures, as in an analysis.
        seed: of probes.
        on_moment: hears the rows of each moment.
        on_skip: hears, once each, which quantity has no value and why.

    Attributes:
        epoch, steps: done so far.
        skipped: quantity -> why it, or a part of it, has had no value.

    Raises:
        OptionError: a name is unknown, a quantity makes no sense here, or `path` holds a track already.
    """

    def __init__(
        self,
        problem: Problem,
        measures: Sequence[str] | str,
        *,
        every: int | str = 1,
        optimizer: optim.Optimizer | None = None,
        path: Path | str | None = None,
        by: str = "role",
        seed: int = 0,
        on_moment: OnMoment = lambda rows: None,
        on_skip: OnSkip = lambda name, reason: None,
    ) -> None:
        names = measures.split(",") if isinstance(measures, str) else measures
        self._quantities = chosen([name.strip() for name in names])
        group_parameters(problem.infos, by)  # a wrong pattern is told before anything long
        self.every = Every.parse(every)
        self._subject = Subject(problem, optimizer, by, seed)
        self._check()
        if any(quantity.strides for quantity in self._quantities):
            parameters = dict(problem.model.named_parameters())
            self._subject.strides = Strides({info.name: parameters[info.name] for info in problem.infos})
        self._file = TrackFile(None if path is None else Path(path))
        self._ready = self._file.path is None or not self._file.path.exists()
        self._rows: list[TrackRow] = []
        self._on_moment, self._on_skip = on_moment, on_skip
        self.skipped: dict[str, str] = {}
        self.epoch, self.steps = 0, 0
        self._last = -1  # the step of the last moment
        self._waits = False  # a moment that is due at the end of the epoch
        self._restart_strides()

    # -- in the loop ---------------------------------------------------------------------------------------------

    def step(self, *, ends_epoch: bool = False) -> bool:
        """After each optimizer step: count it, and measure where a moment is due. Returns whether it measured.

        Args:
            ends_epoch: the epoch's last step, after which something may still be done to the weights: a moment that is
                due waits for `end_epoch`.
        """
        if self._subject.strides is not None:
            self._subject.strides.step()
        self.steps += 1
        due = self.every.unit == "steps" and self.steps % self.every.count == 0
        if ends_epoch:
            self._waits, due = due, False
        return self.record() if due else False

    def end_epoch(self, *, last: bool = False) -> bool:
        """After each epoch: count it, and measure where a moment is due or the epoch is the last one."""
        self.epoch += 1
        due = last or self._waits or (self.every.unit == "epochs" and self.epoch % self.every.count == 0)
        self._waits = False
        done = self.record() if due else False
        self._restart_strides()
        return done

    def record(self, *, rate: float | None = None) -> bool:
        """Measure now, unless this step was measured already.

        Args:
            rate: the learning rate, where it is not the one that the optimizer holds.
        """
        if self.steps == self._last:
            return False
        if not self._ready:
            raise OptionError(
                f"{self._file.path} holds a track already; go on with it by load_state_dict, or choose another path."
            )
        rows = [TrackRow(self.epoch, self.steps, v.quantity, v.group, v.value, v.stderr) for v in self._measure(rate)]
        self._file.append(rows)
        self._rows += rows
        self._last = self.steps
        self._restart_strides()
        self._on_moment(rows)
        return True

    # -- what was found ------------------------------------------------------------------------------------------

    @property
    def rows(self) -> Sequence[TrackRow]:
        """All rows so far, in the order of the moments."""
        return tuple(self._rows)

    @property
    def table(self) -> pd.DataFrame:
        """All rows so far: `epoch`, `step`, `quantity`, `group` (empty for the whole), `value`, `stderr`."""
        return pd.DataFrame([vars(row) for row in self._rows], columns=list(COLUMNS))

    def write(self, path: Path | str) -> None:
        """Write the track to `path` as CSV, whole or not at all."""
        TrackFile(Path(path)).replace(self._rows)

    # -- stopping and going on -----------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint of the training has to keep, so that the track goes on where the training does."""
        return {"epoch": self.epoch, "steps": self.steps, "last": self._last}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from the state of a checkpoint, once the network has its weights.

        Later rows of the file are dropped, as they come again.
        """
        self.epoch, self.steps, self._last = (int(state[key]) for key in ("epoch", "steps", "last"))
        known = self._file.read() if self._file.path is not None else self._rows
        self._rows = [row for row in known if row.step <= self._last]
        self._file.replace(self._rows)  # also where none is dropped: a line may have been left half written
        self._ready = True
        self._restart_strides()

    # -- measuring -----------------------------------------------------------------------------------------------

    def _check(self) -> None:
        for quantity in self._quantities:
            try:
                quantity.check(self._subject)
            except OptionError as error:
                raise OptionError(f"cannot track {quantity.name}: {str(error).rstrip('.')}.") from error

    def _measure(self, rate: float | None) -> list[Value]:
        names = tuple(dict.fromkeys(name for quantity in self._quantities for name in quantity.measures))
        moment = Moment(self._subject, self._records(names), rate)
        values: dict[tuple[str, str], Value] = {}  # two quantities may have a value in common
        for quantity in self._quantities:
            for value in self._values(quantity, moment):
                values.setdefault((value.quantity, value.group), value)
        return list(values.values())

    def _records(self, names: tuple[str, ...]) -> dict[str, Record]:
        if not names:
            return {}
        subject = self._subject
        try:
            return dict(analyze(subject.problem, names, by=subject.by, seed=subject.seed).measures)
        except NonFiniteError:
            # A training that leaves the finite numbers is for its loop to stop.
            return {name: Record(math.nan) for name in names}

    def _values(self, quantity: Quantity, moment: Moment) -> list[Value]:
        found: list[Value] = []
        try:
            for value in quantity.compute(moment):
                found.append(value)  # one by one: what came before an exception stays
        except NotApplicableError as error:
            if quantity.name not in self.skipped:
                self.skipped[quantity.name] = str(error)
                self._on_skip(quantity.name, str(error))
        except NonFiniteError:
            found.append(Value(quantity.name, math.nan, math.nan))
        return found

    def _restart_strides(self) -> None:
        if self._subject.strides is not None:
            self._subject.strides.begin()
