"""A hash of all that decides the value of every measure of a problem."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

import landscape
from landscape.config.recipe import digest
from landscape.problem import Problem
from landscape.workflows.contents import Contents

# These rooms look at results, or make the problem, whose fingerprint says what came of it.
_COMPUTE_NOTHING = {"plots", "report", "training", "recipes", "data", "config", "catalog.py", "files.py", "memory.py"}


def fingerprint(problem: Problem) -> str:
    """SHA-256, as hexadecimal text, of what decides the values of the problem's measures.

    These are the network (classes, settings, parameters, buffers and the code that they run), how its outputs are read,
    the loss, the samples, the population that they are drawn from, batch normalisation's mode, the dtype, and the
    versions that compute: torch's and the sources of landscape itself. Below float64 the kind of device counts too: its
    rounding may be seen. Batch size and the number of devices or processes decide no value and are left out.

    Cost: reads all parameters and samples once, about 1 s for a gigabyte.

    Raises:
        UnknowableError: the source of the network or of the loss cannot be had.
    """
    contents = Contents()
    samples = problem.samples
    return digest(
        {
            "landscape": landscape.__version__,
            "sources": _sources(),
            "torch": torch.__version__,
            "default": str(torch.get_default_dtype()),
            "kind": contents.digest(type(problem)),
            "network": contents.digest(problem.model),
            "loss": contents.digest(problem.loss),
            "reading": contents.digest(problem.reading),
            "inputs": contents.digest(samples.inputs),
            "targets": contents.digest(samples.targets),
            "parameters": [[info.name, info.role, info.layer] for info in problem.infos],
            "population": problem.population,
            "block": problem.block_size,
            "bn": problem.bn,
            "dtype": str(problem.dtype),
            "rounding": None if problem.dtype == torch.float64 else problem.device.type,
        }
    )


def training_digest(problem: Problem) -> str:
    """SHA-256 of what the problem knows of the training that led to it."""
    return Contents().digest(problem.training)


def key(problem: str, what: str, options: Mapping[str, Any]) -> str:
    """The name of one result: of `what` (a measure) with `options`, of the problem whose fingerprint is `problem`."""
    engine = {"version": metadata.version("pyhessian")} if options.get("engine") == "pyhessian" else {}
    return digest({"problem": problem, "what": what, "options": dict(options), "engine": engine})


@functools.cache
def _sources() -> str:
    """The hash of the sources of landscape that compute, so that who changes them never sees an older number."""
    root = Path(landscape.__file__).parent
    every = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        place = path.relative_to(root)
        if place.parts[0] not in _COMPUTE_NOTHING:
            every.update(f"{place.as_posix()} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return every.hexdigest()
