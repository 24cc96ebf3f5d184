"""Batch normalisation of a single sample: found before anything is written, not in the last batch of an epoch.

What is normalised together is a batch, or this process's share of it, cut into micro-batches and these into ghost
batches; the last of each holds what is left.
"""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
from torch import Tensor, nn

from landscape.config.training import TrainConfig
from landscape.distributed import Group
from landscape.training.batches import spread_of
from landscape.training.failures import user_errors
from landscape.training.ghost_norm import batch_norms
from landscape.training.step_plan import StepPlan


def check_lone_samples(config: TrainConfig, model: nn.Module, inputs: Tensor, steps: StepPlan, group: Group) -> None:
    """Run a copy of `model` in train mode on the first of `inputs`, if some step will normalise a sample by itself.

    One sample is enough where a channel has several places. The random state stays as it is.

    Raises:
        OptionError: the network cannot be trained so; the message suggests another batch size.
    """
    alone = next((size for size in dict.fromkeys(steps.sizes) if _leaves_one(size, config, steps, group)), None)
    if alone is None or not batch_norms(model):
        return
    cuda = [inputs.device] if inputs.device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda), user_errors(alone), torch.no_grad():
        copy.deepcopy(model).train()(inputs[:1])


def _leaves_one(batch: int, config: TrainConfig, steps: StepPlan, group: Group) -> bool:
    """Whether in some step of batches of `batch` samples some process normalises one sample by itself."""
    spreads = [spread_of(config, replace(group, rank=rank)) for rank in range(group.size)]
    shares = {len(spread.rows(size)) for spread in spreads for size in (batch, steps.samples % batch)}
    parts = {part for size in shares for part in _cut(size, config.micro_batch_size)}
    return any(1 in _cut(part, config.ghost_batch_size) for part in parts)


def _cut(size: int, most: int | None) -> set[int]:
    """The sizes of the pieces of at most `most`."""
    return {size} if most is None or most >= size else {most, size % most}
