"""Runs spread over processes: each process trains one network at a time, on one thread and one device.

A process that dies takes its own run with it and no other: a new one takes its place.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess

from landscape.errors import LandscapeError, ProcessError
from landscape.workflows.study_run import Job, Outcome, do

_PATIENCE = 5.0  # seconds that a process gets to end


@dataclass(frozen=True)
class Ended:
    """A job is over: it came to an `outcome`, or to an `error`."""

    job: Job
    outcome: Outcome | None = None
    error: Exception | None = None


@dataclass(frozen=True)
class _Worker:
    process: SpawnProcess
    device: str


def run_jobs(
    jobs: Sequence[Job],
    workers: int,
    devices: Sequence[str] = ("cpu",),
    on_begin: Callable[[Job], None] | None = None,
) -> Generator[Ended, None, None]:
    """Do `jobs` in their order and yield each when it is over. Close the iterator to end all processes.

    Args:
        jobs: what is done.
        workers: processes at a time.
        devices: of the processes, in turn.
        on_begin: hears of each job that a process takes.
    """
    queue = list(jobs)
    free = [devices[place % len(devices)] for place in range(min(workers, len(queue)))]
    idle: list[tuple[Connection, _Worker]] = []
    busy: dict[Connection, tuple[_Worker, Job]] = {}
    try:
        while queue or busy:
            while queue and (idle or free):
                connection, worker = idle.pop() if idle else _start(free.pop(0))
                job = queue.pop(0)
                busy[connection] = worker, job
                if on_begin is not None:
                    on_begin(job)
                with suppress(OSError):  # it died while it waited: told below, as of any process that is gone
                    connection.send(job)
            ready = wait(list(busy))
            for connection in [one for one in busy if one in ready]:
                worker, job = busy.pop(connection)
                try:
                    reply = connection.recv()
                except (EOFError, OSError):
                    connection.close()
                    worker.process.join(_PATIENCE)
                    free.append(worker.device)
                    yield Ended(job, error=_died(worker.process.exitcode))
                    continue
                idle.append((connection, worker))
                yield Ended(job, reply) if isinstance(reply, Outcome) else Ended(job, error=reply)
    finally:
        for connection in (*busy, *(connection for connection, _ in idle)):
            connection.close()
        for worker, _ in busy.values():
            worker.process.terminate()  # files are written whole or not at all: the run can be resumed
        for worker in (*(worker for worker, _ in busy.values()), *(worker for _, worker in idle)):
            worker.process.join(_PATIENCE)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()


def _start(device: str) -> tuple[Connection, _Worker]:
    # Started anew, not forked: a fork of a process with torch's threads can hang.
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs, device))
    with _uninterrupted():
        process.start()
    theirs.close()
    return ours, _Worker(process, device)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Let a process that is started here ignore Ctrl-C from its first moment: the first process ends it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _work(connection: Connection, device: str) -> None:
    """Do jobs until the other end is closed; end at once where the process that gives them is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    while True:
        try:
            job: Job = connection.recv()
        except (EOFError, OSError):
            return
        reply: Outcome | Exception
        try:
            reply = do(job, device)
        except LandscapeError as error:
            reply = error
        except Exception as error:
            # In words: not every exception can be sent.
            reply = RuntimeError(f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}")
        try:
            connection.send(reply)
        except OSError:
            return


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None, "a worker is started by one"
    parent.join()
    os._exit(1)  # files are written whole or not at all: the run can be resumed


def _died(code: int | None) -> ProcessError:
    return ProcessError(
        f"the process of the run died (exit code {code}), perhaps for lack of memory; finished epochs are kept: call "
        "again to go on, with fewer processes where memory is short."
    )
