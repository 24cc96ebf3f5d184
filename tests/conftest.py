"""The real files in ../shared, for tests marked `shared`; skipped where they are not."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

_SHARED = Path(__file__).resolve().parents[2] / "shared"


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
