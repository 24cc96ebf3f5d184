"""Where the runs of a study go: on which devices, and how many at a time."""

from __future__ import annotations

import os
import sys

from landscape.errors import OptionError


def places(devices: str, jobs: int | None) -> tuple[tuple[str, ...], int]:
    """The devices that `--devices` names and the runs at a time: `--jobs`, else one a core, or one a GPU.

    Raises:
        OptionError: the text names no devices.
        DeviceError: a device is not there.
    """
    # Loaded here: torch.
    from landscape.distributed import parse_devices

    if devices.isdigit():
        raise OptionError(f"--devices names devices; for {devices} runs at a time give --jobs {devices}.")
    names = parse_devices(devices).names
    if jobs is not None:
        return names, jobs
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return names, cores if names == ("cpu",) else len(names)
