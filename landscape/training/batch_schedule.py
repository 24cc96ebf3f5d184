"""Batch sizes that change over the epochs: `EPOCHS:BATCH[@RATE]`, comma-separated.

    1:512@0.005             epoch 1 in batches of 512 at the rate 0.005, the others as the run's batch size and rate say
    1-5:128,6-10:512        epochs 1 to 5 in batches of 128, 6 to 10 in batches of 512

A rate stands for the peak in its epochs: the schedule multiplies it as it does the run's own. Without one the run's
holds, or what its scaling rule makes of it.

Reference: "Curvature-based learning rate", section 3.2 (first epoch 512 at 0.005, then 8192 at 0.05).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from landscape.config.training import TrainConfig
from landscape.errors import OptionError
from landscape.training.step_plan import StepPlan

_ENTRY = re.compile(r"(\d+)(?:-(\d+))?:(\d+)(?:@([0-9.eE+-]+))?")


@dataclass(frozen=True)
class Stage:
    """Epochs `first` to `last` in batches of `batch_size`, at the peak rate `lr` (None: that of the run)."""

    first: int
    last: int
    batch_size: int
    lr: float | None = None


def parse_stages(text: str, epochs: int) -> tuple[Stage, ...]:
    """Read a batch-size schedule of a run of `epochs` epochs.

    Raises:
        OptionError: an entry has another form, or its epochs are out of range or not after those before it.
    """
    stages: list[Stage] = []
    for entry in text.split(","):
        match = _ENTRY.fullmatch(entry.strip())
        stage = _stage(match) if match is not None else None
        if stage is None or stage.batch_size < 1 or (stage.lr is not None and not 0 < stage.lr < float("inf")):
            raise OptionError(
                f"batch_schedule: expected EPOCHS:BATCH or EPOCHS:BATCH@RATE, as in 1:512@0.005 or 1-5:128, "
                f"got {entry.strip()!r}."
            )
        earliest = stages[-1].last + 1 if stages else 1
        if not earliest <= stage.first <= stage.last <= epochs:
            raise OptionError(
                f"batch_schedule: the epochs of {entry.strip()!r} are not ascending ones from {earliest} to {epochs}."
            )
        stages.append(stage)
    return tuple(stages)


def stages_of(config: TrainConfig) -> tuple[Stage, ...]:
    """The stages of a run; none if its batch size does not change."""
    return parse_stages(config.batch_schedule, config.epochs) if config.batch_schedule is not None else ()


def plan_steps(config: TrainConfig, samples: int) -> StepPlan:
    """The epochs of a run over `samples` samples, with their batch sizes."""
    sizes = [config.batch_size] * config.epochs
    for stage in stages_of(config):
        sizes[stage.first - 1 : stage.last] = [stage.batch_size] * (stage.last - stage.first + 1)
    return StepPlan(samples, tuple(sizes))


def batch_sizes(config: TrainConfig) -> tuple[int, ...]:
    """Every batch size of a run, the usual one first."""
    return tuple(dict.fromkeys((config.batch_size, *(stage.batch_size for stage in stages_of(config)))))


def _stage(match: re.Match[str]) -> Stage | None:
    first, last, size, lr = match.groups()
    try:
        return Stage(int(first), int(last or first), int(size), float(lr) if lr is not None else None)
    except ValueError:
        return None
