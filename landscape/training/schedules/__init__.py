"""Learning rates as pure functions of the step, by name, and how the settings of a run choose one."""

from __future__ import annotations

from typing import Any

from landscape.config.training import TrainConfig
from landscape.errors import OptionError
from landscape.training.batch_schedule import Stage, stages_of
from landscape.training.choices import choose, options_of
from landscape.training.schedules.constant import CONSTANT, constant
from landscape.training.schedules.cosine import COSINE
from landscape.training.schedules.family import Schedule, ScheduleFamily
from landscape.training.schedules.polynomial import POLYNOMIAL, WARMUP_SHARE
from landscape.training.schedules.scaling import scaled
from landscape.training.schedules.steps import STEP
from landscape.training.schedules.two_phase import TWO_PHASE, TopEigenvalue, TwoPhase, TwoPhaseRule, default_patience
from landscape.training.schedules.warmup import warmed_up
from landscape.training.step_plan import StepPlan

__all__ = ["SCHEDULES", "Schedule", "TopEigenvalue", "build_schedule", "build_two_phase", "constant", "fill_schedule"]

SCHEDULES: dict[str, ScheduleFamily] = {
    family.name: family for family in (CONSTANT, COSINE, POLYNOMIAL, STEP, TWO_PHASE)
}


def fill_schedule(config: TrainConfig) -> TrainConfig:
    """Return `config` with the defaults of its schedule in place of the options left out.

    Without any option of a schedule given it comes back as it is: one rate.

    Raises:
        OptionError: the schedule is unknown, takes no such option, lacks one, or options contradict each other.
    """
    options = _options(config)
    if (config.lr_scaling is None) != (config.lr_batch is None):
        raise OptionError(
            "lr_scaling and lr_batch go together: the rule, and the batch size that lr is meant for "
            "(lr_scaling: sqrt, lr_batch: 8192)."
        )
    if config.schedule == CONSTANT.name and not options.get("warmup"):
        given = [name for name in ("warmup_power", "lr_start") if getattr(config, name) is not None]
        if given:
            raise OptionError(f"{given[0]} is of a warm-up, and there is none; set warmup to its epochs.")
        return config.model_copy(update={"warmup": None})
    _check(config, options)
    return config.model_copy(update=options)


def build_schedule(config: TrainConfig, plan: StepPlan) -> Schedule:
    """The rate of each step of the filled-in `config`, without what a two-phase rule cuts from it.

    Raises:
        OptionError: as `fill_schedule`.
    """
    assert config.lr is not None, "fill_options() fills the learning rate"
    family = choose("schedule", config.schedule, SCHEDULES)
    options: Any = options_of("schedule", family, SCHEDULES, config)
    peak = config.lr
    if config.lr_scaling is not None and config.lr_batch is not None:
        peak = scaled(peak, config.lr_scaling, config.batch_size, config.lr_batch)
    warmup = round(WARMUP_SHARE * plan.total) if options.warmup is None else plan.after(options.warmup)
    after = family.build(options, peak, plan, warmup)
    schedule = warmed_up(after, peak, warmup, power=options.warmup_power, start=options.lr_start)
    stages = stages_of(config)
    return _by_stage(schedule, plan, config, peak, stages) if stages else schedule


def build_two_phase(config: TrainConfig, top_eigenvalue: TopEigenvalue) -> TwoPhase:
    """The rule of a `config` whose schedule is two-phase; `top_eigenvalue` is asked after an epoch that needs it."""
    options: Any = options_of("schedule", TWO_PHASE, SCHEDULES, config)
    patience = options.patience if options.patience is not None else default_patience(config.epochs)
    return TwoPhase(TwoPhaseRule(patience, options.lr_factor, options.extra_share), top_eigenvalue)


def _by_stage(
    schedule: Schedule, plan: StepPlan, config: TrainConfig, peak: float, stages: tuple[Stage, ...]
) -> Schedule:
    """`schedule` with the peak of each stage in its epochs."""
    factors = [1.0] * plan.epochs
    for stage in stages:
        factor = 1.0
        if stage.lr is not None:
            factor = stage.lr / peak
        elif config.lr_scaling is not None:
            factor = scaled(1.0, config.lr_scaling, stage.batch_size, config.batch_size)
        factors[stage.first - 1 : stage.last] = [factor] * (stage.last - stage.first + 1)
    return lambda step: schedule(step) * factors[plan.epoch_of(step) - 1]


def _options(config: TrainConfig) -> dict[str, Any]:
    family = choose("schedule", config.schedule, SCHEDULES)
    if family is STEP and config.lr_steps is None:
        raise OptionError("schedule step needs lr_steps: the epochs after which the rate falls (lr_steps: [100, 150]).")
    return options_of("schedule", family, SCHEDULES, config).model_dump()


def _check(config: TrainConfig, options: dict[str, Any]) -> None:
    """Refuse what contradicts the rate or the length of the run."""
    warmup = options["warmup"]
    if warmup is not None and warmup > config.epochs:
        raise OptionError(f"a warm-up of {warmup:g} epochs is longer than the run of {config.epochs}.")
    steps = options.get("lr_steps", ())
    if any(not 1 <= epoch < config.epochs for epoch in steps) or list(steps) != sorted(set(steps)):
        raise OptionError(
            f"lr_steps: expected ascending epochs from 1 to {config.epochs - 1}, got {', '.join(map(str, steps))}."
        )
    for name in ("lr_start", "lr_end"):
        if config.lr is not None and config.lr_scaling is None and options.get(name, 0.0) > config.lr:
            raise OptionError(f"{name} {options[name]:g} is above the peak, lr {config.lr:g}.")
