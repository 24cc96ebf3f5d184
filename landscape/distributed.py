"""A group of processes that compute one thing together, and the devices that they compute on.

The samples of a problem are cut among the processes (`Group.share`), what they computed is added (`Group.sum`), and
what is decided is decided by the first of them (`Group.first`), so that all take the same way. One process alone is
`ALONE`, for which all of that does nothing.
"""

from __future__ import annotations

import os
import pickle
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from torch._C._distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from landscape.errors import DeviceError, OptionError, ProcessError
from landscape.launchers import launched, slurm_environment

_RENDEZVOUS = timedelta(minutes=5)
# A process may wait for another for as long as that one loads its data; a death is noticed otherwise.
_COLLECTIVE = timedelta(days=7)
_MOST_PER_CORE = 8


@dataclass(frozen=True)
class Group:
    """This process among those that share a computation.

    Attributes:
        rank: the number of this process, from 0.
        size: how many there are.
        device: the device of this process.
        store: what the processes tell each other outside of the computation; None where there is one process.
    """

    rank: int = 0
    size: int = 1
    device: str = "cpu"
    store: Store | None = field(default=None, compare=False, repr=False)

    def sum(self, tensor: Tensor) -> Tensor:
        """Add `tensor` over the processes, in place; a NaN stays a NaN. Cost: one all-reduce.

        Raises:
            ProcessError: another process of the group has gone.
        """
        if self.size > 1:
            whole = tensor.contiguous()
            with _collective():
                dist.all_reduce(whole)
            if whole is not tensor:
                tensor.copy_(whole)
        return tensor

    def sum_array(self, array: np.ndarray) -> np.ndarray:
        """Add a float64 array over the processes; the result is a new array where there are several.

        Raises:
            ProcessError: another process of the group has gone.
        """
        if self.size == 1:
            return array
        return np.asarray(self.sum(torch.tensor(array, dtype=torch.float64)).numpy())

    def share(self, count: int) -> range:
        """This process's contiguous part of `count` items; it may be empty."""
        return range(count * self.rank // self.size, count * (self.rank + 1) // self.size)

    def first(self, value: Any) -> Any:
        """The plain value that process 0 has, for all: a decision must be the same everywhere.

        Raises:
            ProcessError: another process of the group has gone.
        """
        if self.size == 1:
            return value
        values = [value]
        with _collective():
            dist.broadcast_object_list(values, src=0, device=torch.device("cpu"))
        return values[0]

    def gather(self, value: Any) -> list[Any] | None:
        """The plain values of all processes in their order, for process 0; None for the others.

        Raises:
            ProcessError: another process of the group has gone.
        """
        if self.size == 1:
            return [value]
        values = [None] * self.size
        with _collective():
            dist.all_gather_object(values, value)
        return values if self.rank == 0 else None

    def next_item(self, queue: str) -> int:
        """The next number, from 0, of a queue that all processes draw from."""
        assert self.store is not None, "a queue needs a group"
        return int(self.store.add(queue, 1)) - 1

    def put(self, name: str, value: Any) -> None:
        """Leave a plain value for the other processes, at once and whatever they do."""
        assert self.store is not None, "there is nobody to leave it for"
        self.store.set(name, pickle.dumps(value).hex())

    def look(self, name: str) -> Any:
        """The value that a process left under `name`; None where it is not there yet."""
        assert self.store is not None, "nobody left anything"
        return pickle.loads(bytes.fromhex(self.store.get(name).decode())) if self.store.check([name]) else None

    def meets(self, place: str, seconds: float = 5.0) -> bool:
        """Whether every process comes to `place`, a name used once, within some seconds."""
        if self.store is None:
            return True
        self.store.add(place, 1)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.store.add(place, 0) >= self.size:
                return True
            time.sleep(0.05)
        return False


ALONE = Group()


@contextmanager
def _collective() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # gloo and NCCL have no class of their own for a peer that is gone
        raise ProcessError(
            "another process of the group has gone, or cannot be reached; its own messages, or those of its machine, "
            "say why."
        ) from error


@contextmanager
def lost_peers() -> Iterator[None]:
    """As for the methods of `Group`, around a block that computes too: only what gloo and NCCL say means a lost peer.

    Raises:
        ProcessError: another process of the group has gone.
    """
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, dist.DistError) and "gloo" not in str(error):
            raise
        with _collective():
            raise


@dataclass(frozen=True)
class Devices:
    """The devices of the processes on this machine, one a process, and the CPU threads of each (None: torch's own)."""

    names: tuple[str, ...]
    threads: int | None = None


def parse_devices(text: str) -> Devices:
    """The devices that `--devices` names.

    Args:
        text: `auto` (all GPUs; without any, one process on the CPU), `cpu`, `mps`, `cuda`, `cuda:1`, a number of
            processes (each on a GPU of its own where the machine has GPUs, else on its share of the CPU's cores), or
            a list of GPUs: `cuda:0,cuda:1`.

    Raises:
        OptionError: the text is none of these.
        DeviceError: a device is not there.
    """
    gpus = torch.cuda.device_count()
    if text == "auto":
        return Devices(tuple(f"cuda:{i}" for i in range(gpus)) or ("cpu",))
    if re.fullmatch("-?[0-9]+", text):
        return _counted(int(text), gpus)
    names = tuple(name.strip() for name in text.split(","))
    if len(names) > 1:
        for name in names:
            if not (name.startswith("cuda:") and name.removeprefix("cuda:").isdigit()):
                raise OptionError(f"devices {text!r}: a list names GPUs, as in cuda:0,cuda:1; got {name!r}.")
        if len(set(names)) < len(names):
            raise OptionError(f"devices {text!r} names one GPU twice; each process needs one of its own.")
    for name in names:
        check_device(name)
    return Devices(names)


def _counted(count: int, gpus: int) -> Devices:
    if count < 1:
        raise OptionError(f"devices must be at least 1, got {count}.")
    if gpus:
        if count > gpus:
            raise DeviceError(
                f"{count} devices were asked for, but this machine has {gpus} GPU{'s' * (gpus > 1)}; "
                f"use --devices {gpus} or --devices cpu."
            )
        return Devices(tuple(f"cuda:{i}" for i in range(count)))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if count > _MOST_PER_CORE * cores:
        raise OptionError(
            f"{count} processes were asked for, but this machine has {cores} core{'s' * (cores > 1)} and no GPU; "
            f"use --devices {cores}."
        )
    return Devices(("cpu",) * count, max(1, cores // count) if count > 1 else None)


def check_device(device: str | torch.device) -> torch.device:
    """The device if it is there.

    Raises:
        DeviceError: the name is no device's, or this machine has no such device.
    """
    try:
        wanted = torch.device(device)
        if wanted.type not in ("cpu", "cuda", "mps"):
            raise RuntimeError("not a device that computes")
        torch.empty(0, device=wanted)
    except (RuntimeError, AssertionError) as error:
        there = ["cpu"] + [f"cuda:{i}" for i in range(torch.cuda.device_count())]
        if torch.backends.mps.is_available():
            there.append("mps")
        raise DeviceError(f"device {str(device)!r} is not there; this machine has {', '.join(there)}.") from error
    return wanted


def join(devices: str = "auto") -> Group:
    """Join the group that a launcher made: torchrun's, Slurm's, or the one that the program itself initialised.

    Call it once in every process, before anything is measured; `problem.across(group)` then cuts a problem.

    Args:
        devices: as for `parse_devices`; here it names the devices of the processes of this machine.

    Returns:
        The group, or `ALONE` (on its device) where no launcher started several processes.

    Raises:
        OptionError, DeviceError: the devices do not fit the processes.
        ProcessError: the other processes were not reached within five minutes.
    """
    if dist.is_initialized():
        store = dist.distributed_c10d._get_default_store()
        size = dist.get_world_size()
        local = int(os.environ.get("LOCAL_RANK", "0"))
        device = _own_device(devices, local, local_size=int(os.environ.get("LOCAL_WORLD_SIZE", "0")))
        return Group(dist.get_rank(), size, device, PrefixStore("landscape", store))
    if not launched():
        return Group(device=parse_devices(devices).names[0])
    if "RANK" not in os.environ:
        os.environ.update(slurm_environment(os.environ))
    device = _own_device(devices, int(os.environ.get("LOCAL_RANK", "0")), int(os.environ.get("LOCAL_WORLD_SIZE", "0")))
    on_gpu = device.startswith("cuda")
    if on_gpu:
        torch.cuda.set_device(device)
    try:
        store, rank, size = next(rendezvous("env://", timeout=_RENDEZVOUS))
        dist.init_process_group(
            # plain values and decisions go by the CPU
            "cpu:gloo,cuda:nccl" if on_gpu else "gloo",
            store=PrefixStore("group", store),
            rank=rank,
            world_size=size,
            timeout=_COLLECTIVE,
        )
    except (RuntimeError, ValueError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ProcessError(f"the other processes of the group were not reached: {first}") from error
    return Group(rank, size, device, PrefixStore("landscape", store))


def leave(group: Group) -> None:
    """End the group's connections; the processes need not do so together."""
    if group.size > 1 and dist.is_initialized():
        dist.destroy_process_group()


def _own_device(devices: str, local_rank: int, local_size: int) -> str:
    """The device of the process `local_rank` of the `local_size` on this machine (0: not known)."""
    if devices == "cpu":
        return "cpu"
    gpus = torch.cuda.device_count()
    names = tuple(f"cuda:{i}" for i in range(gpus)) or ("cpu",) if devices == "cuda" else parse_devices(devices).names
    if devices not in ("auto", "cuda") and local_size and len(names) != local_size:
        raise OptionError(
            f"--devices {devices} is {len(names)} process{'es' * (len(names) > 1)}, but the launcher started "
            f"{local_size} on this machine; leave --devices out."
        )
    if names == ("cpu",):
        return "cpu"
    if local_rank < len(names):
        return names[local_rank]
    if len(names) == 1 and "SLURM_PROCID" in os.environ:  # Slurm shows each task its own GPU alone
        return names[0]
    raise DeviceError(
        f"process {local_rank} of this machine has no GPU of its own: this machine has {gpus}; start {gpus} processes "
        "on it, or use --devices cpu."
    )
