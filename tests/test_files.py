"""Atomic writing: the old content or the new one, and nothing beside it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import BinaryIO

import pytest

from landscape import files
from landscape.errors import WriteError
from landscape.files import write_atomically


def test_new_old_and_deep(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file"
    write_atomically(path, b"first")
    write_atomically(path, lambda file: file.write(b"second") and None)
    assert path.read_bytes() == b"second"
    assert [p.name for p in path.parent.iterdir()] == ["file"]


def test_the_mode_is_what_a_plain_file_gets(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"")
    write_atomically(tmp_path / "ours", b"")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_a_failure_halfway_leaves_the_old_file_and_no_other(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def half(file: BinaryIO) -> None:
        file.write(b"ne")
        raise error

    with pytest.raises(WriteError if isinstance(error, OSError) else type(error)) as caught:
        write_atomically(path, half)
    if isinstance(error, OSError):
        assert str(caught.value) == f"cannot write {path}: No space left on device. Choose another --out."
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"kept")
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "file" / "below", tmp_path / "folder", tmp_path / ("x" * 300)):
        with pytest.raises(WriteError, match="cannot write"):
            write_atomically(path, b"new")
    assert (tmp_path / "file").read_bytes() == b"kept"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder"]


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_without_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(WriteError, match="Permission denied"):
        write_atomically(tmp_path / "file", b"")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no files without a name")
def test_a_process_that_is_killed_while_it_writes_leaves_nothing(tmp_path: Path) -> None:
    program = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from landscape.files import write_atomically\n"
        "def half(file):\n"
        "    file.write(b'x' * 100_000)\n"
        "    file.flush()\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "write_atomically(Path(sys.argv[1]), half)\n"
    )
    (tmp_path / "file").write_bytes(b"old")
    ended = subprocess.run([sys.executable, "-c", program, str(tmp_path / "file")], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_bytes() == b"old"


def test_without_such_files_it_is_written_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_without_name", lambda folder: None)
    test_new_old_and_deep(tmp_path / "deep")
    test_the_mode_is_what_a_plain_file_gets(tmp_path)
