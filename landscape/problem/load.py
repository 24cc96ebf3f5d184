"""From a checkpoint file to a `Problem`: ours describe themselves, for anybody's the caller says what they are."""

from __future__ import annotations

import importlib.util
import sys
import traceback
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from landscape.checkpoint import Checkpoint, check_finite, load_tensors, read_checkpoint
from landscape.data import (
    DATASETS,
    DataSpec,
    ImageSet,
    Normalization,
    PictureSet,
    choose_samples,
    default_normalization,
    open_images,
    parse_data,
    prepare,
)
from landscape.distributed import check_device
from landscape.errors import LandscapeError, OptionError, ProblemError
from landscape.models import (
    MODELS,
    SOURCES,
    ModelSpec,
    image_side,
    image_statistics,
    own_configuration,
    parse_model,
)
from landscape.problem.folding import fold_in
from landscape.problem.losses import LossLike
from landscape.problem.network import network
from landscape.problem.problem import Problem
from landscape.problem.reading import Reading
from landscape.problem.running import duplicate
from landscape.problem.training_facts import TrainingFacts, training_facts
from landscape.problem.working_dtype import working_dtype

DEFAULT_SAMPLES = 2048


def load(
    path: Path | str,
    *,
    model: str | nn.Module | None = None,
    data: Any = None,
    loss: LossLike | None = None,
    split: str = "train",
    samples: str | int | None = None,
    normalize: str | None = None,
    key: str | None = None,
    dtype: torch.dtype | str | None = None,
    device: str = "cpu",
    bn: Literal["eval", "train"] = "eval",
    batch_size: int | None = None,
    seed: int = 0,
    reading: str | Reading | None = None,
    initial: Path | str | None = None,
) -> Problem:
    """Load a checkpoint as a `Problem`.

    Args:
        path: .pt, .pth, .th, .ckpt, .bin or .safetensors, or a folder of transformers' layout.
        model: `NAME[:options]`, `torchvision:NAME`, `timm:NAME`, `hf:FOLDER`, `module:factory` or an `nn.Module` to
            load the tensors into; a checkpoint of `landscape train` knows its own, as does a folder with `config.json`.
        data: `NAME:FOLDER`, or anything that `Problem` takes; a checkpoint of `landscape train` knows its own.
        loss: cross-entropy by default.
        split: of a named data set.
        samples: a count (a fixed subset drawn with `seed`), `first:N`, `all`; None: 2,048, or all if there are fewer.
        normalize: `MEAN,..:STD,..` on pixels in 0..1; by default the checkpoint's own, else the data set's usual one.
        key: where the state dict is, if it is not under a usual key.
        dtype, device, bn, batch_size, reading: as in `Problem`.
        seed: of the subset.
        initial: a checkpoint of the initial weights; a run folder of `landscape train` has its own.

    Raises:
        CheckpointError, ModelError, DataError, OptionError, NonFiniteError, DeviceError: see the messages.
    """
    where = check_device(device)
    checkpoint = read_checkpoint(path, key)
    known = checkpoint.description or {}
    data = data if data is not None else known.get("data")
    model = model if model is not None else known.get("model", own_configuration(checkpoint.path))
    if model is None:
        raise OptionError(
            f"{path} does not say which network it is; name it: --model NAME[:options] ({', '.join(sorted(MODELS))}), "
            f"{', '.join(f'{source}:NAME' for source in SOURCES)}, or module:factory."
        )
    if data is None:
        raise OptionError(
            f"{path} does not say which data it was trained on; name them: --data NAME[:FOLDER] ({_sets()})."
        )
    # what is wrong with a name is told before anything long is read
    model_spec = parse_model(model) if isinstance(model, str) else None
    about: dict[str, Any] = {"model": str(model_spec) if model_spec else type(model).__name__}
    about["checkpoint"] = describe_checkpoint(checkpoint)
    if isinstance(data, (str, DataSpec)):
        spec = parse_data(data) if isinstance(data, str) else data
        images = open_images(spec, split)
        images, size = _sized(model_spec, images)
        normalization = _normalization(normalize, known, model_spec, spec, images)
        total = len(images)
        indices = _choose(total, samples, seed)
        floating = torch.float32 if dtype is None else working_dtype(dtype)
        pair = prepare(images.chosen(indices), normalization, size=size, dtype=floating)
        about |= {"data": spec.name, "split": split, "normalization": str(normalization)}
        about |= {"subset": str(samples or len(indices)), "subset_seed": seed, "published_md5": images.verified}
        known_of_data = {"classes": len(images.classes), "channels": images.channels, "size": size or images.size}
        population: int | None = total
    else:
        pair, indices, population = data, None, None
        about |= {"data": "given in Python", "split": "given"}
        known_of_data = {key: int(known[key]) for key in ("classes", "channels", "size") if key in known}
    folded = known.get("folded", ())  # of a network that `landscape invariance --save` wrote
    if isinstance(model, nn.Module):
        built = duplicate(model) if folded else model
        fold_in(built, folded)
        load_tensors(built, checkpoint.tensors, path)
    else:
        built = network(str(model_spec), checkpoint.tensors, source=path, folded=folded, **known_of_data)
    # buffers may be infinite (attention masks); `Problem` looks at those that may not
    check_finite({name: p.detach() for name, p in built.named_parameters()}, path)
    problem = Problem(
        built.to(where),
        loss or nn.CrossEntropyLoss(),
        pair,
        dtype=dtype,
        device=where,
        bn=bn,
        batch_size=batch_size,
        population=population,
        about=about,
        reading=reading,
        training=training_facts(checkpoint, built, None if initial is None else Path(initial)),
    )
    if population is None and samples is not None:
        return problem.choose(_choose(len(problem), samples, seed))
    return problem


def load_problem_file(
    file: Path | str,
    path: Path | str,
    *,
    samples: str | int | None = None,
    key: str | None = None,
    dtype: torch.dtype | str | None = None,
    device: str | None = None,
    bn: Literal["eval", "train"] | None = None,
    batch_size: int | None = None,
    seed: int = 0,
    initial: Path | str | None = None,
) -> Problem:
    """Ask a user's file for the problem: it defines `problem(weights) -> landscape.Problem`.

    `weights` are the checkpoint's tensors by name. The file is run; name only files that you trust.

    Raises:
        ProblemError: the file is missing, defines no such function, fails (the message says where) or returns
            something else.
    """
    if device is not None:
        check_device(device)
    checkpoint = read_checkpoint(path, key)
    problem = _run_problem_file(Path(file), dict(checkpoint.tensors))
    indices = _choose(len(problem), samples, seed)
    about: dict[str, Any] = {"data": Path(file).name, "split": "given", "model": type(problem.model).__name__}
    about = {**about, **problem.about, "checkpoint": describe_checkpoint(checkpoint)}
    if problem.training == TrainingFacts():  # the file says nothing of it
        problem.training = training_facts(checkpoint, problem.model, None if initial is None else Path(initial))
    return problem.choose(indices, dtype=dtype, device=device, bn=bn, batch_size=batch_size, about=about)


def describe_checkpoint(checkpoint: Checkpoint) -> dict[str, Any]:
    """What an analysis document says of the checkpoint: path, hash, recorded config and metrics."""
    known = checkpoint.description or {}
    metrics = {"epoch": known.get("epoch"), **known.get("metrics", {})} if known else {}
    return {
        "path": str(checkpoint.path),
        "sha256": checkpoint.sha256,
        "config": dict(known.get("config", {})),
        "metrics": metrics,
    }


def _run_problem_file(file: Path, weights: Mapping[str, Tensor]) -> Problem:
    if not file.is_file():
        raise ProblemError(
            f"no file {file}; expected a Python file that defines problem(weights) -> landscape.Problem."
        )
    spec = importlib.util.spec_from_file_location(f"landscape_problem_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise ProblemError(
            f"{file} is no Python file; expected one that defines problem(weights) -> landscape.Problem."
        )
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    sys.path.insert(0, str(file.resolve().parent))
    try:
        spec.loader.exec_module(module)
        function = vars(module).get("problem")
        if not callable(function):
            raise ProblemError(f"{file} does not define problem(weights) -> landscape.Problem.")
        result = function(weights)
    except LandscapeError:
        raise
    except (Exception, SystemExit) as error:
        lines = [
            frame
            for frame in traceback.extract_tb(error.__traceback__)
            if Path(frame.filename) == Path(spec.origin or "")
        ]
        line = f":{lines[-1].lineno}" if lines else ""
        raise ProblemError(
            f"{file}{line} fails: {type(error).__name__}: {' '.join(str(error).split())[:300]}"
        ) from error
    finally:
        sys.path.remove(str(file.resolve().parent))
    if not isinstance(result, Problem):
        raise ProblemError(f"{file}: problem(weights) must return a landscape.Problem, got {type(result).__name__}.")
    return result


def _choose(total: int, samples: str | int | None, seed: int) -> Tensor:
    return choose_samples(total, str(min(DEFAULT_SAMPLES, total)) if samples is None else str(samples), seed)


def _normalization(
    given: str | None,
    known: Mapping[str, Any],
    model: ModelSpec | None,
    spec: DataSpec,
    images: ImageSet | PictureSet,
) -> Normalization:
    if given is not None:
        return Normalization.parse(given)
    recorded = (known["normalization"]["mean"], known["normalization"]["std"]) if "normalization" in known else None
    if recorded is None and model is not None:
        recorded = image_statistics(model)
    if recorded is not None and len(recorded[0]) == images.channels:
        return Normalization(tuple(recorded[0]), tuple(recorded[1]))
    return default_normalization(spec.name)


def _sized(spec: ModelSpec | None, images: ImageSet | PictureSet) -> tuple[ImageSet | PictureSet, int | None]:
    """The images at the size that the network takes: pictures are decoded so, images in memory yet to be enlarged."""
    side = images.size if spec is None else image_side(spec, images.size)
    if isinstance(images, PictureSet):
        return replace(images, size=side), None
    return images, side if side != images.size else None


def _sets() -> str:
    return ", ".join(sorted(DATASETS))
