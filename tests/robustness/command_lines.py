"""Random command lines over the real commands and options, as the Typer app has them: a new one is drawn by itself.

A line is a command, its arguments, the options that keep it small (`SMALL`), and a few others. Each value is drawn from
what makes sense for an option (by its name, by its metavar, by its default) or, one time in four, from `BAD`.
"""

from __future__ import annotations

import random
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import typer
from typer.core import TyperArgument, TyperGroup, TyperOption

from landscape.catalog import CATALOG
from landscape_cli.main import app

BAD = (
    "", " ", "-1", "0", "1", "nan", "inf", "-inf", "1e400", "9" * 30, "1_000", "0x10", "1.5", "é☃", "../..", "a" * 5000,
    "'; touch hacked'", "$(touch hacked)", "%s%n{0}{x}", "null", "true", "[1,2", "{a: 1", ":", ",", "a,,b", "1:2:3",
    "@", "=", "a=b=c", "*", "--", "-", "--help", "[red]x[/red]", "line\nbreak", "\t", "cuda:99", "1e-320", "١٢",
)  # fmt: skip

# What the folder of `world.py` holds, and what it does not.
CHECKPOINTS = (
    "run/final.pt", "run/checkpoints/epoch-0000.pt", "stopped/checkpoints/last.pt", "foreign.pth",
    "foreign.safetensors", "half.pt", "hostile.pt", "nan.pt", "empty.pt", "noise.bin", "run", "absent.pt",
    "note.txt/x.pt",
)  # fmt: skip
DOCUMENTS = ("a.json", "b.json", "half.json", "newer.json", "list.json", "empty.pt", "noise.bin")
RUNS = ("run", "stopped", "twin", "absent", "note.txt", ".", "broken-run")
TABLES = ("table.csv", "short.csv", "noise.csv", "absent.csv", "table.parquet")
SURFACES = ("plane.npz", "half.npz", "noise.npz", "other.npz", "absent.npz")
YAMLS = ("recipe.yaml", "sweep.yaml", "bad.yaml", "list.yaml", "noise.bin", "absent.yaml", "run/config.yaml", "run")
MODELS = (
    "mlp:width=4,depth=2", "mlp:width=0", "mlp:depth=x", "resnet8:width=1", "resnet9", "vgg11-bn:width=0.01",
    "os:getcwd", "nowhere:build", "math:pi", "mlp:width=4,width=5", "mlp:", "own_network:bare", "own_network:fails",
    "own_network:bn",
)  # fmt: skip
OPTIMIZERS = (
    "sgd", "adam", "adamw", "lamb", "lars", "percent-delta", "mclr", "cblr", "kfac-f", "kfac-g", "sam",
    "asam:base=adam", "sam:base=sam", "sgd:nesterov=maybe", "sgd:", "adam:lr=1",
)  # fmt: skip

# By the name of the option or argument, whatever the command.
BY_NAME: dict[str, tuple[str, ...]] = {
    "model": MODELS,
    "data": ("digits", "digits:x", "cifar10", "cifar10:run", "mnist:absent", "digit", "svhn:note.txt"),
    "optimizer": OPTIMIZERS,
    "measures": (*CATALOG, "hessian_trace,margin", "margin,margin", "hesian_trace", "connectivity,", ",".join(CATALOG)),
    "track": (*CATALOG, "norms", "edge", "strides", "margins", "effective_learning_rate", "norms,edge", "norm"),
    "samples": ("16", "33", "first:8", "1", "all", "first:0", "2000", "last:3"),
    "track_samples": ("16", "first:8", "1", "first:0", "5000"),
    "track_every": ("1", "2steps", "0steps", "steps", "1.5"),
    "by": ("role", "layer", "tensor", "*.weight", "*", "nothing.*", "role,layer", "["),
    "track_by": ("role", "layer", "nothing.*"),
    "devices": ("cpu", "auto", "cuda", "cuda:0,cuda:0", "mps", "gpu", "cpu,cpu", "0"),
    "device": ("cpu", "auto", "cuda", "meta", "gpu"),
    "normalize": ("0.5:0.5", "0.5:0", "0.5,0.5,0.5:0.2,0.2,0.2", "0.5", "filter", "layer"),
    "image_normalize": ("0.5:0.5", "0.5:0", "0.5"),
    "key": ("state_dict", "description", "absent", "state_dict.x", "."),
    "problem": ("own_problem.py", "failing_problem.py", "wrong_problem.py", "note.txt", "run", "absent.py"),
    "directions": (
        *("random", "eigen", "line:twin/final.pt", "bezier:twin/final.pt", "pca:run"),
        *("line:", "line:half.pt", "pca:absent", "line:foreign.pth", "other"),
    ),
    "points": ("2x3", "3", "1", "1x1", "0", "2x", "x", "2x2x2", "-3"),
    "x_range": ("-1:1", "0:0", "1:-1", "0:inf", "-0.5:2"),
    "y_range": ("-1:1", "0:0", "1:-1", "nan:1"),
    "decay": ("none", "all", "no-bias", "bias", "gamma", "beta", "adaptive-beta", "conv", "fc", "decay"),
    "schedule": ("constant", "cosine", "polynomial", "step", "two-phase", "cosin"),
    "lr_steps": ("1", "1,2", "2,1", "0", "x", ","),
    "batch_schedule": ("1:256", "1:256@0.1", "1-2:128", "2:128", "1:0", "x"),
    "norm_transfer": RUNS,
    "overrides": ("lr=0.1", "epochs=1", "model=mlp:width=4", "leraning_rate=1", "lr", "=1", "lr=[1", "lr=fast"),
    "log": ("csv", "tensorboard", "wandb", "cvs"),
    "config": YAMLS,
    "recipe": ("cs-table2-baseline", "absent"),
    "checkpoints": CHECKPOINTS,
    "networks": (*DOCUMENTS, *RUNS, *CHECKPOINTS[:4]),
    "runs": (*RUNS, *DOCUMENTS, *TABLES),
    "target": ("accuracy", "gap", "loss", "y", "absent"),
    "axes": ("seed", "lr", "seed,lr", "absent", "h", ","),
    "sources": (*DOCUMENTS, *CHECKPOINTS, *RUNS),
    "csv": ("new.csv", "run/x.csv", "note.txt/x.csv", "run"),
    "vtk": ("new.vtk", "run"),
    "plot": ("new.svg", "new.png", "new.pdf", "new.gif", "note.txt/x.svg", "run"),
    "report": ("new.pdf", "new.txt", "note.txt/new.pdf", "run", "new.html"),
    "page": ("page.md", "note.txt", "absent.md"),
    "parquet": ("new.parquet", "note.txt/x.parquet"),
    "names": ("cs-table2", "cs-figure1", "wd-table1", "absent"),
    "name": ("cs-table2", "cs-table2-baseline", "absent"),
}
# By the command too, where a name means different things.
BY_COMMAND: dict[tuple[str, str], tuple[str, ...]] = {
    ("surface", "source"): (*CHECKPOINTS, *SURFACES, "plane.npz", "plane.npz"),
    ("surface", "out"): ("grid.npz", "plane.npz", "half.npz", "grid.txt", "note.txt/grid.npz", "run"),
    ("sweep", "source"): (*YAMLS, "cs", "absent"),
    ("history", "runs"): RUNS,
    ("history", "out"): ("new.svg", "new.png", "new.gif", "note.txt/x.png"),
    ("train", "out"): ("new", "run", "stopped", "twin", "note.txt", "note.txt/x", "broken-run", "."),
    ("reproduce", "data"): ("cifar10:absent", "digits:run", "x:y", "cifar10", ":"),
}
BY_METAVAR: dict[str, tuple[str, ...]] = {
    "FOLDER": ("new", "run", "note.txt", "note.txt/x", "absent/deeper"),
    "FILE": ("new.out", "note.txt", "run", "note.txt/x", "absent/new.svg", "new.pdf"),
    "FILE.npz": SURFACES,
    "CKPT": CHECKPOINTS,
    "CKPT...": CHECKPOINTS,
    "RUN...": RUNS,
    "RUN": RUNS,
}
NUMBERS = ("1", "2", "3", "5", "0.1", "0.5", "0", "-1", "64", "256")

# What keeps a command small; given unless the line draws the option itself.
SMALL: dict[str, tuple[str, ...]] = {
    "train": ("--model", "mlp:width=4,depth=2", "--epochs", "1", "--batch-size", "512"),
    "analyze": ("--samples", "16", "--budget", "4"),
    "compare": ("--samples", "16"),
    "correlate": ("--samples", "16", "--resamples", "20"),
    "surface": ("--samples", "16", "--points", "2x2", "--curve-steps", "2"),
    "sweep": ("--jobs", "1", "--dry-run"),
    "reproduce": ("--list",),
    "verify": ("--samples", "16"),
    "invariance": ("--samples", "16", "--budget", "4"),
    "batch-scaling": ("--samples", "64"),
}


@dataclass(frozen=True)
class Line:
    """A command line, with the number by which it can be drawn again."""

    number: int
    arguments: tuple[str, ...]

    def __str__(self) -> str:
        """As a shell takes it."""
        return f"landscape {shlex.join(self.arguments)}"


def commands() -> dict[str, Sequence[TyperArgument | TyperOption]]:
    """The parameters of every command, as it is registered."""
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    context = typer.Context(group, info_name="landscape")
    found: dict[str, Sequence[TyperArgument | TyperOption]] = {}
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        parameters = command.get_params(typer.Context(command, info_name=name, parent=context))
        found[name] = [p for p in parameters if isinstance(p, TyperArgument | TyperOption)]
    return found


def lines(count: int, seed: int) -> Iterator[Line]:
    """`count` lines, the same for the same seed: each command in turn, so that all are drawn equally often."""
    known = commands()
    for number in range(count):
        draw = random.Random(f"{seed}/{number}")
        name = sorted(known)[number % len(known)]
        yield Line(number, tuple(_line(name, known[name], draw)))


def _line(name: str, parameters: Sequence[TyperArgument | TyperOption], draw: random.Random) -> Iterator[str]:
    if draw.random() < 0.03:
        yield draw.choice(BAD)
        return
    yield name
    arguments = [p for p in parameters if isinstance(p, TyperArgument)]
    options = [p for p in parameters if isinstance(p, TyperOption)]
    words: list[tuple[str, ...]] = []
    for argument in arguments:
        if argument.required or draw.random() < 0.5:
            many = draw.choice((1, 1, 2, 3)) if argument.nargs == -1 else draw.choice((1,) * 20 + (0, 2))
            words += [(_value(name, argument, draw),) for _ in range(many)]
    chosen = draw.sample(options, min(len(options), draw.choice((0, 1, 1, 2, 2, 3, 4))))
    for option in chosen:
        words += [_given(name, option, draw)] * (2 if draw.random() < 0.05 else 1)
    # a command that nothing keeps small is mostly drawn with a mistake in it
    if draw.random() < (0.8 if len(parameters) < 4 and name not in SMALL else 0.06):
        words.append((draw.choice((*BAD, f"{draw.choice(options).opts[0]}x", "--nonsense=1", "-Z")),))
    taken = {opt for option in chosen for opt in option.opts}
    if draw.random() > 0.08:
        words += [pair for pair in _pairs(SMALL.get(name, ())) if pair[0] not in taken]
    draw.shuffle(words)
    for word in words:
        yield from word


def _pairs(small: Sequence[str]) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    for word in small:
        if word.startswith("--"):
            found.append((word,))
        else:
            found[-1] += (word,)
    return found


def _given(command: str, option: TyperOption, draw: random.Random) -> tuple[str, ...]:
    name = draw.choice(option.opts)
    if option.is_flag:
        return (name,)
    value = _value(command, option, draw)
    if draw.random() < 0.03:
        return (name,)  # its value is forgotten
    return (f"{name}={value}",) if name.startswith("--") and draw.random() < 0.2 else (name, value)


def _value(command: str, parameter: TyperArgument | TyperOption, draw: random.Random) -> str:
    if draw.random() < 0.25:
        return draw.choice(BAD)
    name, metavar = str(parameter.name), (parameter.metavar or "").strip("[]")
    known = BY_COMMAND.get((command, name)) or BY_NAME.get(name) or BY_METAVAR.get(metavar)
    if known is None and "|" in metavar:
        known = (*metavar.split("|"), "other")
    return draw.choice(known or NUMBERS)
