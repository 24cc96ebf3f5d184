"""How many cores this process may use."""

from __future__ import annotations

import os
import sys


def cores() -> int:
    """The cores that the system lets this process use; all where it does not say."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
