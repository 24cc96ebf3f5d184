"""The options of `landscape train` for its methods, with their help; what each means is in `TrainConfig`."""

from __future__ import annotations

from typing import Annotated

import typer

from landscape.errors import OptionError

HOW = "How to train"
DECAY = "Weight decay: what, and how"
RATE = "Learning rate over the run"
BATCHES = "Batches"
LOSS = "Loss and precision"
NORMS = "Norms of weights that feed a batch normalisation"
FOLLOWING = "Following the run"
RUN = "Where and how to run"

Recipe = Annotated[
    str | None,
    typer.Option(
        "--recipe",
        metavar="NAME",
        help="An experiment of the papers, see landscape recipes; the other options override it. Where it needs the "
        "files of a data set: --data NAME:FOLDER.",
        rich_help_panel=HOW,
    ),
]
Small = Annotated[
    bool,
    typer.Option(
        "--small",
        metavar="",
        help="With --recipe: the variant that runs in seconds to minutes on the embedded digits.",
        rich_help_panel=HOW,
    ),
]
Decay = Annotated[
    str | None,
    typer.Option(
        metavar="POLICY",
        help="What is decayed: all, no-bias, bias, gamma, beta, adaptive-beta, conv, fc or none. "
        "Default: all that the optimizer has.",
        rich_help_panel=DECAY,
    ),
]
DecayMode = Annotated[
    str | None,
    typer.Option(
        metavar="coupled|decoupled",
        help="Into the gradient, or apart from it times the learning rate. Default: the optimizer's own way.",
        rich_help_panel=DECAY,
    ),
]
DecayLambda = Annotated[
    float | None,
    typer.Option(
        metavar="LAMBDA",
        help="The policy's own lambda. Default: of gamma 0.01; of beta, adaptive-beta and bias 1.0.",
        rich_help_panel=DECAY,
    ),
]
DecayThreshold = Annotated[
    float | None,
    typer.Option(
        metavar="R",
        help="For adaptive-beta: a layer's beta is decayed in the steps where its connectivity is R times that of "
        "gamma or more. Default: 0.1.",
        rich_help_panel=DECAY,
    ),
]
Freeze = Annotated[
    str | None,
    typer.Option(
        metavar="bn|gamma|beta",
        help="Keep gamma at 1 (gamma), beta at 0 (beta) or both (bn) in every normalisation layer.",
        rich_help_panel=DECAY,
    ),
]
Schedule = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="constant, cosine, polynomial, step or two-phase. Default: constant.",
        rich_help_panel=RATE,
    ),
]
Warmup = Annotated[
    float | None,
    typer.Option(
        metavar="EPOCHS",
        help="Epochs of warm-up before the schedule. Default: polynomial 0.3 of the run, the others 0.",
        rich_help_panel=RATE,
    ),
]
WarmupPower = Annotated[
    float | None,
    typer.Option(
        metavar="P",
        help="Power of the warm-up. Default: polynomial 2.0, the others 1.0 (linear).",
        rich_help_panel=RATE,
    ),
]
LrStart = Annotated[
    float | None,
    typer.Option(
        metavar="RATE",
        help="The rate that the warm-up begins above. Default: 0.0.",
        rich_help_panel=RATE,
    ),
]
LrEnd = Annotated[
    float | None,
    typer.Option(
        metavar="RATE",
        help="The rate that polynomial and cosine lead to. Default: 0.0.",
        rich_help_panel=RATE,
    ),
]
LrPower = Annotated[
    float | None,
    typer.Option(
        metavar="P",
        help="Power of the polynomial. Default: 2.0.",
        rich_help_panel=RATE,
    ),
]
LrSteps = Annotated[
    str | None,
    typer.Option(
        metavar="E,E,..",
        help="For step: the epochs after which the rate falls, as in 100,150.",
        rich_help_panel=RATE,
    ),
]
LrFactor = Annotated[
    float | None,
    typer.Option(
        metavar="F",
        help="The rate is multiplied by this at each fall. Default: step 0.1, two-phase 0.5.",
        rich_help_panel=RATE,
    ),
]
Patience = Annotated[
    int | None,
    typer.Option(
        metavar="EPOCHS",
        help="For two-phase: epochs without a lower loss that make a plateau. Default: 5% of the epochs.",
        rich_help_panel=RATE,
    ),
]
ExtraShare = Annotated[
    float | None,
    typer.Option(
        metavar="SHARE",
        help="For two-phase: epochs to explore after the plateau, as a share of those before. Default: a third.",
        rich_help_panel=RATE,
    ),
]
LrScaling = Annotated[
    str | None,
    typer.Option(
        metavar="linear|sqrt",
        help="How the rate grows with the batch size, from --lr at --lr-batch. Default: not at all.",
        rich_help_panel=RATE,
    ),
]
LrBatch = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="The batch size that --lr is meant for, with --lr-scaling.",
        rich_help_panel=RATE,
    ),
]
BatchSchedule = Annotated[
    str | None,
    typer.Option(
        metavar="E:N@RATE,..",
        help="Other batch sizes and rates in some epochs: 1:512@0.005, or 1-5:128,6-10:512. Default: none.",
        rich_help_panel=BATCHES,
    ),
]
MicroBatchSize = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Samples of a forward and backward pass, which add up to a batch. Default: the whole batch.",
        rich_help_panel=BATCHES,
    ),
]
GhostBatchSize = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Samples that batch normalisation takes together in training. Default: all of a pass.",
        rich_help_panel=BATCHES,
    ),
]
AllowMicrobatchBn = Annotated[
    bool | None,
    typer.Option(
        "--allow-microbatch-bn",
        metavar="",
        help="Let batch normalisation go by micro-batches without a ghost size: not the same as one batch.",
        rich_help_panel=BATCHES,
    ),
]
Discard = Annotated[
    float | None,
    typer.Option(
        metavar="SHARE",
        help="Leave out this share of each batch, the samples of the smallest losses. Default: none.",
        rich_help_panel=BATCHES,
    ),
]
DiscardEpochs = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="With --discard: in the first N epochs only. Default: in all.",
        rich_help_panel=BATCHES,
    ),
]
LabelSmoothing = Annotated[
    float | None,
    typer.Option(
        metavar="P",
        help="Train on labels that are right with 1 - P and spread over all classes with P, in [0, 1). Default: 0.0.",
        rich_help_panel=LOSS,
    ),
]
Precision = Annotated[
    str | None,
    typer.Option(
        metavar="fp32|tf32|bf16",
        help="Of the training passes: full, products rounded to TF32 on GPUs that have it, or bfloat16. Default: fp32.",
        rich_help_panel=LOSS,
    ),
]
Rescale = Annotated[
    str | None,
    typer.Option(
        metavar="filter|layer",
        help="Rescale each filter, or each layer, to a norm of its own, in place of weight decay. Default: none.",
        rich_help_panel=NORMS,
    ),
]
RescaleTarget = Annotated[
    str | None,
    typer.Option(
        metavar="unit|initial",
        help="With --rescale: to the norm 1, or to the one before any step. Default: unit.",
        rich_help_panel=NORMS,
    ),
]
RescaleEvery = Annotated[
    str | None,
    typer.Option(
        metavar="step|epoch",
        help="With --rescale: after each step or each epoch. Default: step.",
        rich_help_panel=NORMS,
    ),
]
NormTransfer = Annotated[
    str | None,
    typer.Option(
        metavar="RUN",
        help="Rescale each layer after each epoch to the norm that it had then in this run folder.",
        rich_help_panel=NORMS,
    ),
]
Augment = Annotated[
    str | None,
    typer.Option(
        metavar="none|crop-flip|imagenet",
        help="Augment training samples: crop-flip pads by 4, crops and mirrors (cifar10, cifar100, fashion-mnist). "
        "Default: imagenet for imagenet, the others none.",
        rich_help_panel=BATCHES,
    ),
]
Track = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAMES",
        help="Measure while it trains, into track.csv: any measure of analyze, or norms, effective_learning_rate, "
        "edge, margins, strides, curvature_radius, normalized_curvature; comma-separated, may be repeated.",
        rich_help_panel=FOLLOWING,
    ),
]
TrackEvery = Annotated[
    str | None,
    typer.Option(
        metavar="K|Ksteps",
        help="How often: every K epochs, or 100steps; the beginning and the end too. Default: 1.",
        rich_help_panel=FOLLOWING,
    ),
]
TrackSamples = Annotated[
    str | None,
    typer.Option(
        metavar="N|first:N|all",
        help="On how many samples of the training split, as in analyze. Default: 512, or all of fewer.",
        rich_help_panel=FOLLOWING,
    ),
]
TrackBy = Annotated[
    str | None,
    typer.Option(
        metavar="GROUPS",
        help="The substructures that values are split into: role, layer, tensor or patterns of names. Default: role.",
        rich_help_panel=FOLLOWING,
    ),
]
Log = Annotated[
    list[str] | None,
    typer.Option(
        metavar="csv|tensorboard|wandb",
        help="Log the history and the track there too; may be repeated. The CSV files are always written.",
        rich_help_panel=FOLLOWING,
    ),
]


def track_values(
    track: list[str] | None, every: str | None, samples: str | None, by: str | None
) -> dict[str, str] | None:
    """The settings of the track as they are given; None without `--track`.

    Raises:
        OptionError: an option of the track is given without it.
    """
    given = {"every": every, "samples": samples, "by": by}
    values = {name: value for name, value in given.items() if value is not None}
    if not track:
        if values:
            raise OptionError(f"--track-{next(iter(values))} needs --track NAMES, which says what to follow.")
        return None
    return {"names": ",".join(track), **values}


Devices = Annotated[
    str | None,
    typer.Option(
        metavar="DEVICES",
        help="cpu, mps, auto (all GPUs, else the CPU), a number of processes, or GPUs: cuda:0,cuda:1. Several share "
        "each batch, to the same weights. Default: cpu; under torchrun or Slurm auto.",
        rich_help_panel=RUN,
    ),
]
Device = Annotated[str | None, typer.Option(metavar="DEVICE", help="The same as --devices.", rich_help_panel=RUN)]
