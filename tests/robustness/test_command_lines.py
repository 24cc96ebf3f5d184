"""Random command lines: an exit code of ours, a line or two of what is wrong, nothing run and nothing half-written.

A line that would take long gets Ctrl-C, and then has to end as on Ctrl-C: so no command needs an exception here.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import pytest
import torch
from command_lines import Line, lines
from wholeness import files_in, must_be_whole
from world import build

from landscape_cli.exits import Exit
from landscape_cli.main import main

ENDS = {Exit.OK, Exit.BAD_INPUT, Exit.DIVERGED, Exit.INTERRUPTED}
PATIENCE = 60  # seconds until a line that was interrupted counts as one that hangs

FAST, SLOW = list(lines(48, seed=1)), list(lines(200, seed=2))
FAST_REAL, SLOW_REAL = list(lines(3, seed=3)), list(lines(20, seed=4))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("world") / "world"
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    build(folder)
    yield folder
    torch.set_num_threads(threads)


@pytest.fixture
def here(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the world as the current folder, with its modules importable."""
    folder = tmp_path / "here"
    shutil.copytree(world, folder)
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delenv("LANDSCAPE_DEBUG", raising=False)
    yield folder
    sys.modules.pop("own_network", None)


class HangsError(BaseException):
    """A line did not end after Ctrl-C; no handler of the command's takes this for an error of its own."""


@contextlib.contextmanager
def interrupted_after(seconds: int) -> Iterator[None]:
    """Ctrl-C for the block after some seconds; one that goes on all the same is ended."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGALRM, give_up)
        signal.alarm(PATIENCE)
        raise KeyboardInterrupt

    def give_up(number: int, frame: FrameType | None) -> None:
        raise HangsError

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def in_process(line: Line, seconds: int) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            with interrupted_after(seconds):
                code = main(line.arguments)
        except HangsError:
            pytest.fail(f"{line} hangs")
        except KeyboardInterrupt:  # it came as the command was done
            code = Exit.INTERRUPTED
    return code, out.getvalue(), err.getvalue()


def as_process(line: Line, folder: Path, seconds: int) -> tuple[int, str, str]:
    command = [sys.executable, "-m", "landscape_cli.main", *line.arguments]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH")))),
        "OMP_NUM_THREADS": "1",
    }
    process = subprocess.Popen(
        command, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return (*_said(process, seconds),)
        process.send_signal(signal.SIGINT)
        return (*_said(process, PATIENCE),)
    except subprocess.TimeoutExpired:
        pytest.fail(f"{line} hangs")
    finally:
        process.kill()
        process.wait()


def _said(process: subprocess.Popen[str], seconds: int) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=seconds)
    return process.returncode, out, err


def check(line: Line, folder: Path, before: dict[Path, bytes], code: int, out: str, err: str) -> None:
    place = f"python tests/robustness/world.py FOLDER && cd FOLDER && PYTHONPATH=. {line}"
    told = f"line {line.number}: exit code {code}\n{err[-2000:]}\nto repeat it: {place}"
    assert code in ENDS, told
    for words in ("Traceback", "internal error", "Warning:"):
        assert words not in err, told
    if code in (Exit.BAD_INPUT, Exit.DIVERGED):
        assert err.strip(), told
        # what is wrong is told in two lines, with a third that says where there is help
        for message in err.split("error: ")[1:]:
            assert len(message.strip().splitlines()) <= 3 + line.arguments.count("line\nbreak"), told
    for trace in (folder, folder.parent):
        assert not (trace / "hacked").exists(), told
    for path, content in files_in(folder).items():
        if before.get(path) != content:
            must_be_whole(path, told)


@pytest.mark.parametrize("line", FAST, ids=lambda line: f"{line.number}")
def test_in_process(line: Line, here: Path) -> None:
    _in_process(line, here, seconds=3)


@pytest.mark.slow
@pytest.mark.parametrize("line", SLOW, ids=lambda line: f"{line.number}")
def test_in_process_more(line: Line, here: Path) -> None:
    _in_process(line, here, seconds=20)


def _in_process(line: Line, here: Path, seconds: int) -> None:
    before = files_in(here)
    check(line, here, before, *in_process(line, seconds))


@pytest.mark.parametrize("line", FAST_REAL, ids=lambda line: f"{line.number}")
def test_as_a_process(line: Line, here: Path) -> None:
    _as_process(line, here)


@pytest.mark.slow
@pytest.mark.parametrize("line", SLOW_REAL, ids=lambda line: f"{line.number}")
def test_as_a_process_more(line: Line, here: Path) -> None:
    _as_process(line, here)


def _as_process(line: Line, here: Path) -> None:
    before = files_in(here)
    check(line, here, before, *as_process(line, here, seconds=45))


def test_every_command_and_every_option_is_drawn() -> None:
    """Of the long form: what is registered tomorrow is in it without a word here."""
    from command_lines import commands

    drawn = {(line.arguments[0], word.partition("=")[0]) for line in lines(6000, seed=2) for word in line.arguments[1:]}
    for name, parameters in commands().items():
        for parameter in parameters:
            if parameter.opts and parameter.opts[0].startswith("-"):
                assert any((name, option) in drawn for option in parameter.opts), f"{name} {parameter.opts}"
