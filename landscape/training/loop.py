"""The training loop: batches in a seeded order, one optimizer step a batch, both splits evaluated every epoch.

    theta <- step(theta, grad (1/B) sum_{n in batch} l(f_theta(x_n), y_n)),   l the cross-entropy

Legend: N samples, C channels, S side, K classes, B samples of a batch. All data are on the device, and nothing waits
for it within an epoch: the losses of the steps are kept there and looked at when the epoch is over.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from landscape.errors import DivergedError, NonFiniteError
from landscape.training.events import OnEvent, StepDone, ignore
from landscape.training.failures import user_errors
from landscape.training.passes import Passes, take_step
from landscape.training.schedules import Schedule
from landscape.training.state import TrainingState


@dataclass(frozen=True)
class Split:
    """Labelled samples on the device: `inputs` (N, C, S, S), `labels` (N,) int64."""

    inputs: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return self.labels.shape[0]


@dataclass(frozen=True)
class Metrics:
    """Mean cross-entropy in nats and the share of samples whose largest logit is the label's."""

    loss: float
    accuracy: float


def steps_per_epoch(samples: int, batch_size: int) -> int:
    """Batches an epoch; the last one holds what is left."""
    return math.ceil(samples / batch_size)


def fit(
    state: TrainingState,
    train: Split,
    test: Split,
    *,
    schedule: Schedule,
    batch_size: int,
    epochs: int,
    on_event: OnEvent = ignore,
) -> Iterator[dict[str, Any]]:
    """Train `state` up to `epochs` epochs in all, and yield the history row of each epoch when it is over.

    A fresh state yields epoch 0 first, before any step. While the consumer has a row, `state` is that of the row's
    epoch: it may be saved, or measured if that leaves it and the global random state as they are.

    Cost: an epoch is one gradient pass over `train` (more if the optimizer asks for them) and one forward pass over
    each split.

    Raises:
        DivergedError: a loss is NaN or infinite; names the step and its learning rate. `state` is then unusable.
        NonFiniteError: the loss is so before any step.
        OutOfMemoryError, OptionError: see `user_errors`.
    """
    if state.epoch == 0 and state.step == 0:
        yield _row(state, train, test, schedule(0), batch_size, time.perf_counter())
    while state.epoch < epochs:
        started = time.perf_counter()
        train_epoch(state, train, schedule=schedule, batch_size=batch_size, on_event=on_event)
        yield _row(state, train, test, schedule(state.step - 1), batch_size, started)


def train_epoch(
    state: TrainingState, train: Split, *, schedule: Schedule, batch_size: int, on_event: OnEvent = ignore
) -> None:
    """One pass over `train` in an order drawn from `state.order`; adds one to `state.epoch`.

    Cost: one gradient pass, and what the optimizer asks for besides. One synchronisation with the device, at the end.

    Raises:
        DivergedError: the loss of a step is NaN or infinite.
        OutOfMemoryError, OptionError: see `user_errors`.
    """
    order = torch.randperm(len(train), generator=state.order).to(state.device)
    first = state.step
    losses = torch.empty(steps_per_epoch(len(train), batch_size), dtype=train.inputs.dtype, device=state.device)
    state.model.train()
    for number, chosen in enumerate(torch.split(order, batch_size)):
        for group in state.optimizer.param_groups:
            group["lr"] = schedule(state.step)
        with user_errors(batch_size):
            passes = Passes(
                state.model,
                loss=partial(_batch_loss, state.model, train, chosen),
                outputs=partial(_logits, state.model, train, chosen),
                all_outputs=partial(_all_logits, state.model, train, batch_size),
            )
            losses[number] = passes.gradient()
            take_step(state.optimizer, passes)
        state.step += 1
        on_event(StepDone(state.epoch + 1, state.step))
    bad = (~torch.isfinite(losses)).nonzero()
    if len(bad):
        number = int(bad[0])
        raise _diverged(float(losses[number]), first + number, state.epoch + 1, schedule(first + number))
    state.epoch += 1


def _batch_loss(model: nn.Module, split: Split, chosen: Tensor) -> Tensor:
    return cross_entropy(_logits(model, split, chosen), split.labels[chosen])


def _logits(model: nn.Module, split: Split, chosen: Tensor) -> Tensor:
    logits: Tensor = model(split.inputs[chosen])
    return logits


def _all_logits(model: nn.Module, split: Split, batch_size: int) -> Iterator[Tensor]:
    for chosen in torch.split(torch.arange(len(split), device=split.inputs.device), batch_size):
        yield _logits(model, split, chosen)


def evaluate(model: nn.Module, split: Split, batch_size: int) -> Metrics:
    """Loss and accuracy over the whole of `split` in eval mode; means weighted by sample, summed in float64.

    Cost: one forward pass. One synchronisation with the device, at the end.
    """
    model.eval()
    # Accelerators without float64 (MPS) sum in float32.
    wide = torch.float32 if split.inputs.device.type == "mps" else torch.float64
    totals = torch.zeros(2, dtype=wide, device=split.inputs.device)
    with torch.no_grad(), user_errors(batch_size):
        for x_NCSS, y_N in zip(
            torch.split(split.inputs, batch_size), torch.split(split.labels, batch_size), strict=True
        ):
            logits_NK = model(x_NCSS)
            totals[0] += cross_entropy(logits_NK, y_N, reduction="sum")
            totals[1] += (logits_NK.argmax(1) == y_N).sum()
    loss, correct = (totals / len(split)).tolist()
    return Metrics(loss, correct)


def _row(state: TrainingState, train: Split, test: Split, lr: float, batch_size: int, started: float) -> dict[str, Any]:
    on_train = evaluate(state.model, train, batch_size)
    on_test = evaluate(state.model, test, batch_size)
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
