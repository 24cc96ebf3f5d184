"""What the numbers were measured on and with: processor, threads, versions. No host name, no path."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

import landscape

_PACKAGES = ("torch", "pyhessian", "curvlinops-for-pytorch", "hessian-eigenthings", "scipy", "numpy")


def describe(device: torch.device | None = None) -> dict[str, Any]:
    """Machine, versions, date; `load` is the number of runnable processes as the run began (None where unknown)."""
    on_gpu = device is not None and device.type == "cuda"
    return {
        "machine": {
            "processor": _processor(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
            "system": platform.system(),
            "device": torch.cuda.get_device_name(device) if on_gpu else "cpu",
        },
        "versions": {
            "landscape": landscape.__version__,
            "python": platform.python_version(),
            **{name: _version(name) for name in _PACKAGES},
        },
        "date": datetime.now(UTC).date().isoformat(),
    }


def _processor() -> str:
    listing = Path("/proc/cpuinfo")
    if listing.is_file():
        for line in listing.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
