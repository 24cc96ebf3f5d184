"""The cache folder: entries that are read as written, damage, limits, and where it is."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from landscape.workflows.cache import Cache, cache_folder

VALUES = {"value": 1.5, "stderr": None, "groups": {"a": 1e-300}, "list": [1, "ä", None]}


def key(number: int, folder: str = "ab") -> str:
    return folder + f"{number:062x}"


def test_what_was_written_is_read(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "new" / "cache")
    assert cache.read(key(1)) is None
    cache.write(key(1), VALUES)
    assert cache.read(key(1)) == VALUES
    assert Cache(cache.folder).read(key(1)) == VALUES
    assert cache.read(key(2)) is None
    entries, size = cache.size()
    assert entries == 1
    assert 0 < size < 1000


DAMAGE = {
    "empty": b"",
    "cut": b'{"schema": "landscape.cache/1", "key": ',
    "bytes": b"\xff\xfe\x00",
    "another kind of document": b"[1, 2]",
    "a word": b'"x"',
    "no values": b"{}",
    "too deep": b"[" * 100_000,
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_entry_is_none_and_is_replaced(damage: str, tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    cache.write(key(1), VALUES)
    (path,) = tmp_path.rglob("*.json")
    path.write_bytes(DAMAGE[damage])
    assert cache.read(key(1)) is None
    cache.write(key(1), VALUES)
    assert cache.read(key(1)) == VALUES


def test_a_changed_number_and_a_moved_entry_are_damage(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    cache.write(key(1), VALUES)
    (path,) = tmp_path.rglob("*.json")
    content = path.read_text()
    path.write_text(content.replace("1.5", "1.6"))
    assert cache.read(key(1)) is None
    path.write_text(content)
    path.rename(path.with_name(f"{key(2)[2:]}.json"))
    assert cache.read(key(2)) is None
    path.mkdir()
    assert cache.read(key(1)) is None
    json.loads(content)


def test_the_oldest_make_room_and_what_is_read_is_young(tmp_path: Path) -> None:
    big = {"text": "x" * 1000}
    probe = Cache(tmp_path / "probe")
    probe.write(key(0), big)
    size = probe.size()[1]
    cache = Cache(tmp_path / "cache", limit=256 * (3 * size + 10))
    for number in range(3):
        cache.write(key(number), big)
        os.utime(next(cache.folder.rglob(f"{key(number)[2:]}.json")), (number, number))
    left = cache.folder / "ab" / ".entry.json.tmp"  # of a write that was killed
    left.write_bytes(b"half")
    os.utime(left, (0, 0))
    assert cache.read(key(0)) == big
    cache.write(key(3), big)
    assert [cache.read(key(n)) is not None for n in range(4)] == [True, False, True, True]
    assert not left.exists()
    assert cache.size()[1] <= cache.limit
    cache.write(key(4), {"text": "x" * 5000})
    assert cache.read(key(4)) is None, "larger than a folder's share"
    cache.write(key(1, "cd"), big)
    assert cache.read(key(1, "cd")) == big
    assert cache.size()[0] == 4


def test_clearing_leaves_what_is_not_the_caches(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    for number in range(3):
        cache.write(key(number, f"0{number}"), VALUES)
    (tmp_path / "00" / "notes.txt").write_text("mine")
    (tmp_path / "x.json").write_text("mine")
    (tmp_path / "02" / "empty.json").write_text("")
    cache.clear()
    assert cache.size() == (0, 0)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["00", "notes.txt", "x.json"]
    Cache(tmp_path / "gone").clear()


def test_a_folder_that_cannot_be_written_is_a_fault_and_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    cache = Cache(tmp_path / "file" / "cache")
    cache.write(key(1), VALUES)
    assert cache.fault is not None
    assert str(cache.folder) in cache.fault
    assert cache.read(key(1)) is None
    assert cache.size() == (0, 0)


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="their own places")
def test_the_folder_is_the_users_choice_or_the_systems(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LANDSCAPE_CACHE", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"
    monkeypatch.setenv("LANDSCAPE_CACHE", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "landscape"
    monkeypatch.setenv("HOME", str(tmp_path))
    for ignored in ("", "relative"):
        monkeypatch.setenv("XDG_CACHE_HOME", ignored)
        assert cache_folder() == tmp_path / ".cache" / "landscape"
