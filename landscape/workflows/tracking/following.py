"""Joins a tracker to `train`: from the settings of a run to rows in its folder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml
from torch import nn

from landscape.config.recipe import read_recipe, validate
from landscape.config.tracking import DEFAULT_SAMPLES, TrackSettings
from landscape.data import choose_samples
from landscape.errors import OptionError
from landscape.files import write_atomically
from landscape.problem import Problem
from landscape.training.events import Event, NotTracked, OnEvent, StepDone, Tracked
from landscape.training.run_folder import RunFolder
from landscape.training.samples import Samples
from landscape.training.state import TrainingState
from landscape.training.step_plan import StepPlan
from landscape.training.track_file import TrackRow
from landscape.workflows.tracking.quantities import chosen
from landscape.workflows.tracking.tracker import Tracker


def track_settings(asked: TrackSettings | None, folder: RunFolder, *, resume: bool) -> TrackSettings | None:
    """What a run follows: what is asked for; of a resumed run what it followed before.

    Raises:
        OptionError: a name is unknown, or a resumed run followed something else.
    """
    if asked is not None:
        chosen(asked.names)
    if not resume or not folder.track_settings.exists():
        return asked
    known = validate(TrackSettings, read_recipe(folder.track_settings))
    if asked is not None and asked != known:
        there, here = known.model_dump(), asked.model_dump()
        different = [f"{name}: {there[name]} there, {here[name]} asked" for name in there if there[name] != here[name]]
        raise OptionError(
            f"{folder.track} holds another track ({'; '.join(different)}). Leave out --track and its options to go on "
            "with it."
        )
    return known


class Following:
    """The tracker of a run, if it has one, between the loop and the run folder.

    A moment at the end of an epoch is written before the epoch's checkpoint: where a run is stopped, rows without a
    checkpoint are dropped and come again, and none is missing.
    """

    def __init__(self, tracker: Tracker | None, plan: StepPlan, folder: RunFolder) -> None:
        self._tracker, self._plan, self._folder = tracker, plan, folder
        self.settings: TrackSettings | None = None

    def hearing(self, on_event: OnEvent) -> OnEvent:
        """A callback for the loop, which counts the steps and passes every event on."""
        tracker = self._tracker
        if tracker is None:
            return on_event

        def call(event: Event) -> None:
            if isinstance(event, StepDone):
                # After an epoch's last step its weights may be rescaled, before they are evaluated.
                tracker.step(ends_epoch=event.step == self._plan.first(event.epoch + 1))
            on_event(event)

        return call

    def end_epoch(self, row: dict[str, Any]) -> None:
        """Follow the end of the epoch of a history row, epoch 0 too."""
        if self._tracker is None:
            return
        if row["epoch"] == 0:
            self._keep_settings()
            self._tracker.record(rate=row["lr"])
        else:
            self._tracker.end_epoch(last=row["epoch"] == self._plan.epochs)

    def _keep_settings(self) -> None:
        assert self.settings is not None
        text = yaml.safe_dump(self.settings.model_dump(mode="json"), sort_keys=False)
        write_atomically(self._folder.track_settings, text.encode())


def follow(
    settings: TrackSettings | None,
    state: TrainingState,
    samples: Samples,
    *,
    plan: StepPlan,
    folder: RunFolder,
    on_event: OnEvent,
) -> Following:
    """Set up the tracker of a run whose state is new, or restored.

    Args:
        settings: what is followed; None: nothing.
        state: of the training; it is looked at and never changed.
        samples: the training split; it is followed as it is, not augmented.
        plan: the epochs of the run and their steps.
        folder: of the run.
        on_event: hears of every moment, and of what has no value.

    Raises:
        OptionError, DataError: a quantity makes no sense for this run, or there are fewer samples.
    """
    if settings is None:
        return Following(None, plan, folder)
    total = len(samples)
    indices = choose_samples(total, settings.samples or str(min(DEFAULT_SAMPLES, total)), settings.seed)
    chosen_samples = next(samples.batches(len(indices), indices))
    problem = Problem(state.model, nn.CrossEntropyLoss(), chosen_samples, population=total)

    def tell(rows: Sequence[TrackRow]) -> None:
        on_event(Tracked(tuple(rows)))

    if state.step == 0 and state.epoch == 0 and not folder.last.exists():
        folder.track.unlink(missing_ok=True)  # of a run that was stopped before its first checkpoint
    tracker = Tracker(
        problem,
        settings.names,
        every=settings.every,
        optimizer=state.optimizer,
        path=folder.track,
        by=settings.by,
        seed=settings.seed,
        on_moment=tell,
        on_skip=lambda name, reason: on_event(NotTracked(name, reason)),
    )
    if folder.last.exists():
        tracker.load_state_dict({"epoch": state.epoch, "steps": state.step, "last": state.step})
    following = Following(tracker, plan, folder)
    following.settings = settings
    return following
