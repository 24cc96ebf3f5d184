"""What memory was used at most, what is free, and what a graph holds: on a GPU the tensors', on the CPU the process's.

On a GPU the peak is that of torch's own tensors. On the CPU it is the resident size of the whole process, with the
interpreter, the libraries and the data: nobody counts torch's tensors alone there. Linux can reset that peak; where it
cannot be reset (macOS, some containers) it is the process's peak since its start.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

if sys.platform != "win32":
    import resource

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_MEMINFO, _GROUPS, _HIERARCHY = Path("/proc/meminfo"), Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")


@dataclass
class Peak:
    """The most memory in use, in bytes, while a block ran; None until its end, and where the system does not say."""

    device: torch.device
    bytes: int | None = None

    def raise_to(self, size: int | None) -> None:
        """Take `size` if it is larger than what is known."""
        if size is not None:
            self.bytes = max(size, self.bytes or 0)


_open: ContextVar[tuple[Peak, ...]] = ContextVar("open_peaks", default=())


@contextmanager
def watch_peak(device: torch.device) -> Iterator[Peak]:
    """Watch the peak of memory inside the block; blocks may nest, an outer one includes its inner ones.

    torch's own peak statistics of a GPU are reset.
    """
    peak = Peak(device)
    around = _open.get()
    outer = [other for other in around if other.device == device]
    reached = _peak_since_reset(device) if outer else None
    for other in outer:
        other.raise_to(reached)
    _reset(device)
    token = _open.set((*around, peak))
    try:
        yield peak
    finally:
        _open.reset(token)
        peak.raise_to(_peak_since_reset(device))
        for other in outer:
            other.raise_to(peak.bytes)


def available_memory(device: torch.device) -> int | None:
    """The bytes that can still be taken on `device`; None where the system does not say.

    On Linux it is what the kernel calls available, or what the process's control groups (a container, a batch job)
    leave if that is less. What files occupy in memory and the kernel gives up on demand counts as free.
    """
    if device.type == "cuda":
        # what torch's allocator holds and no tensor uses can be taken too
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + unused
    if device.type != "cpu":
        return None
    known = [size for size in (_field(_MEMINFO, "MemAvailable:"), *_left_by_groups()) if size is not None]
    return max(0, min(known)) if known else None


def _reset(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif device.type == "cpu":
        with suppress(OSError):
            _CLEAR.write_text("5")  # proc(5): resets the peak resident set size


def _peak_since_reset(device: torch.device) -> int | None:
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    if device.type != "cpu":
        return None
    peak = _field(_STATUS, "VmHWM:")
    if peak is None and sys.platform != "win32":
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        peak = most if sys.platform == "darwin" else 1024 * most
    return peak


def _field(path: Path, name: str) -> int | None:
    """The bytes of a line `NAME   12 kB`."""
    with suppress(OSError, ValueError, IndexError):
        for line in path.read_text().splitlines():
            if line.startswith(name):
                return 1024 * int(line.split()[1])
    return None


def _left_by_groups() -> Iterator[int]:
    """What each control group of the process leaves of its limit, up to the root: any of them may be the tightest."""
    lines: list[str] = []
    with suppress(OSError):
        lines = _GROUPS.read_text().splitlines()
    for line in lines:
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            root, limit, usage, cached = _HIERARCHY, "memory.max", "memory.current", "inactive_file"
        elif "memory" in controllers.split(","):
            root, limit, usage = _HIERARCHY / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes"
            cached = "total_inactive_file"
        else:
            continue
        group = root / path.lstrip("/")
        for folder in (group, *group.parents):
            left = _left(folder / limit, folder / usage, folder / "memory.stat", cached)
            if left is not None:
                yield left
            if folder == root:
                break


def _left(limit: Path, usage: Path, statistics: Path, cached: str) -> int | None:
    """Limit less usage in bytes; None where there is no such group or it has no limit (`max`)."""
    with suppress(OSError, ValueError):
        most, used = int(limit.read_text()), int(usage.read_text())
        with suppress(OSError, ValueError):
            fields = dict(line.split() for line in statistics.read_text().splitlines())
            used -= int(fields.get(cached, 0))
        return most - used
    return None


class SavedBytes(saved_tensors_hooks):
    """Counts, in `total`, the bytes of the tensors that autograd saves inside the block, each storage once.

    Those of `known` tensors, such as the parameters, do not count.
    """

    def __init__(self, known: Iterable[Tensor] = ()) -> None:
        self.total = 0
        self._storages = {tensor.untyped_storage().data_ptr() for tensor in known}
        super().__init__(self._note, lambda tensor: tensor)

    def _note(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self._storages:
            self._storages.add(storage.data_ptr())
            self.total += storage.nbytes()
        return tensor

    @staticmethod
    def refused(error: RuntimeError) -> bool:
        """Whether `error` says that the block cannot be counted: it uses transforms of torch.func."""
        return "saved tensor hooks" in str(error)
