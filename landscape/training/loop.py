"""The training loop: batches in a seeded order, one optimizer step a batch, both splits evaluated every epoch.

    theta <- step(theta, grad (1/B) sum_{n in batch} l(f_theta(x_n), y_n)),   l the cross-entropy

(see `batches.py` for batches in parts and with samples left out).

Legend: N samples, C channels, S side, K classes, B samples of a batch. Nothing waits for the device within an epoch:
the losses of the steps are kept there and looked at when the epoch is over.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from landscape.errors import DivergedError, NonFiniteError
from landscape.linalg.precision import wide
from landscape.training.batches import Batching, passes_of
from landscape.training.decay.applying import Decay
from landscape.training.events import OnEvent, StepDone, ignore
from landscape.training.failures import user_errors
from landscape.training.passes import nothing, take_step
from landscape.training.rescaling import NormRule
from landscape.training.samples import Samples
from landscape.training.schedules import Schedule
from landscape.training.spread import WHOLE_BATCHES, Spread
from landscape.training.state import TrainingState
from landscape.training.step_plan import steps_per_epoch

WHOLE = Batching()


@dataclass(frozen=True)
class Metrics:
    """Mean cross-entropy in nats and the share of samples whose largest logit is the label's."""

    loss: float
    accuracy: float


def fit(
    state: TrainingState,
    train: Samples,
    test: Samples,
    *,
    schedule: Schedule,
    batch_size: int,
    epochs: int,
    batching: Batching = WHOLE,
    decay: Decay | None = None,
    norms: NormRule | None = None,
    on_event: OnEvent = ignore,
) -> Iterator[dict[str, Any]]:
    """Train `state` up to `epochs` epochs in all, and yield the history row of each epoch when it is over.

    A fresh state yields epoch 0 first, before any step. While the consumer has a row, `state` is that of the row's
    epoch: it may be saved, or measured if that leaves it and the global random state as they are.
    Without `decay` the optimizer decays by itself. `batching` says how a batch is taken; its ghost normalisations
    are to be installed. `norms` rescales weights after steps or epochs.

    Cost: an epoch is one gradient pass over `train` (more if the optimizer asks for them) and one forward pass over
    each split.

    Raises:
        DivergedError: a loss is NaN or infinite; names the step and its learning rate. `state` is then unusable.
        NonFiniteError: the loss is so before any step.
        OutOfMemoryError, OptionError: see `user_errors`.
    """
    rows = batching.micro if batching.micro is not None else batch_size
    if state.epoch == 0 and state.step == 0:
        yield _row(state, train, test, _rate(state, schedule, 0), rows, batching.spread, time.perf_counter())
    while state.epoch < epochs:
        started = time.perf_counter()
        loss = train_epoch(
            state,
            train,
            schedule=schedule,
            batch_size=batching.batch_size(state.epoch + 1, batch_size),
            batching=batching,
            decay=decay,
            norms=norms,
            on_event=on_event,
        )
        lr = _rate(state, schedule, state.step - 1)
        seen = state.two_phase.after_epoch(state.model, loss) if state.two_phase is not None else {}
        yield _row(state, train, test, lr, rows, batching.spread, started) | seen


def train_epoch(
    state: TrainingState,
    train: Samples,
    *,
    schedule: Schedule,
    batch_size: int,
    batching: Batching = WHOLE,
    decay: Decay | None = None,
    norms: NormRule | None = None,
    on_event: OnEvent = ignore,
) -> float:
    """One pass over `train` in an order drawn from `state.order`; adds one to `state.epoch`.

    Returns:
        The mean loss of the mini-batches as they were trained on, weighted by sample.

    Cost: one gradient pass, and what the optimizer asks for besides. One synchronisation with the device, at the end.

    Raises:
        DivergedError: the loss of a step is NaN or infinite.
        OutOfMemoryError, OptionError: see `user_errors`.
    """
    order = torch.randperm(len(train), generator=state.order)
    batching.spread.begin_epoch(state.epoch + 1)
    first = state.step
    losses = torch.empty(steps_per_epoch(len(train), batch_size), dtype=train.dtype, device=state.device)
    rows = batching.micro if batching.micro is not None else batch_size
    state.model.train()
    for number, (inputs, labels) in enumerate(_taken(train, batch_size, order, state.augment, rows)):
        lr = _rate(state, schedule, state.step)
        for group in state.optimizer.param_groups:
            group["lr"] = lr
        with state.first_step(), user_errors(rows):
            passes = passes_of(state.model, inputs, labels, batching, state.epoch + 1, train)
            losses[number] = passes.gradient()
            with decay.applied(lr) if decay is not None else nullcontext(nothing) as couple:
                take_step(state.optimizer, replace(passes, couple=couple))
            if norms is not None:
                norms.after_step()
        state.step += 1
        on_event(StepDone(state.epoch + 1, state.step))
    losses = batching.spread.group.sum(losses)
    bad = (~torch.isfinite(losses)).nonzero()
    if len(bad):
        number = int(bad[0])
        raise _diverged(float(losses[number]), first + number, state.epoch + 1, _rate(state, schedule, first + number))
    state.epoch += 1
    if norms is not None:
        norms.after_epoch(state.epoch)
    sizes = torch.full_like(losses, batch_size)
    sizes[-1] = len(train) - batch_size * (len(losses) - 1)
    return float((losses * sizes).sum() / len(train))


def evaluate(model: nn.Module, split: Samples, batch_size: int, spread: Spread = WHOLE_BATCHES) -> Metrics:
    """Loss and accuracy over the whole of `split` in eval mode; means weighted by sample, summed in float64.

    Cost: one forward pass, of which each process takes its share. One synchronisation with the device, at the end.
    """
    model.eval()
    device = split.labels.device
    totals = torch.zeros(2, dtype=wide(device), device=device)
    with torch.no_grad(), user_errors(batch_size):
        for x_NCSS, y_N in split.batches(batch_size, spread.part_of(len(split), batch_size)[1]):
            logits_NK = spread.run(model, x_NCSS)
            totals[0] += cross_entropy(logits_NK, y_N, reduction="sum")
            totals[1] += (logits_NK.argmax(1) == y_N).sum()
    loss, correct = (spread.group.sum(totals) / len(split)).tolist()
    return Metrics(loss, correct)


def _taken(
    train: Samples, size: int, order: Tensor, draws: torch.Generator | None, rows: int
) -> Iterator[tuple[Tensor, Tensor]]:
    with user_errors(rows):
        yield from train.batches(size, order, draws)


def _rate(state: TrainingState, schedule: Schedule, step: int) -> float:
    return schedule(step) * (state.two_phase.factor if state.two_phase is not None else 1.0)


def _row(
    state: TrainingState, train: Samples, test: Samples, lr: float, batch_size: int, spread: Spread, started: float
) -> dict[str, Any]:
    on_train = evaluate(state.model, train.evaluated, batch_size, spread)
    on_test = evaluate(state.model, test.evaluated, batch_size, spread)
    for loss in (on_train.loss, on_test.loss):
        if math.isfinite(loss):
            continue
        if state.step == 0:
            raise NonFiniteError(f"the loss is {loss} before any step: the data or the initial weights are not finite.")
        raise _diverged(loss, state.step - 1, state.epoch, lr)
    return {
        "epoch": state.epoch,
        "step": state.step,
        "train_loss": on_train.loss,
        "train_accuracy": on_train.accuracy,
        "test_loss": on_test.loss,
        "test_accuracy": on_test.accuracy,
        "lr": lr,
        "seconds": time.perf_counter() - started,
    }


def _diverged(loss: float, step: int, epoch: int, lr: float) -> DivergedError:
    return DivergedError(
        f"training diverged: the loss is {loss} at step {step + 1} (epoch {epoch}), learning rate {lr:g}."
    )
