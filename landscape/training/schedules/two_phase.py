"""The two-phase adaptive rate: explore at the large rate, then converge, cutting the rate where the landscape sharpens.

After each epoch e, with f its mean training loss (of the mini-batches as they were trained on, by sample):

    explore    until f has not fallen below its lowest for `patience` epochs: a plateau, at epoch x
    extra      ceil(x / 3) epochs more; after the last of them h' = h, f' = f
    converge   h = top eigenvalue of the Hessian block of the last weight layer on one large batch
               if h' > 0 and h' < h and f' < f:  eta <- factor eta,  h' <- 0
               else:                             h' <- h,  f' <- f

So the rate is never cut after two epochs in a row. *Our reading*: a plateau is measured against the lowest loss so far;
the rule's else covers every case without a cut (the paper's listing has lost its indentation).

Reference: two-phase adaptive learning rate, algorithm 1, sections 3.1 and 3.2.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from pydantic import Field
from torch import nn

from landscape.training.schedules.constant import constant
from landscape.training.schedules.family import Schedule, ScheduleFamily, WarmupOptions
from landscape.training.step_plan import StepPlan

# What an epoch asks of the network that it left; a workflow hands it in.
TopEigenvalue = Callable[[nn.Module], float]

PATIENCE_SHARE = 0.05
Phase = Literal["explore", "extra", "converge"]


class TwoPhaseOptions(WarmupOptions):
    """factor = `lr_factor`; `patience` None follows from the epochs, `extra_share` None is a third of x."""

    lr_factor: float = Field(default=0.5, gt=0, lt=1)
    patience: int | None = Field(default=None, ge=1)
    extra_share: float | None = Field(default=None, ge=0)


@dataclass(frozen=True)
class TwoPhaseRule:
    """The numbers of the rule: `patience` epochs, `extra` as a share of x (None: a third), `factor`."""

    patience: int
    factor: float = 0.5
    extra: float | None = None

    def extra_epochs(self, plateau: int) -> int:
        """Epochs to explore after the plateau at epoch `plateau`."""
        # A third as a float would not be one.
        return -(-plateau // 3) if self.extra is None else math.ceil(self.extra * plateau)


@dataclass(frozen=True)
class TwoPhaseState:
    """Where the rule stands after an epoch.

    Attributes:
        phase: of the epochs to come.
        epoch: epochs done.
        lowest: the lowest mean loss so far, and `lowest_epoch` its epoch.
        plateau: x, the epoch at which the plateau was seen.
        h, f: h' and f'.
        cuts: how often the rate was cut.
    """

    phase: Phase = "explore"
    epoch: int = 0
    lowest: float = math.inf
    lowest_epoch: int = 0
    plateau: int | None = None
    h: float = 0.0
    f: float = 0.0
    cuts: int = 0


def after_epoch(
    state: TwoPhaseState, rule: TwoPhaseRule, f: float, eigenvalue: Callable[[], float]
) -> tuple[TwoPhaseState, float | None]:
    """The state after one more epoch with mean loss `f`, and the eigenvalue if the rule needed it."""
    state = replace(state, epoch=state.epoch + 1)
    if state.phase == "converge":
        h = eigenvalue()
        if 0 < state.h < h and state.f < f:
            return replace(state, cuts=state.cuts + 1, h=0.0), h
        return replace(state, h=h, f=f), h
    if state.phase == "explore":
        if f < state.lowest:
            return replace(state, lowest=f, lowest_epoch=state.epoch), None
        if state.epoch - state.lowest_epoch < rule.patience:
            return state, None
        state = replace(state, phase="extra", plateau=state.epoch)
    assert state.plateau is not None, "the extra epochs are counted from the plateau"
    if state.epoch < state.plateau + rule.extra_epochs(state.plateau):
        return state, None
    h = eigenvalue()
    return replace(state, phase="converge", h=h, f=f), h


class TwoPhase:
    """The rule over a run: its state goes into the checkpoints, what it saw and did into the history."""

    def __init__(self, rule: TwoPhaseRule, top_eigenvalue: TopEigenvalue) -> None:
        self._rule, self._top_eigenvalue = rule, top_eigenvalue
        self.state = TwoPhaseState()

    @property
    def factor(self) -> float:
        """What the schedule's rate is multiplied by."""
        return self._rule.factor**self.state.cuts

    def after_epoch(self, model: nn.Module, loss: float) -> dict[str, Any]:
        """Go on by an epoch that left `model` and had the mean training loss `loss`.

        Returns:
            The columns of the epoch's history row: `phase` (of this epoch), `plateau` (1 where it was seen after
            this epoch), `batch_loss` (f), `top_eigenvalue` (h, where the rule asked for it), `cut` (1 where the rate is
            cut after this epoch).
        """
        before = self.state
        self.state, h = after_epoch(before, self._rule, loss, lambda: self._top_eigenvalue(model))
        return {
            "phase": before.phase,
            "plateau": int(before.plateau is None and self.state.plateau is not None),
            "batch_loss": loss,
            "top_eigenvalue": h,
            "cut": self.state.cuts - before.cuts,
        }

    def to_plain(self) -> dict[str, Any]:
        """The state as plain values."""
        return asdict(self.state)

    def restore(self, plain: Mapping[str, Any]) -> None:
        """Take over the state that `to_plain` gave."""
        self.state = TwoPhaseState(**plain)


def default_patience(epochs: int) -> int:
    """max(1, ceil(5% of the epoch budget))."""
    # Whole numbers: 0.05 * 20 as floats is a little above 1.
    return max(1, -(-epochs // round(1 / PATIENCE_SHARE)))


def _build(options: TwoPhaseOptions, peak: float, plan: StepPlan, warmup: int) -> Schedule:
    return constant(peak)


TWO_PHASE = ScheduleFamily(
    "two-phase", TwoPhaseOptions, _build, "explore until a plateau, then cut where loss and sharpness rise"
)
