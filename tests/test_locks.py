"""One writer at a time: who comes second is told who writes, and the lock ends with its process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from landscape import locks
from landscape.errors import OptionError, WriteError
from landscape.locks import only_writer_in, only_writer_of

HOLD = """
import sys, time
from pathlib import Path
from landscape.locks import only_writer_in
with only_writer_in(Path(sys.argv[1])):
    Path(sys.argv[1], "mine").touch()
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "PATIENCE", 0.3)


def test_the_second_is_refused_and_told_which_process_writes(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / "run")], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        words = rf"run is being written by process {process.pid} on [^\n]*\Z"
        with pytest.raises(OptionError, match=words), only_writer_in(tmp_path / "run"):
            pytest.fail("two at a time")
        process.send_signal(signal.SIGKILL)
        process.wait()
        # nothing to clean up: the lock went with its process
        with only_writer_in(tmp_path / "run"):
            assert str(os.getpid()) in (tmp_path / "run" / ".lock").read_text()
        assert [path.name for path in (tmp_path / "run").iterdir()] == ["mine"]
    finally:
        process.kill()
        process.wait()


def test_one_process_writes_once_at_a_time_too(tmp_path: Path) -> None:
    with only_writer_of(tmp_path / "grid.npz"):
        with (
            pytest.raises(OptionError, match=r"grid\.npz is being written by process"),
            only_writer_of(tmp_path / "grid.npz"),
        ):
            pytest.fail("two at a time")
        with only_writer_of(tmp_path / "other.npz"), only_writer_in(tmp_path):
            pass
    with only_writer_of(tmp_path / "grid.npz"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_folders_that_were_made_and_left_empty_go_again(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="in it"), only_writer_in(tmp_path / "a" / "b"):
        raise ValueError("in it")
    assert list(tmp_path.iterdir()) == []
    with only_writer_in(tmp_path / "a" / "b"):
        (tmp_path / "a" / "file").touch()
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["file"]


def test_a_file_in_the_place_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(WriteError, match=r"cannot write .*file"), only_writer_in(place):
            pytest.fail("nothing can be written there")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_file_system_without_locks_is_no_reason_to_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: FileLock, timeout: float) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(FileLock, "acquire", refuse)
    with only_writer_in(tmp_path / "run"):
        (tmp_path / "run" / "file").touch()
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["file"]
