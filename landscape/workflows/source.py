"""Where a problem comes from: a checkpoint, with a network and data or with a file of the user's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from landscape.problem import Problem
from landscape.problem.load import load, load_problem_file


@dataclass(frozen=True)
class Source:
    """Where the problem comes from when the checkpoint does not say: as the options of `landscape analyze`."""

    model: str | None = None
    data: str | None = None
    normalize: str | None = None
    key: str | None = None
    problem_file: Path | None = None
    initial: Path | None = None

    def problem(
        self,
        path: Path | str,
        *,
        split: str,
        samples: str | None,
        seed: int,
        dtype: str,
        device: str,
        bn: Literal["eval", "train"] = "eval",
        batch_size: int | None = None,
    ) -> Problem:
        """The problem of a checkpoint.

        Args:
            path: the checkpoint.
            split: of the data; a problem file has its own.
            samples: how many of them, as in `landscape.config.analysis.AnalysisSettings`.
            seed: of the samples that are drawn.
            dtype: `float32` or `float64`.
            device: where to compute.
            bn: which statistics normalise.
            batch_size: samples in memory at once.

        Raises:
            LandscapeError: what is wrong with the file, the data or the options.
        """
        common: dict[str, Any] = {
            "samples": samples,
            "key": self.key,
            "dtype": getattr(torch, dtype),
            "bn": bn,
            "batch_size": batch_size,
            "seed": seed,
            "device": device,
            "initial": self.initial,
        }
        if self.problem_file is not None:
            return load_problem_file(self.problem_file, path, **common)
        return load(path, model=self.model, data=self.data, split=split, normalize=self.normalize, **common)
