"""Weights & Biases: a run of the project `landscape`; its own settings (WANDB_MODE=offline and others) hold."""

from __future__ import annotations

import importlib
import uuid
from collections.abc import Mapping
from typing import Any

from landscape.errors import CheckpointError, OptionError
from landscape.files import write_atomically
from landscape.training.loggers.logger import LoggerFamily
from landscape.training.run_folder import RunFolder


class WandbLogger:
    """Logs to a run whose id is kept in the run folder, so that a resumed training goes on in it.

    Args:
        folder: the run folder; what the client keeps on disk goes there too.
        settings: of the run.
        done: steps of a resumed run; 0 begins a new one.
    """

    def __init__(self, folder: RunFolder, settings: Mapping[str, Any], done: int) -> None:
        check()
        client = importlib.import_module("wandb")
        kept = folder.path / "wandb-id.txt"
        try:
            known = kept.read_text(encoding="utf-8").strip() if done and kept.exists() else ""
        except (OSError, UnicodeDecodeError) as error:
            raise CheckpointError(f"cannot read {kept}: {error}.") from error
        name = known or uuid.uuid4().hex[:8]
        write_atomically(kept, name.encode())
        self._run = client.init(
            project="landscape",
            id=name,
            name=folder.path.name,
            dir=str(folder.path),
            config=dict(settings),
            resume="allow",
        )

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """As `Logger`."""
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        """As `Logger`."""
        self._run.finish()


def check() -> None:
    """Raise `OptionError` where the package wandb is not installed."""
    try:
        importlib.import_module("wandb")
    except ImportError as error:
        raise OptionError(
            f"log wandb needs the package wandb ({error}); install it: pip install 'landscape-diagnostics[wandb]'."
        ) from error


WANDB = LoggerFamily("wandb", check, WandbLogger)
