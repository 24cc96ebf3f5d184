"""Training a network from settings into a run folder: joins models, data, the loop and checkpoints."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

import landscape
from landscape.checkpoint import read_training_state, write_checkpoint
from landscape.config.training import TrainConfig, TrainRun
from landscape.data import parse_data
from landscape.distributed import ALONE, Group
from landscape.errors import CheckpointError, DataError, DivergedError, ModelError, OptionError
from landscape.locks import only_writer_in
from landscape.models import build_model, check_trainable, parse_model
from landscape.parameters import describe
from landscape.problem import check_device
from landscape.problem.fed_layers import fed_layers
from landscape.problem.running import seeded
from landscape.training.augment import augmentation_generator, augmentation_of
from landscape.training.batch_schedule import plan_steps
from landscape.training.batches import Batching, check_batches, ghost_norms, spread_of
from landscape.training.decay.applying import Decay
from landscape.training.decay.freezing import freeze
from landscape.training.decay.log import decayed_share, only_changes
from landscape.training.decay.plan import DecayPlan, fill_decay, plan_decay
from landscape.training.events import AlreadyFinished, EpochFinished, OnEvent, TrainingStarted, ignore
from landscape.training.failures import user_errors
from landscape.training.history import Row, read_history, write_history
from landscape.training.loggers import Log
from landscape.training.lone_samples import check_lone_samples
from landscape.training.loop import fit
from landscape.training.norm_transfer import fill_norm_transfer, norm_rule, norms_row
from landscape.training.optimizers import build_optimizer, fill_options
from landscape.training.precision import Precision, check_precision
from landscape.training.rescaling import fill_rescaling
from landscape.training.run_folder import RunFolder, default_folder
from landscape.training.samples import first_inputs
from landscape.training.schedules import TopEigenvalue, build_schedule, build_two_phase, fill_schedule
from landscape.training.state import TrainingState
from landscape.training.step_table import append_steps, keep_steps
from landscape.workflows.sharpness_callback import last_layer_eigenvalue
from landscape.workflows.tracking.following import follow, track_settings
from landscape.workflows.training_data import TrainingData, load_training_data

METRICS = ("train_loss", "train_accuracy", "test_loss", "test_accuracy")


@dataclass(frozen=True)
class TrainResult:
    """A finished run.

    Attributes:
        folder: the run folder.
        checkpoint: the final checkpoint in it.
        epochs: epochs trained in all.
        metrics: `train_loss`, `train_accuracy`, `test_loss`, `test_accuracy` of the final weights.
    """

    folder: Path
    checkpoint: Path
    epochs: int
    metrics: Mapping[str, float]


def train(
    config: TrainConfig, run: TrainRun | None = None, on_event: OnEvent = ignore, group: Group = ALONE
) -> TrainResult:
    """Train the network of `config` and keep config, history and checkpoints in the run folder.

    Each checkpoint describes itself; `description` holds `model` and `data` (specifications, the data folder
    absolute), `classes`, `channels`, `size` (of the network's inputs), `normalization` (`mean`, `std` per channel),
    `config`, `config_hash`, `epoch`, `step`, `metrics` and `versions`.

    On one CPU the weights are decided by `config` bit for bit, whether the run was interrupted and resumed or not
    (for one number of threads: it decides how sums are split). The global random state is left as it was.
    `on_event` hears what happens, between steps and after each epoch's files are written; what it raises ends
    the run, which can then be resumed.

    With a `group` every process calls this alike; they share each batch and all have the result. Process 0 writes; the
    run folder and the data must be readable by all. The weights are those of one process to rounding, where no layer
    draws random numbers. `run.device` is then the group's.

    Raises:
        OptionError: a setting is unknown or makes no sense, the folder holds a run already, or (with
            `run.resume`) none or one of another configuration; or another process trains there.
        DataError, ModelError, DeviceError: the data, the network or the device cannot be had.
        OutOfMemoryError: the message suggests micro-batches.
        DivergedError: a loss is NaN or infinite; the last good checkpoint is kept and named.
        WriteError: the run folder cannot be written.
        ProcessError: another process of the group has gone.
    """
    run = run if run is not None else TrainRun()
    config = resolve(config, group.size)
    device = check_device(group.device if group.size > 1 else run.device)
    folder = RunFolder(run.out if run.out is not None else default_folder(config))
    log = Log(run.log, folder, config)
    writes = group.rank == 0
    # A finished run is only read. What else is there is looked at again under the lock: another may have written it.
    locked = writes and (not _finished(folder, config, run) or bool(folder.leftovers()))
    with only_writer_in(folder.path) if locked else nullcontext():
        if locked:
            folder.tidy()
        # Process 0 looks for all: it may write before another looks.
        if group.first(_finished(folder, config, run) if writes else None):
            on_event(AlreadyFinished(folder.path, config.epochs))
        else:
            with log.open(on_event) if writes else nullcontext(on_event) as tell:
                for row in _run(config, run, folder, device, group, tell):
                    tell(EpochFinished(row))
        result: TrainResult = group.first(_result(folder) if writes else None)
    return result


def _finished(folder: RunFolder, config: TrainConfig, run: TrainRun) -> bool:
    """Whether the run that is to be resumed is finished.

    Raises:
        OptionError: the folder does not go with what `run` asks for.
    """
    if run.resume:
        folder.must_hold(config)
        return folder.finished
    if folder.finished:
        raise OptionError(f"{folder.path} already holds a finished run; choose another --out.")
    if folder.holds_run:
        raise OptionError(f"{folder.path} already holds a run; continue it with --resume, or choose another --out.")
    return False


def resolve(config: TrainConfig, processes: int = 1) -> TrainConfig:
    """Write `config` out: specifications in full, the data folder absolute, the defaults of the chosen methods.

    Raises:
        OptionError, ModelError, DataError: a name or an option is unknown or out of range, or recorded norms are not
            to be had.
    """
    data = parse_data(config.data)
    if data.folder is not None:
        data = replace(data, folder=data.folder.resolve())
    network = parse_model(config.model)
    check_trainable(network)
    full = config.model_copy(update={"model": str(network), "data": str(data)})
    check_batches(full, processes)
    if augmentation_of(data.name, config.augment) == augmentation_of(data.name, None):
        full = full.model_copy(update={"augment": None})
    check_precision(full)
    return fill_norm_transfer(fill_rescaling(fill_schedule(fill_decay(fill_options(full)))))


def _run(
    config: TrainConfig, run: TrainRun, folder: RunFolder, device: torch.device, group: Group, on_event: OnEvent
) -> Iterator[Row]:
    """Train, and yield each epoch's row after process 0 has written its files."""
    tracked = track_settings(run.track, folder, resume=run.resume)
    data = load_training_data(config, device, run.workers)
    model = _build(config, data, device)
    with seeded(config.seed, device):
        order = torch.Generator().manual_seed(config.seed)
        trained = model.parameters() if config.freeze is None else (p for p in model.parameters() if p.requires_grad)
        state = TrainingState(model, build_optimizer(config, trained), order, device)
        if augmentation_of(parse_data(config.data).name, config.augment) != "none":
            state.augment = augmentation_generator(config.seed)
        plan = plan_decay(config, describe(model)) if config.decay is not None else None
        decay = Decay(plan, config.decay_mode, model, state.optimizer) if plan is not None else None
        if config.schedule == "two-phase":
            state.two_phase = build_two_phase(config, _eigenvalue(config, model, data, group))
        steps = plan_steps(config, len(data.train))
        check_lone_samples(config, model, first_inputs(data.train, 1), steps, group)
        fed = fed_layers(model, first_inputs(data.train, 2))
        rule = norm_rule(config, fed)
        batching = Batching(
            micro=config.micro_batch_size,
            discard=config.discard or 0.0,
            discard_epochs=config.discard_epochs,
            plan=steps,
            ghosts=ghost_norms(config, model, group),
            smoothing=config.label_smoothing,
            precision=Precision(config.precision, device.type),
            spread=spread_of(config, group),
        )
        rows: list[Row] = []
        decays: list[Row] = []
        norms: list[Row] = []
        if run.resume and folder.last.exists():
            state.restore(read_training_state(folder.last))
            if state.step != steps.first(state.epoch + 1):
                raise CheckpointError(
                    f"{folder.last} says {state.step} steps in {state.epoch} epochs, which is none of this run's; "
                    "start again in another run folder."
                )
            if group.rank == 0:
                folder.write_config(config)  # the data may have moved
            # The loop gives epoch 0 again where it is all that was done; later rows without a checkpoint are redone.
            if state.epoch > 0:
                rows.extend(_rows_up_to(state.epoch, folder.history))
                if decay is not None:
                    decays.extend(row for row in read_history(folder.decay, ["step"]) if row["step"] <= state.step)
                if fed and folder.norms.exists():
                    norms.extend(_rows_up_to(state.epoch, folder.norms))
        if config.decay == "adaptive-beta" and group.rank == 0:
            keep_steps(folder.ratios, state.step)
        following = follow(
            tracked if group.rank == 0 else None,  # the others wait for it at the next step
            state,
            data.train,
            plan=steps,
            folder=folder,
            on_event=on_event,
        )
        started = TrainingStarted(
            folder=folder.path,
            parameters=sum(p.numel() for p in model.parameters() if p.requires_grad),
            samples=len(data.train),
            first_epoch=state.epoch,
            epochs=config.epochs,
            first_step=state.step,
            steps=steps.total,
        )
        on_event(started)
        by_ghosts = batching.ghosts.installed() if batching.ghosts is not None else nullcontext()
        try:
            with by_ghosts:
                for row in fit(
                    state,
                    data.train,
                    data.test,
                    schedule=build_schedule(config, steps),
                    batch_size=config.batch_size,
                    epochs=config.epochs,
                    batching=batching,
                    decay=decay,
                    norms=rule,
                    on_event=following.hearing(on_event),
                ):
                    following.end_epoch(row)
                    if decay is not None and plan is not None and state.epoch > 0:
                        decays = _note_decay(row, decay, plan, rows[-1]["step"] + 1, decays)
                        ratios = decay.take_ratios(rows[-1]["step"] + 1)
                    if fed:
                        norms.append(norms_row(state.epoch, fed))
                    rows.append(row)
                    if group.rank == 0:
                        if decay is not None and state.epoch > 0:
                            write_history(folder.decay, decays)
                            append_steps(folder.ratios, ratios)
                        if fed:
                            write_history(folder.norms, norms)
                        _save(config, _describe(config, data, row), state, rows, run, folder)
                    yield row
        except DivergedError as error:
            kept = f" The last good checkpoint is {folder.last}." if folder.last.exists() else ""
            raise DivergedError(f"{error}{kept} Try a smaller learning rate.") from error


def _rows_up_to(epoch: int, file: Path) -> list[dict[str, Any]]:
    """The rows of `file` that a run goes on with: of each epoch up to `epoch`."""
    rows = [row for row in read_history(file, ["epoch"]) if row["epoch"] <= epoch]
    if [row["epoch"] for row in rows] != list(range(epoch + 1)):
        raise CheckpointError(f"{file} does not hold the epochs 0 to {epoch} that the run's checkpoint follows on.")
    return rows


def _eigenvalue(config: TrainConfig, model: nn.Module, data: TrainingData, group: Group) -> TopEigenvalue:
    """What the two-phase rule asks: on as many samples as a batch has; process 0 computes it for all."""
    ask = last_layer_eigenvalue(model, data.train, batch=config.batch_size, seed=config.seed, rows=_rows(config))
    return lambda trained: float(group.first(ask(trained) if group.rank == 0 else None))


def _rows(config: TrainConfig) -> int:
    """Samples of a forward pass."""
    return config.micro_batch_size if config.micro_batch_size is not None else config.batch_size


def _build(config: TrainConfig, data: TrainingData, device: torch.device) -> nn.Module:
    """The initial network, checked on the first samples before anything is written."""
    model = build_model(
        parse_model(config.model), classes=data.classes, channels=data.channels, size=data.size, seed=config.seed
    )
    if config.freeze is not None:
        freeze(model, config.freeze)
    with user_errors(config.batch_size):
        model.to(device=device, dtype=data.train.dtype).eval()
        inputs = first_inputs(data.train, 2)
        try:
            with torch.no_grad():
                outputs = model(inputs)
        except RuntimeError as error:
            if "memory" in str(error):
                raise
            raise ModelError(
                f"network {config.model} does not take the images of {config.data} "
                f"({data.channels}x{data.size}x{data.size}): {str(error).splitlines()[0]}."
            ) from error
    largest = max(int(data.train.labels.max()), int(data.test.labels.max()))
    if outputs.shape[1] <= largest:
        raise DataError(
            f"network {config.model} has {outputs.shape[1]} outputs, but {config.data} has labels 0 to {largest}; "
            "leave its option classes out."
        )
    return model


def _note_decay(row: dict[str, Any], decay: Decay, plan: DecayPlan, first: int, decays: list[Row]) -> list[Row]:
    """Add the epoch's share of decayed betas to its `row`; return `decays` with the steps from `first` on."""
    new = decay.take_steps(first)
    if plan.layers:
        row["decayed"] = decayed_share(new, [layer.beta for layer in plan.layers])
    return only_changes(decays, new)


def _save(
    config: TrainConfig,
    description: dict[str, Any],
    state: TrainingState,
    rows: list[Row],
    run: TrainRun,
    folder: RunFolder,
) -> None:
    """Write what the epoch leaves. The history comes first: resuming drops rows without a checkpoint."""
    if state.epoch == 0:
        folder.write_config(config)
    write_history(folder.history, rows)
    payload = {**state.to_plain(), "description": description}
    if state.epoch == 0 or (run.checkpoint_every and state.epoch % run.checkpoint_every == 0):
        write_checkpoint(folder.epoch(state.epoch), payload)
    if state.epoch == config.epochs:
        write_checkpoint(folder.final, payload)
        folder.last.unlink(missing_ok=True)
    else:
        write_checkpoint(folder.last, payload)


def _describe(config: TrainConfig, data: TrainingData, row: Row) -> dict[str, Any]:
    return {
        "model": config.model,
        "data": config.data,
        "classes": data.classes,
        "channels": data.channels,
        "size": data.size,
        "normalization": {"mean": list(data.normalization.mean), "std": list(data.normalization.std)},
        "config": config.plain(),
        "config_hash": config.digest(),
        "epoch": row["epoch"],
        "step": row["step"],
        "metrics": {name: row[name] for name in METRICS},
        "versions": {
            "landscape": landscape.__version__,
            "torch": str(torch.__version__),
            "python": platform.python_version(),
        },
    }


def _result(folder: RunFolder) -> TrainResult:
    description = read_training_state(folder.final)["description"]
    return TrainResult(folder.path, folder.final, description["epoch"], description["metrics"])
