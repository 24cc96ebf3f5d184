"""TensorBoard: event files in `tensorboard/` of the run folder; `tensorboard --logdir runs` shows them."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from landscape.errors import OptionError
from landscape.training.loggers.logger import LoggerFamily
from landscape.training.run_folder import RunFolder


class TensorBoardLogger:
    """Writes scalars by torch's own `SummaryWriter`.

    Args:
        folder: the run folder.
        settings: of the run; not written, they are in `config.yaml`.
        done: steps of a resumed run; what was logged beyond them is hidden, as it comes again.
    """

    def __init__(self, folder: RunFolder, settings: Mapping[str, Any], done: int) -> None:
        check()
        writer = importlib.import_module("torch.utils.tensorboard").SummaryWriter
        self._writer = writer(log_dir=str(folder.path / "tensorboard"), purge_step=done + 1 if done else None)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """As `Logger`."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self) -> None:
        """As `Logger`."""
        self._writer.close()


def check() -> None:
    """Raise `OptionError` where the package tensorboard is not installed."""
    try:
        importlib.import_module("torch.utils.tensorboard")
    except ImportError as error:
        raise OptionError(
            f"log tensorboard needs the package tensorboard ({error}); install it: "
            "pip install 'landscape-diagnostics[tensorboard]'."
        ) from error


TENSORBOARD = LoggerFamily("tensorboard", check, TensorBoardLogger)
