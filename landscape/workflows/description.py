"""What an analysis says of its problem and of where it was made."""

from __future__ import annotations

import platform
from datetime import UTC, datetime
from typing import Any

import torch

import landscape
from landscape.problem import Problem


def describe(problem: Problem, loss: float, accuracy: float, classes: int | None) -> dict[str, Any]:
    """The `problem` of an analysis, with the mean loss and the accuracy that were found."""
    theta = problem.parameters
    about = {key: value for key, value in problem.about.items() if key != "checkpoint"}
    return {
        "data": "given in Python",
        "split": "given",
        "model": type(problem.model).__name__,
        **about,
        "samples": len(problem),
        "available": problem.population,
        "parameters": problem.size,
        "loss_name": problem.loss_name,
        "loss": loss,
        "accuracy": accuracy,
        "classes": classes,
        "bn_mode": problem.bn,
        "dtype": str(problem.dtype).removeprefix("torch."),
        "device": str(problem.device),
        "processes": problem.group.size,
        "block": problem.block_size,
        "tensors": [
            {
                "name": info.name,
                "role": info.role,
                "layer": info.layer,
                "size": info.size,
                "norm": float(theta[info.name].double().norm()),
            }
            for info in problem.infos
        ],
    }


def provenance() -> dict[str, Any]:
    """Versions and date."""
    return {
        "landscape": landscape.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
