"""Groups of processes: the same numbers whatever their number, and which devices they are given."""

import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import group_worker
import numpy as np
import pytest
import torch
from group_worker import SIZES

from landscape import distributed
from landscape.catalog import CATALOG
from landscape.config.analysis import AnalysisRun
from landscape.distributed import ALONE, Devices, Group, parse_devices
from landscape.errors import DeviceError, OptionError, ProcessError
from landscape.launch import LOST, _exit_code, run_processes
from landscape.launchers import first_host, launched, own_number, slurm_environment
from landscape.workflows.analyze import analyze_checkpoint

# Error budget: another order of a sum of 300 float64 numbers moves it by 1e-14 of its size, and ten Lanczos steps
# multiply that by less than a thousand.
RTOL = 1e-10
WORK = {"cost", "seconds", "peak_memory"}  # a process that has three samples more to compare does a little more work


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> dict[int, list[dict[str, Any]]]:
    """What every process of each size of group found; one launch serves all sizes."""
    folder = tmp_path_factory.mktemp("groups")
    command = [sys.executable, str(Path(group_worker.__file__)), str(folder)]
    assert run_processes(command, Devices(("cpu",) * max(SIZES), threads=1)) == 0
    return {size: [json.loads((folder / f"{size}-{rank}.json").read_text()) for rank in range(size)] for size in SIZES}


@pytest.fixture(scope="module")
def alone() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(group_worker.alone()))
    return found


def numbers(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from numbers(inner, f"{path}/{key}") if key not in WORK else ()
    else:
        yield path, value


@pytest.mark.parametrize("name", ["batch norm", "ignored labels", "a subset", "batch statistics"])
@pytest.mark.parametrize("size", SIZES)
def test_every_number_of_every_measure_is_the_same(
    size: int, name: str, documents: dict[int, list[dict[str, Any]]], alone: dict[str, Any]
) -> None:
    for rank in range(size):
        found = documents[size][rank][name]
        assert found["processes"] == size
        assert found["loss"] == pytest.approx(alone[name]["loss"], rel=RTOL)
        assert found["accuracy"] == alone[name]["accuracy"]
        for measure, record in alone[name]["measures"].items():
            scale = abs(record["value"] or 0.0)
            mine = dict(numbers(found["measures"][measure]))
            for path, value in numbers(record):
                if value is None or isinstance(value, (bool, str)):
                    assert mine[path] == value, (measure, path)
                    continue
                expected, got = np.array(value, dtype=float), np.array(mine[path], dtype=float)
                size_of_all = max(scale, float(np.abs(expected).max(initial=0.0)))
                np.testing.assert_allclose(
                    got, expected, rtol=RTOL, atol=RTOL * size_of_all, err_msg=f"{measure}{path}"
                )


def test_no_measure_was_left_out(alone: dict[str, Any]) -> None:
    # nothing was trained; paths need ReLU, and the noise of so few samples hides their gradient
    without = {name for name, about in CATALOG.items() if about.training_state} | {"path_norm", "gradient_noise_scale"}
    skipped = {
        name: {m for m, r in found["measures"].items() if "skipped" in r} - without for name, found in alone.items()
    }
    assert skipped["batch norm"] == skipped["a subset"] == set()
    assert skipped["ignored labels"] == set()


@pytest.mark.parametrize("size", SIZES)
def test_the_methods_of_a_group(size: int, documents: dict[int, list[dict[str, Any]]]) -> None:
    found = [each["small"] for each in documents[size]]
    for rank, each in enumerate(found):
        assert each["sum"] == [size * (size + 1) / 2] * 2
        assert each["array"][0] == size
        assert math.isnan(each["array"][1]), "a NaN of one process is everyone's"
        assert each["first"] == {"rank": 0}
        assert each["gather"] == ([{"rank": r} for r in range(size)] if rank == 0 else None)
        assert each["meets"]
    assert [n for each in found for n in each["share"]] == list(range(10))


def test_one_process_alone_changes_nothing() -> None:
    tensor, array = torch.ones(2), np.ones(2)
    assert ALONE.sum(tensor) is tensor
    assert ALONE.sum_array(array) is array
    assert ALONE.share(5) == range(5)
    assert ALONE.first("x") == "x"
    assert ALONE.gather("x") == ["x"]
    assert Group(3, 4).share(2) == range(1, 2)
    assert Group(0, 4).share(2) == range(0)


@pytest.mark.parametrize(
    ("text", "gpus", "expected"),
    [
        ("auto", 0, Devices(("cpu",))),
        ("auto", 2, Devices(("cuda:0", "cuda:1"))),
        ("cpu", 2, Devices(("cpu",))),
        ("1", 0, Devices(("cpu",))),
        ("3", 0, Devices(("cpu",) * 3, threads=2)),
        ("8", 0, Devices(("cpu",) * 8, threads=1)),
        ("2", 4, Devices(("cuda:0", "cuda:1"))),
        ("cuda:1,cuda:3", 4, Devices(("cuda:1", "cuda:3"))),
    ],
)
def test_devices(text: str, gpus: int, expected: Devices, monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, gpus)
    assert parse_devices(text) == expected


@pytest.mark.parametrize(
    ("text", "gpus", "error", "words"),
    [
        ("0", 0, OptionError, "at least 1"),
        ("-2", 0, OptionError, "at least 1"),
        ("--2", 0, DeviceError, "--2"),
        ("\u00b2", 0, DeviceError, "not there"),
        ("1000", 0, OptionError, "7 cores"),
        ("3", 2, DeviceError, "has 2 GPUs"),
        ("cuda:0,cuda:0", 2, OptionError, "twice"),
        ("cuda:0,cpu", 2, OptionError, "'cpu'"),
        ("2,3", 2, OptionError, "'2'"),
    ],
)
def test_devices_that_cannot_be(
    text: str, gpus: int, error: type[Exception], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(monkeypatch, gpus)
    with pytest.raises(error, match=words):
        parse_devices(text)


def machine(monkeypatch: pytest.MonkeyPatch, gpus: int) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    if gpus:
        monkeypatch.setattr(distributed, "check_device", torch.device)
    monkeypatch.setattr(distributed.os, "sched_getaffinity", lambda _: set(range(7)), raising=False)


def test_several_devices_need_several_processes(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="name one device"):
        analyze_checkpoint(tmp_path / "net.pt", run=AnalysisRun(devices="2"))


@pytest.mark.parametrize(
    ("nodes", "host"),
    [
        ("node7", "node7"), ("a1,a2", "a1"), ("gpu[003-007,12],cpu1", "gpu003"), ("n[8,9]", "n8"),
        ("x1,y[1-2]", "x1"), ("r[1-2]-ib", "r1-ib"),
    ],
)  # fmt: skip
def test_the_first_host_of_a_node_list(nodes: str, host: str) -> None:
    assert first_host(nodes) == host


def test_a_step_of_slurm_is_a_group() -> None:
    batch_script = {"SLURM_JOB_ID": "4711", "SLURM_NTASKS": "8", "SLURM_PROCID": "0"}
    assert not launched(batch_script)
    step = {
        **batch_script, "SLURM_STEP_ID": "1", "SLURM_STEP_NUM_TASKS": "8", "SLURM_PROCID": "5", "SLURM_LOCALID": "1",
        "SLURM_STEP_NODELIST": "gpu[3-4]", "SLURM_STEP_TASKS_PER_NODE": "4(x2)",
    }  # fmt: skip
    assert launched(step)
    assert own_number(step) == 5
    found = slurm_environment(step)
    assert found == {
        "RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4", "MASTER_ADDR": "gpu3",
        "MASTER_PORT": found["MASTER_PORT"],
    }  # fmt: skip
    other_step = slurm_environment({**step, "SLURM_STEP_ID": "2"})
    assert other_step["MASTER_PORT"] != found["MASTER_PORT"]
    assert slurm_environment({**step, "SLURM_PROCID": "0"})["MASTER_PORT"] == found["MASTER_PORT"]


@pytest.mark.parametrize(
    "environment",
    [
        {"RANK": "1"}, {"RANK": "1", "WORLD_SIZE": "1"}, {"RANK": "x", "WORLD_SIZE": "2"},
        {"RANK": "0", "WORLD_SIZE": "x"}, {"SLURM_PROCID": "1"}, {"SLURM_PROCID": "1", "SLURM_STEP_ID": "0"},
    ],
)  # fmt: skip
def test_stray_variables_make_no_group(environment: dict[str, str]) -> None:
    """A process that took itself for number 1 would leave all words and results to a number 0 that is not there."""
    assert not launched(environment)
    assert own_number(environment) == 0


def test_what_the_exit_codes_of_processes_come_to() -> None:
    assert _exit_code({1: 2}, 2) == 2
    assert _exit_code({0: LOST, 1: 70}, 2) == 70
    with pytest.raises(ProcessError, match=r"process 1 of 2 .* signal 9"):
        _exit_code({0: -15, 1: -9}, 2)
    with pytest.raises(ProcessError, match="lost each other"):
        _exit_code({0: LOST}, 2)
