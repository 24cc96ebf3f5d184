"""The options of `landscape analyze`, with their help, and how their values become settings.

The defaults that help shows are those of `landscape.config.analysis`; a test keeps the two equal. They are
repeated here because that module needs pydantic, which help must not wait for.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from landscape.catalog import CATALOG, PRESETS
from landscape.errors import OptionError, near

WHAT = "What to measure"
WHOSE = "Whose network (a checkpoint of landscape train needs nothing)"
HOW = "How exact, and on what machine"
OUTPUT = "Output"

Checkpoints = Annotated[
    list[Path],
    typer.Argument(
        metavar="CKPT...",
        help="Checkpoint files: .pt, .pth, .th, .ckpt, .bin or .safetensors; or folders of transformers.",
        show_default=False,
    ),
]

Measures = Annotated[
    str | None,
    typer.Option(
        metavar="NAMES",
        help="Measures and presets, comma-separated: quick, default, paper, all, or names; `landscape measures` lists "
        "them.",
        rich_help_panel=WHAT,
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="MEASURE.OPTION=VALUE",
        help="An option that one measure alone has (`landscape measures NAME` shows them); may be repeated.",
        rich_help_panel=WHAT,
        show_default=False,
    ),
]
Split = Annotated[
    str, typer.Option(metavar="train|test", help="The part of the data that is measured on.", rich_help_panel=WHAT)
]
Samples = Annotated[
    str | None,
    typer.Option(
        metavar="N|first:N|all",
        help="How many samples of the split: N drawn by the seed, the first N, or all. Default: 2048, or all of fewer.",
        rich_help_panel=WHAT,
    ),
]
Top = Annotated[
    int, typer.Option(metavar="K", help="How many of the largest Hessian eigenvalues.", rich_help_panel=WHAT)
]
ConnectivityBatch = Annotated[
    int, typer.Option(metavar="M", help="Samples in a batch of connectivity_batch.", rich_help_panel=WHAT)
]
By = Annotated[
    str,
    typer.Option(
        metavar="GROUPS",
        help="The substructures that a measure is split into: role, layer, tensor, or patterns of parameter names, "
        "comma-separated (layer1.*,linear.*).",
        rich_help_panel=WHAT,
    ),
]
Bn = Annotated[
    str,
    typer.Option(
        metavar="eval|train",
        help="Batch normalisation by the running statistics (eval) or by those of each group of 128 samples (train).",
        rich_help_panel=WHAT,
    ),
]

Model = Annotated[
    str | None,
    typer.Option(
        metavar="NETWORK",
        help="One of ours with its options (resnet20, vgg11-bn:width=0.5); torchvision:NAME, timm:NAME or hf:FOLDER, "
        "where that package is installed; or MODULE:FACTORY, a function of yours that builds it.",
        rich_help_panel=WHOSE,
        show_default=False,
    ),
]
Data = Annotated[
    str | None,
    typer.Option(
        metavar="DATA",
        help="digits, or NAME:FOLDER for mnist, fashion-mnist, cifar10, cifar100, svhn and svhn-extra in torchvision's "
        "layout, and imagenet (train and val of class folders).",
        rich_help_panel=WHOSE,
        show_default=False,
    ),
]
Normalize = Annotated[
    str | None,
    typer.Option(
        metavar="MEANS:STDS",
        help="Means and deviations per channel, on pixels scaled to 0..1 (0.5,0.5,0.5:0.2,0.2,0.2). Default: the "
        "checkpoint's, else the data set's usual ones.",
        rich_help_panel=WHOSE,
        show_default=False,
    ),
]
Key = Annotated[
    str | None,
    typer.Option(
        metavar="KEY",
        help="Where in the file the weights are, when not under a usual name, or the beginning of their names "
        "(ema_model).",
        rich_help_panel=WHOSE,
        show_default=False,
    ),
]
Initial = Annotated[
    Path | None,
    typer.Option(
        metavar="CKPT",
        help="The network's initial weights, for distances from them. Default: those in the run folder of a "
        "checkpoint of landscape train.",
        rich_help_panel=WHOSE,
        show_default=False,
    ),
]
ProblemFile = Annotated[
    Path | None,
    typer.Option(
        "--problem",
        metavar="FILE",
        help="A Python file that defines problem(weights) -> landscape.Problem, for any network, loss and data. "
        "It is run.",
        rich_help_panel=WHOSE,
        show_default=False,
    ),
]

Rtol = Annotated[
    float,
    typer.Option(metavar="R", help="Stop at this relative standard error (or eigenvalue error).", rich_help_panel=HOW),
]
Budget = Annotated[
    float,
    typer.Option(
        metavar="G",
        help="The most that a measure may cost, in gradient-equivalents: passes forward and backward over the samples.",
        rich_help_panel=HOW,
    ),
]
Seed = Annotated[int, typer.Option(metavar="N", help="Decides the drawn samples and probes.", rich_help_panel=HOW)]
Engine = Annotated[
    str,
    typer.Option(
        metavar="landscape|pyhessian",
        help="Whose Hessian code gives the trace and the eigenvalues.",
        rich_help_panel=HOW,
    ),
]
Hvp = Annotated[
    str,
    typer.Option(
        metavar="exact|forward|finite-difference",
        help="How Hessian-vector products are made: two reverse passes; forward over reverse, for layers without a "
        "double backward; or differences of gradients, which need float64 and no second derivative of any layer.",
        rich_help_panel=HOW,
    ),
]
Dtype = Annotated[
    str, typer.Option(metavar="float32|float64", help="Precision of the computation.", rich_help_panel=HOW)
]
Devices = Annotated[
    str,
    typer.Option(
        metavar="DEVICES",
        help="auto (all GPUs, else the CPU), cpu, mps, a number of processes, or GPUs: cuda:0,cuda:1. Several share "
        "the samples, or take a checkpoint each; no value changes. Under torchrun or Slurm: auto, or cpu.",
        rich_help_panel=HOW,
    ),
]
Device = Annotated[
    str | None, typer.Option(metavar="DEVICE", help="The same as --devices.", rich_help_panel=HOW, show_default=False)
]
BatchSize = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Samples in memory at once; changes no value. Default: chosen for the network.",
        rich_help_panel=HOW,
        show_default=False,
    ),
]
NoCache = Annotated[
    bool,
    typer.Option(
        "--no-cache",
        metavar="",
        help="Compute everything anew and keep nothing, instead of taking what an earlier run found.",
        rich_help_panel=HOW,
    ),
]

Out = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER",
        help="Write one JSON document per checkpoint into this folder.",
        rich_help_panel=OUTPUT,
        show_default=False,
    ),
]
Json = Annotated[
    bool,
    typer.Option(
        "--json",
        metavar="",
        help="Standard output carries the JSON document alone (an array for several checkpoints).",
        rich_help_panel=OUTPUT,
    ),
]
Report = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Write a report with figures, a PDF or one HTML file.",
        rich_help_panel=OUTPUT,
        show_default=False,
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", metavar="", help="Show no progress.", rich_help_panel=OUTPUT)]


def measure_names(text: str | None) -> tuple[str, ...]:
    """The measures and presets named in a comma-separated text, in its order and once each; none named is ().

    Raises:
        OptionError: a name is empty or unknown.
    """
    if text is None:
        return ()
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    for name in names:
        if name not in CATALOG and name not in PRESETS:
            offer = near(name, [*CATALOG, *PRESETS])
            raise OptionError(f"--measures: expected names of measures or presets, got {name!r}.{offer}")
    return names
