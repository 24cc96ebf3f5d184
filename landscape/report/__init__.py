"""The typeset report: an analysis document -> PDF. Knows no torch; needs no GPU and no network.

`write_report` loads matplotlib and typst, so it is imported on first use; `numbers` is light.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from landscape.report.document import write_report

__all__ = ["write_report"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(importlib.import_module("landscape.report.document"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
