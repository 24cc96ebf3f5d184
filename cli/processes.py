"""The processes of one command: starting or joining them, who of them speaks, and how all of them end.

Process 0 speaks and writes. What goes wrong is told by the one that claims the word first; it then says, by the store
of the group, with which exit code all end. Every other process looks there several times a second, so that none waits
for one that has gone. Nothing here imports torch at the top level.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Sequence
from types import FrameType
from typing import TYPE_CHECKING

import typer

from landscape.errors import DeviceError, ProcessError
from landscape.launchers import launched, own_number
from landscape_cli import console
from landscape_cli.exits import Exit

if TYPE_CHECKING:
    from landscape.distributed import Group

_LOOK_EVERY = 0.25
_LAST_WORDS = 3.0  # how long a process that lost another waits for the reason
_ENDED, _TELLER = "ended", "teller"


class _Run:
    """The command that runs in this process."""

    def __init__(self, arguments: Sequence[str]) -> None:
        self.arguments = list(arguments)
        self.group: Group | None = None
        self.over = threading.Event()
        self.watch: threading.Thread | None = None


_run = _Run(())


def begin(arguments: Sequence[str] | None) -> None:
    """Note the command line, for the processes that it may start."""
    global _run
    _run = _Run(sys.argv[1:] if arguments is None else arguments)
    console.silence(False)
    if _number() > 0:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # until there is a group, an interrupt ends it without a word


def join_launched(devices: str) -> None:
    """Join the group, where a launcher started this process as one of several."""
    if not launched():
        return
    # Loaded here: torch.
    from landscape import distributed

    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "FATAL")
    if _number() > 0:
        console.silence(True)
        warnings.simplefilter("ignore")  # process 0 has the same
    group = distributed.join(devices)
    _run.group = group
    # The others go on until process 0 has shown what was finished.
    signal.signal(signal.SIGINT, signal.SIG_IGN if group.rank else _interrupt_once)
    _run.watch = threading.Thread(target=_watch, args=(group, _run.over), daemon=True)
    _run.watch.start()


def enter(devices: str) -> Group:
    """The group of this process: the one it joined, or itself alone, on its device.

    Raises:
        typer.Exit: this process started the group on this machine, and it has ended: the exit code is the group's.
        LandscapeError: a device is not there, or a process died without a word.
    """
    if _run.group is not None:
        return _run.group
    # Loaded here: torch.
    from landscape.distributed import Group, parse_devices

    wanted = parse_devices(devices)
    if len(wanted.names) == 1:
        return Group(device=wanted.names[0])
    from landscape.launch import run_processes

    code = run_processes([sys.executable, "-P", "-m", "landscape_cli.main", *_run.arguments], wanted)
    console.silence(True)  # the processes have said everything
    raise typer.Exit(code)


def leads() -> bool:
    """Whether this process is alone or process 0 of its group: it writes and speaks."""
    return _number() == 0


def may_tell(error: Exception) -> bool:
    """Whether this process is the one of its group to tell `error`."""
    group = _run.group
    if group is None:
        return _number() == 0 or isinstance(error, DeviceError)  # the rest is the same in all
    if isinstance(error, ProcessError) and (_reason() is not None or _has_parent()):
        return False
    assert group.store is not None
    try:
        mine = bool(group.store.compare_set(_TELLER, "", str(group.rank)) == str(group.rank).encode())
    except RuntimeError:  # the store went with the process that held it
        return False
    console.silence(not mine)
    return mine


def end(code: int) -> int:
    """End this process's part of the command: with `code`, or with that of the process that ended the group."""
    group = _run.group
    if group is None:
        return code
    # Loaded already.
    from landscape.distributed import leave

    if code == Exit.OK:
        try:
            group.first(None)  # the process that holds the store must not leave before the others
            _run.over.set()
            if _run.watch is not None:  # a thread that the interpreter ends within torch aborts the process
                _run.watch.join(_LAST_WORDS)
            leave(group)
            console.flush()
            os._exit(code)  # threads of torch that outlive the group abort one process in dozens when it is torn down
        except ProcessError as error:
            code = error.exit_code
    assert group.store is not None
    try:
        teller = group.store.get(_TELLER) if group.store.check([_TELLER]) else b""
        if teller == str(group.rank).encode() or (not teller and group.rank == 0):
            group.store.set(_ENDED, str(code))
        else:
            code = _reason() or _lost()
    except RuntimeError:
        code = _lost()
    console.flush()
    os._exit(code)  # torch's own end of a group waits for processes that may be gone


def _number() -> int:
    if _run.group is not None:
        return _run.group.rank
    return own_number()


def _has_parent() -> bool:
    from landscape.launch import has_parent

    return has_parent()


def _lost() -> int:
    from landscape.launch import LOST

    return LOST if _has_parent() else ProcessError.exit_code


def _reason() -> int | None:
    """The exit code that another process gave for all, waited for a little; None if none did."""
    assert _run.group is not None
    store = _run.group.store
    assert store is not None
    last = time.monotonic() + _LAST_WORDS
    while time.monotonic() < last:
        try:
            if store.check([_ENDED]):
                return int(store.get(_ENDED))
        except RuntimeError:
            return None
        time.sleep(_LOOK_EVERY / 5)
    return None


def _watch(group: Group, over: threading.Event) -> None:
    """End this process when the group has ended: its main thread may wait for one that will not answer."""
    assert group.store is not None
    while not over.wait(_LOOK_EVERY):
        try:
            code = int(group.store.get(_ENDED)) if group.store.check([_ENDED]) else None
        except RuntimeError:  # the store went with the machine, the launcher or the process that held it
            code = _lost()
            if not over.is_set() and not _has_parent() and os.environ.get("LOCAL_RANK", "0") == "0":
                console.silence(False)  # once a machine: there is no store to agree on who tells it
                console.say_error("the first process of the group, or its launcher, has gone; its messages say why.")
        if code is not None and not over.is_set():
            os._exit(code)


def _interrupt_once(number: int, frame: FrameType | None) -> None:
    """Ctrl-C reaches process 0 from the terminal and from the launcher; the second must not break into the ending."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt
