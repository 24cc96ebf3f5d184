"""The peak of memory while something runs, and what is free."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from landscape import memory
from landscape.memory import available_memory, watch_peak

CPU = torch.device("cpu")
MEGABYTE = 1_000_000


def take(megabytes: int) -> None:
    torch.ones(megabytes * MEGABYTE, dtype=torch.uint8)


def resettable() -> bool:
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def size(peak: memory.Peak) -> int:
    assert peak.bytes is not None
    return peak.bytes


@pytest.mark.skipif(not resettable(), reason="the peak of this system's processes cannot be reset")
def test_a_peak_belongs_to_its_block_and_to_those_around_it() -> None:
    with watch_peak(CPU) as outer:
        with watch_peak(CPU) as large:
            take(300)
        with watch_peak(CPU) as small:
            take(1)
        take(150)
    with watch_peak(CPU) as after:
        pass
    slack = 30 * MEGABYTE  # what the allocator and the interpreter take and give back at will
    assert size(large) - size(small) > 300 * MEGABYTE - slack
    assert size(outer) == size(large)
    assert size(after) < size(small) + slack


def test_a_peak_is_known_after_an_error_too() -> None:
    with pytest.raises(ZeroDivisionError), watch_peak(CPU) as peak:
        1 / 0  # noqa: B018
    assert (peak.bytes is None) == (sys.platform == "win32")


def test_without_proc_it_is_the_peak_of_the_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(memory, "_STATUS", tmp_path / "status")
    monkeypatch.setattr(memory, "_CLEAR", tmp_path)
    with watch_peak(CPU) as peak:
        pass
    if sys.platform == "win32":
        assert peak.bytes is None
    else:
        assert size(peak) > 50 * MEGABYTE


def test_what_is_free_is_less_than_what_there_is() -> None:
    free = available_memory(CPU)
    if sys.platform == "linux":
        assert free is not None
        assert 0 < free < 2**50
    assert available_memory(torch.device("mps")) is None


GROUPS = {
    "second version, limit above": (
        "0::/job/step\n",
        {"memory.max": "max", "job/memory.max": "7000", "job/memory.current": "3000", "job/memory.stat": "x 1\ny 2\n"},
        4000,
    ),
    "file cache is free": (
        "0::/\n",
        {"memory.max": "7000", "memory.current": "6000", "memory.stat": "inactive_file 2500\n"},
        3500,
    ),
    "first version": (
        "5:cpu:/x\n4:memory:/job\n",
        {
            "memory/job/memory.limit_in_bytes": "5000",
            "memory/job/memory.usage_in_bytes": "1000",
            "memory/job/memory.stat": "total_inactive_file 500\n",
        },
        4500,
    ),
    "above the limit": ("0::/\n", {"memory.max": "7000", "memory.current": "8000"}, 0),
    "no limit": ("0::/a\n", {"memory.max": "max", "a/memory.max": "max", "a/memory.current": "1"}, 1024 * 90),
    "a group that is not seen": ("0::/gone\n", {}, 1024 * 90),
}


@pytest.mark.parametrize("name", GROUPS)
def test_a_control_group_leaves_less(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    of_process, files, expected = GROUPS[name]
    (tmp_path / "cgroup").write_text(of_process)
    (tmp_path / "meminfo").write_text("MemTotal:  100 kB\nMemAvailable:   90 kB\n")
    for path, text in files.items():
        (tmp_path / "fs" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "fs" / path).write_text(text)
    monkeypatch.setattr(memory, "_GROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "_HIERARCHY", tmp_path / "fs")
    assert available_memory(CPU) == expected
