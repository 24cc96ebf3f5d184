"""A cache of its own for every test, Ctrl-C for the processes it starts, and the real files in ../shared for some."""

from __future__ import annotations

import itertools
import signal
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

_SHARED = Path(__file__).resolve().parents[2] / "shared"
_numbers = itertools.count()


@pytest.fixture(scope="session", autouse=True)
def _no_cache_of_the_user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where fixtures that serve several tests keep what they measure; the folders of the tests are below it."""
    folder = tmp_path_factory.mktemp("caches")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LANDSCAPE_CACHE", str(folder / "fixtures"))
        yield folder


@pytest.fixture(autouse=True)
def cache(_no_cache_of_the_user: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache folder of this test and of the processes that it starts: empty, so that nothing comes from another."""
    folder = _no_cache_of_the_user / str(next(_numbers))
    monkeypatch.setenv("LANDSCAPE_CACHE", str(folder))
    return folder


@pytest.fixture(scope="session", autouse=True)
def _interruptible() -> None:
    """A shell that runs the tests in the background ignores Ctrl-C, and every process that they start inherits that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def shared_folder() -> Path:
    if not _SHARED.is_dir():
        pytest.skip("the shared folder is not there")
    return _SHARED


@pytest.fixture(scope="session")
def cifar10_folder(shared_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the published cifar-10-batches-py in it, unpacked once a session (some 10 s)."""
    archive = shared_folder / "data" / "cifar-10-batches-py.tar.xz"
    if not archive.is_file():
        pytest.skip("CIFAR-10 is not in the shared folder")
    folder = tmp_path_factory.mktemp("cifar10")
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    return folder
