"""`landscape train`: train a network into a run folder, show how it goes, say where it is."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from landscape.errors import OptionError
from landscape.launchers import launched
from landscape_cli import console, processes
from landscape_cli import train_options as options
from landscape_cli.train_progress import watch_training
from landscape_cli.train_recipe import RecipeBase, recipe_base

if TYPE_CHECKING:
    from landscape.config.training import TrainConfig
    from landscape.workflows.train import TrainResult

WHAT = "What to train"
HOW = "How to train"
RUN = "Where and how to run"


def train(
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NETWORK",
            help="The network with its options: resnet8, resnet20:width=2, vgg11-bn, mlp, and so on. Default: resnet8.",
            rich_help_panel=WHAT,
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="DATA",
            help="digits, or NAME:FOLDER for mnist, fashion-mnist, cifar10, cifar100, svhn and svhn-extra in "
            "torchvision's layout, and imagenet (train and val of class folders). Default: digits.",
            rich_help_panel=WHAT,
        ),
    ] = None,
    optimizer: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="sgd, adam, adamw, lamb, lars, percent-delta, mclr, cblr, kfac-f, kfac-g; or sam, asam around one of "
            "them: sam:base=lamb. Options of its own after a colon: sgd:nesterov=true. Default: sgd.",
            rich_help_panel=HOW,
        ),
    ] = None,
    lr: Annotated[
        float | None,
        typer.Option(
            metavar="RATE",
            help="Learning rate. Default: sgd 0.1, adam 0.001, adamw 0.001, lamb 0.005, lars 1.0, percent-delta 0.02, "
            "mclr, cblr, kfac-f and kfac-g 0.01, sam and asam that of their base.",
            rich_help_panel=HOW,
        ),
    ] = None,
    momentum: Annotated[
        float | None,
        typer.Option(
            metavar="MU",
            help="Momentum in [0, 1), for sgd, lars, kfac-f and kfac-g. Default: 0.9.",
            rich_help_panel=HOW,
        ),
    ] = None,
    weight_decay: Annotated[
        float | None,
        typer.Option(
            metavar="LAMBDA",
            help="Weight decay. Default: adam 0.0, adamw and lamb 0.01, the others 0.0005.",
            rich_help_panel=HOW,
        ),
    ] = None,
    decay: options.Decay = None,
    decay_mode: options.DecayMode = None,
    decay_lambda: options.DecayLambda = None,
    decay_threshold: options.DecayThreshold = None,
    freeze: options.Freeze = None,
    schedule: options.Schedule = None,
    warmup: options.Warmup = None,
    warmup_power: options.WarmupPower = None,
    lr_start: options.LrStart = None,
    lr_end: options.LrEnd = None,
    lr_power: options.LrPower = None,
    lr_steps: options.LrSteps = None,
    lr_factor: options.LrFactor = None,
    patience: options.Patience = None,
    extra_share: options.ExtraShare = None,
    lr_scaling: options.LrScaling = None,
    lr_batch: options.LrBatch = None,
    batch_size: Annotated[
        int | None, typer.Option(metavar="N", help="Samples a step. Default: 64.", rich_help_panel=HOW)
    ] = None,
    batch_schedule: options.BatchSchedule = None,
    micro_batch_size: options.MicroBatchSize = None,
    ghost_batch_size: options.GhostBatchSize = None,
    allow_microbatch_bn: options.AllowMicrobatchBn = None,
    discard: options.Discard = None,
    discard_epochs: options.DiscardEpochs = None,
    label_smoothing: options.LabelSmoothing = None,
    rescale: options.Rescale = None,
    rescale_target: options.RescaleTarget = None,
    rescale_every: options.RescaleEvery = None,
    norm_transfer: options.NormTransfer = None,
    precision: options.Precision = None,
    augment: options.Augment = None,
    epochs: Annotated[
        int | None, typer.Option(metavar="N", help="Passes over the training data. Default: 15.", rich_help_panel=HOW)
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(metavar="N", help="Decides initial weights and sample order. Default: 0.", rich_help_panel=HOW),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="RECIPE",
            help="A YAML file of settings (a run's config.yaml is one); the other options override it.",
            rich_help_panel=HOW,
        ),
    ] = None,
    recipe: options.Recipe = None,
    small: options.Small = False,
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Change a setting of the recipe; may be repeated.", rich_help_panel=HOW
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="The run folder. Default: runs/MODEL-DATA-DIGEST, one a configuration.",
            rich_help_panel=RUN,
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            metavar="",
            help="Continue the run that the folder holds; with --out its settings need not be given again.",
            rich_help_panel=RUN,
        ),
    ] = False,
    checkpoint_every: Annotated[
        int,
        typer.Option(
            metavar="K",
            help="Keep a checkpoint every K epochs; 0: of epoch 0 and the end only.",
            rich_help_panel=RUN,
        ),
    ] = 0,
    track: options.Track = None,
    track_every: options.TrackEvery = None,
    track_samples: options.TrackSamples = None,
    track_by: options.TrackBy = None,
    log: options.Log = None,
    devices: options.Devices = None,
    device: options.Device = None,
    workers: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Processes that decode pictures; 0: this one. Default: one a CPU, 16 at most.",
            rich_help_panel=RUN,
        ),
    ] = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", metavar="", help="Show no progress.", rich_help_panel=RUN)
    ] = False,
) -> None:
    """Train a network; without options a small residual network on the embedded digits, in seconds.

    The run folder holds config.yaml, history.csv (a row an epoch), checkpoints and final.pt.
    """
    if devices is not None and device is not None:
        raise OptionError(f"--device and --devices are the same: give one of them, not {device} and {devices}.")
    wanted = devices or device or ("auto" if launched() else "cpu")
    processes.join_launched(wanted)
    # Loaded here: `landscape --help` must not wait for torch.
    from landscape.config.recipe import validate
    from landscape.config.tracking import TrackSettings
    from landscape.config.training import TrainRun
    from landscape.workflows.train import train as train_network

    settable = {
        "model": model,
        "data": data,
        "optimizer": optimizer,
        "lr": lr,
        "momentum": momentum,
        "weight_decay": weight_decay,
        "decay": decay,
        "decay_mode": decay_mode,
        "decay_lambda": decay_lambda,
        "decay_threshold": decay_threshold,
        "freeze": freeze,
        "schedule": schedule,
        "warmup": warmup,
        "warmup_power": warmup_power,
        "lr_start": lr_start,
        "lr_end": lr_end,
        "lr_power": lr_power,
        "lr_steps": lr_steps,
        "lr_factor": lr_factor,
        "patience": patience,
        "extra_share": extra_share,
        "lr_scaling": lr_scaling,
        "lr_batch": lr_batch,
        "batch_size": batch_size,
        "batch_schedule": batch_schedule,
        "micro_batch_size": micro_batch_size,
        "ghost_batch_size": ghost_batch_size,
        "allow_microbatch_bn": allow_microbatch_bn,
        "discard": discard,
        "discard_epochs": discard_epochs,
        "label_smoothing": label_smoothing,
        "rescale": rescale,
        "rescale_target": rescale_target,
        "rescale_every": rescale_every,
        "norm_transfer": norm_transfer,
        "precision": precision,
        "augment": augment,
        "epochs": epochs,
        "seed": seed,
    }
    given = {name: value for name, value in settable.items() if value is not None}
    settings = _settings(given, recipe_base(recipe, small, config), config, overrides or [], out if resume else None)
    followed = options.track_values(track, track_every, track_samples, track_by)
    where = {
        "out": out,
        "checkpoint_every": checkpoint_every,
        "resume": resume,
        "track": None if followed is None else validate(TrackSettings, followed),
        "log": log or [],
        "workers": workers,
    }
    validate(TrainRun, where)
    group = processes.enter(wanted)
    run = validate(TrainRun, {**where, "device": group.device})
    title = f"{settings.model} on {settings.data.partition(':')[0]}"
    with watch_training(title, quiet=quiet or not processes.leads()) as on_event:
        if group.size > 1 and not quiet:
            console.say(f"{group.size} processes share each batch")
        result = train_network(settings, run, on_event, group)
    console.write_document(_summary(result))


def _settings(
    given: dict[str, Any], base: RecipeBase | None, recipe: Path | None, overrides: list[str], resumed: Path | None
) -> TrainConfig:
    """The settings: those of a resumed run or the defaults, then the recipe, then options and --set."""
    from landscape.config.recipe import apply_overrides, read_recipe, validate
    from landscape.config.training import TrainConfig
    from landscape.training.run_folder import RunFolder

    values: dict[str, Any] = {}
    if resumed is not None:
        values.update(RunFolder(resumed).read_config().model_dump())
    if recipe is not None:
        values.update(read_recipe(recipe))
    if base is not None:
        values.update(base.settings)
    values.update(given)
    changed = apply_overrides({}, overrides)
    twice = sorted(changed.keys() & given.keys())
    if twice:
        raise OptionError(f"{twice[0]} is given as --{twice[0].replace('_', '-')} and by --set; give it once.")
    if base is not None:
        base.check({**values, **changed})
    return validate(TrainConfig, {**values, **changed})


def _summary(result: TrainResult) -> str:
    metrics = result.metrics
    return (
        f"run       {result.folder} (epoch {result.epochs})\n"
        f"train     accuracy {metrics['train_accuracy']:.4f}, loss {metrics['train_loss']:.4f}\n"
        f"test      accuracy {metrics['test_accuracy']:.4f}, loss {metrics['test_loss']:.4f}\n"
        f"next      landscape analyze {shlex.quote(str(result.checkpoint))}\n"
    )
