"""What every benchmark is given: network and images, how large to be, and where to tell how it goes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from benchmarks.subject import Subject

Scale = Literal["smallest", "short", "full"]


@dataclass(frozen=True)
class Context:
    """Of one run.

    Attributes:
        subject: network and images, as many as the largest benchmark takes.
        scale: `full` is the bars' own size; `short` takes fewer images, seeds and repeats; `smallest` is for tests.
        say: hears what begins.
        references: where values are kept that are the truth for others.
        device: where everybody computes.
    """

    subject: Subject
    scale: Scale
    say: Callable[[str], None]
    references: Path
    device: torch.device

    @property
    def on_gpu(self) -> bool:
        """Whether a GPU computes."""
        return self.device.type == "cuda"

    def pick(self, smallest: int, short: int, full: int) -> int:
        """A number by scale."""
        return {"smallest": smallest, "short": short, "full": full}[self.scale]
