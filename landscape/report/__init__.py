"""Reports: the document model (`blocks`), what is said of a network (`network`), and its two writers.

Knows no torch; needs no GPU and no network. `write_document` loads the typesetter, so it is imported on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from landscape.report.writing import write_document

__all__ = ["write_document"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(importlib.import_module("landscape.report.writing"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
