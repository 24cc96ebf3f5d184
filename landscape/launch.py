"""Starting the processes of a group on this machine: torch's elastic agent.

The agent starts a command N times with the variables that `landscape.distributed.join` reads, watches the processes,
and ends the others when one of them ends badly.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import tempfile
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from landscape.distributed import Devices
from landscape.errors import ProcessError

LOST = 72
"""The exit code of a process that ended because another one went: it has nothing to say itself."""

_HANDLED = [getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT") if name in dir(signal)]
_STARTED_BY_US = "LANDSCAPE_LAUNCHED"
_STOPPED = {-signal.SIGTERM, -signal.SIGINT}  # by the agent, because of another


def has_parent() -> bool:
    """Whether `run_processes` started this process, so that its parent tells what it cannot tell itself."""
    return _STARTED_BY_US in os.environ


def run_processes(command: Sequence[str], devices: Devices) -> int:
    """Run `command` once for every device, to the end.

    Args:
        command: the program and its arguments; each process finds its number in RANK and joins by
            `landscape.distributed.join`.
        devices: how many processes, and how many CPU threads each.

    Returns:
        0, or the exit code of the processes: the first that ended with one of its own has said why.
        130 after Ctrl-C.

    Raises:
        ProcessError: a process died without a word, for instance killed by a signal.
    """
    count = len(devices.names)
    with tempfile.TemporaryDirectory(prefix="landscape-") as logs, _environment(devices), _quiet_agent():
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=count,
            run_id=uuid.uuid4().hex,
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",
            local_addr="127.0.0.1",
            max_restarts=0,
            monitor_interval=0.1,
            logs_specs=DefaultLogsSpecs(log_dir=logs),
        )
        handlers = {number: signal.getsignal(number) for number in _HANDLED}  # the agent sets its own
        try:
            elastic_launch(config, command[0])(*command[1:])
        except ChildFailedError as error:
            return _exit_code({rank: failure.exitcode for rank, failure in error.failures.items()}, count)
        except SignalException as stop:
            return 128 + int(stop.sigval)
        finally:
            if threading.current_thread() is threading.main_thread():
                for number, handler in handlers.items():
                    signal.signal(number, handler if handler is not None else signal.SIG_DFL)
    return 0


def _exit_code(codes: Mapping[int, int], count: int) -> int:
    """What the exit codes of the failed processes, by number, come to."""
    told = [code for code in codes.values() if code > 0 and code != LOST]
    if told:
        return told[0]
    killed = {rank: -code for rank, code in codes.items() if code < 0 and code not in _STOPPED}
    killed = killed or {rank: -code for rank, code in codes.items() if code < 0}
    if killed:
        rank, number = next(iter(killed.items()))
        names = {s.value: s.name for s in signal.Signals}
        hint = "; the system does so when memory runs out" if number == signal.SIGKILL else ""
        raise ProcessError(
            f"process {rank} of {count} (counted from 0) died (killed by signal {number}, "
            f"{names.get(number, 'unknown')}{hint}); the others were stopped."
        )
    raise ProcessError(f"the {count} processes lost each other; none said why.")


@contextmanager
def _environment(devices: Devices) -> Iterator[None]:
    """What the processes inherit; put back afterwards."""
    loopback = "lo0" if sys.platform == "darwin" else "lo"
    # the processes import from where this one does
    wanted = {_STARTED_BY_US: "1", "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path)}
    if "GLOO_SOCKET_IFNAME" not in os.environ and sys.platform != "win32":
        wanted["GLOO_SOCKET_IFNAME"] = loopback  # the machine's name may lead nowhere
    if devices.threads is not None and "OMP_NUM_THREADS" not in os.environ:
        wanted["OMP_NUM_THREADS"] = str(devices.threads)
    if "TORCH_CPP_LOG_LEVEL" not in os.environ:
        wanted["TORCH_CPP_LOG_LEVEL"] = "FATAL"  # a lost connection is told by us, once
    before = dict(os.environ)
    os.environ.update(wanted)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def _quiet_agent() -> Iterator[None]:
    """Keep the agent's log lines off standard error: what matters of them is told in one line."""
    logger = logging.getLogger("torch.distributed.elastic")
    others = [logging.getLogger(name) for name in list(logging.root.manager.loggerDict) if name.startswith("torch.dis")]
    levels = [(each, each.level) for each in {logger, *others}]
    for each, _ in levels:
        each.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for each, level in levels:
            each.setLevel(level)
