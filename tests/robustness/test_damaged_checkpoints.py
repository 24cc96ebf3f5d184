"""Damaged and hostile checkpoints: each is read as what it holds or refused in two lines, and nothing in it is run.

Through every door that a checkpoint comes by: the reader, `landscape analyze`, and a run that is resumed.
"""

from __future__ import annotations

import contextlib
import io
import resource
import shutil
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch
from damaged_checkpoints import Damaged, damaged, good

from landscape.checkpoint import read_checkpoint, read_training_state
from landscape.config.training import TrainConfig, TrainRun
from landscape.errors import LandscapeError
from landscape.training.events import EpochFinished, Event
from landscape.workflows.train import train
from landscape_cli.exits import Exit
from landscape_cli.main import main

NETWORK = "mlp:width=4,depth=2"
PATIENCE = 120  # seconds until a file counts as one that hangs its reader: no measurement, a busy machine takes some
MEGABYTES = 150  # more than any of these files has to say


class StopError(Exception):
    pass


def _stop(event: Event) -> None:
    if isinstance(event, EpochFinished) and event.row["epoch"] == 1:
        raise StopError


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A run that was stopped after its first epoch, with moments in its state."""
    folder = tmp_path_factory.mktemp("stopped") / "run"
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    config = TrainConfig(model=NETWORK, epochs=2, batch_size=512, optimizer="adam")
    with suppress(StopError):
        train(config, TrainRun(out=folder), _stop)
    yield folder
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def payload(stopped: Path) -> dict[str, Any]:
    return dict(torch.load(stopped / "checkpoints" / "last.pt", weights_only=True))


class HangsError(BaseException):
    """No handler of a reader's takes this for damage."""


@contextlib.contextmanager
def ended_after(seconds: int) -> Iterator[None]:
    def give_up(number: int, frame: FrameType | None) -> None:
        raise HangsError

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def command(*arguments: str) -> tuple[int, str]:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(arguments)
    return code, err.getvalue()


def examine(spoilt: Damaged, stopped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LANDSCAPE_DEBUG", raising=False)
    path, run = tmp_path / f"spoilt{spoilt.suffix}", tmp_path / "run"
    path.write_bytes(spoilt.content)
    shutil.copytree(stopped, run)
    (run / "checkpoints" / "last.pt").write_bytes(spoilt.content)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with ended_after(PATIENCE):
        through_every_door(path, spoilt)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < MEGABYTES * 1024, f"{spoilt} fills {grown // 1024} MB"
    assert not (tmp_path / "hacked").exists(), f"{spoilt} was run"


def through_every_door(path: Path, spoilt: Damaged) -> None:
    for read in (read_checkpoint, read_training_state):
        said = ""
        try:
            read(path)
        except LandscapeError as error:
            said = str(error)
        assert len(said.splitlines()) <= 2, f"{spoilt}: {said}"
    source = ["--model", NETWORK, "--data", "digits", "--samples", "8", "--budget", "2", "--measures", "fisher_rao"]
    for arguments in (["analyze", str(path), *source, "--no-cache", "-q"], ["train", "--out", "run", "--resume", "-q"]):
        code, err = command(*arguments)
        assert code in (Exit.OK, Exit.BAD_INPUT, Exit.DIVERGED), f"{spoilt}: {err}"
        assert "Traceback" not in err, f"{spoilt}: {err}"
        assert "Warning" not in err, f"{spoilt}: {err}"
        assert err.count("error: ") == (code != Exit.OK), f"{spoilt}: {err}"
        assert len(err.splitlines()) <= 2, f"{spoilt}: {err}"


@pytest.mark.parametrize("number", range(42))
def test_damaged(
    number: int, payload: dict[str, Any], stopped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    examine(damaged(payload, number, seed=1), stopped, tmp_path, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(200))
def test_damaged_more(
    number: int, payload: dict[str, Any], stopped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    examine(damaged(payload, number, seed=2), stopped, tmp_path, monkeypatch)


@pytest.mark.parametrize("form", ["ours", "state dict"])
def test_a_changed_bit_in_the_weights_is_not_read_as_another_number(
    form: str, payload: dict[str, Any], tmp_path: Path
) -> None:
    """torch reads such a file without a word; its checksum does not fit."""
    suffix, content = good(payload, form)
    weight = payload["state_dict"]["linear1.weight"].numpy().tobytes()
    place = content.index(weight) + len(weight) // 2
    path = tmp_path / f"bit{suffix}"
    path.write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
    assert torch.load(path, weights_only=True)
    with pytest.raises(LandscapeError, match=r"the checksum of .* does not fit"):
        read_checkpoint(path)


def test_an_archive_without_checksums_is_read(payload: dict[str, Any], tmp_path: Path) -> None:
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        _, content = good(payload, "state dict")
    finally:
        torch.serialization.set_crc32_options(before)
    (tmp_path / "fast.pth").write_bytes(content)
    read = read_checkpoint(tmp_path / "fast.pth").tensors
    assert all(torch.equal(tensor, payload["state_dict"][name]) for name, tensor in read.items())
