"""The same numbers on a GPU as on the CPU: of every measure, of training, and of the command line.

Skipped where no GPU is. Error budget in float64: sums of other orders, some 1e-14 of their size, which a few Lanczos
steps multiply by less than a thousand.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from cases import case
from group_worker import OPTIONS, SETTINGS
from torch import nn

import landscape
from landscape import Problem, analyze
from landscape.errors import OutOfMemoryError
from landscape.memory import available_memory
from landscape.models import build_model, parse_model
from landscape_cli.main import main

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU is at hand")

RTOL = 1e-9
NOT_VALUES = {"cost", "seconds", "peak_memory", "device"}
# not recurrent layers: their kernels on a GPU have no forward mode, so that other estimators are chosen there
CLASSIC = ("batch_norm", "weighted_and_ignored", "sequences", "attention")
OPTIMIZERS = ("sgd", "adam", "adamw", "lamb", "lars", "percent-delta", "mclr", "sam", "asam")
DRAWING = ("cblr", "kfac-f", "kfac-g")  # vectors or labels, from the generator of their device


def values(document: Any, path: str = "") -> dict[str, Any]:
    """The numbers and words of a document by their place."""
    if isinstance(document, dict):
        parts = [values(inner, f"{path}/{key}") for key, inner in document.items() if key not in NOT_VALUES]
    elif isinstance(document, list):
        parts = [values(inner, f"{path}/{i}") for i, inner in enumerate(document)]
    else:
        return {path: document}
    return {place: value for part in parts for place, value in part.items()}


def differences(found: Any, expected: Any, rtol: float) -> list[str]:
    """What is not the same: numbers to `rtol` of their size or of the largest number of the record."""
    a, b = values(found), values(expected)
    assert a.keys() == b.keys()
    largest = max((abs(v) for v in b.values() if isinstance(v, float) and math.isfinite(v)), default=0.0)
    wrong = []
    for place, one in a.items():
        other = b[place]
        if isinstance(one, float) and isinstance(other, float):
            close = math.isclose(one, other, rel_tol=rtol, abs_tol=rtol * largest)
            same = close or (math.isnan(one) and math.isnan(other))
        else:
            same = one == other
        if not same:
            wrong.append(f"{place}: {one!r} is not {other!r}")
    return wrong


@pytest.mark.parametrize("name", CLASSIC)
def test_every_measure_is_the_same_in_float64(name: str) -> None:
    small = case(name)
    documents = []
    for device in ("cpu", "cuda"):
        problem = small.problem(device=device)
        settings = {**SETTINGS, "connectivity_batch": 10}
        documents.append(
            json.loads(json.dumps(analyze(problem, ["all"], options=OPTIONS, **settings).to_dict()["measures"]))
        )
    cpu, gpu = documents
    assert {n: r.get("skipped") for n, r in gpu.items()} == {n: r.get("skipped") for n, r in cpu.items()}
    wrong = {n: differences(gpu[n], cpu[n], RTOL) for n in cpu if n not in ("worst_sharpness", "keskar_sharpness")}
    assert not {n: lines[:3] for n, lines in wrong.items() if lines}


def convolutions(images: int = 256) -> Problem:
    torch.manual_seed(0)
    model = build_model(parse_model("resnet20"), classes=10, channels=3, size=32).eval()
    inputs, labels = torch.randn(images, 3, 32, 32), torch.randint(10, (images,))
    return Problem(model, nn.CrossEntropyLoss(), (inputs, labels), device="cuda")


def test_float32_is_not_rounded_to_tf32_and_the_settings_are_put_back() -> None:
    """PyTorch lets cuDNN round by default, to 1e-3 of a product. Error budget: float32's 6e-8 by some hundred sums."""
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = True
    torch.set_float32_matmul_precision("high")
    try:
        problem = convolutions()
        names = ["connectivity", "fisher_rao", "hessian_trace", "jacobian_norm"]
        single = analyze(problem, names).measures
        double = analyze(problem.choose(dtype=torch.float64), names).measures
        assert torch.get_float32_matmul_precision() == "high"
        assert torch.backends.cudnn.allow_tf32
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]
    for name in names:
        assert single[name].value == pytest.approx(double[name].value, rel=2e-5), name


def test_the_batch_size_changes_no_value_and_the_peak_is_that_of_the_card() -> None:
    problem = convolutions()
    total = torch.cuda.get_device_properties(0).total_memory
    free, small = (
        analyze(p, ["connectivity", "hessian_trace"]).measures for p in (problem, problem.choose(batch_size=64))
    )
    for name, record in free.items():
        assert record.value == pytest.approx(small[name].value, rel=1e-4)
        assert record.peak_memory is not None
        assert problem.size * 4 < record.peak_memory < total
    assert 0 < (available_memory(torch.device("cuda")) or 0) <= total


def test_memory_that_runs_out_is_told_in_one_line_and_the_next_analysis_goes_on() -> None:
    problem = convolutions(2048).choose(batch_size=2048)
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 500 * 2**20) / total)
    try:
        with pytest.raises(OutOfMemoryError) as caught:
            analyze(problem, ["top_eigenvalues"])
        assert "\n" not in str(caught.value)
        assert "--batch-size 1024" in str(caught.value)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert analyze(problem.choose(batch_size=128), ["connectivity"]).measures["connectivity"].value > 0


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained") / "run"
    command = ["train", "--quiet", "--model", "resnet8:width=0.25", "--epochs", "1", "--out", str(folder)]
    assert main([*command, "--devices", "cuda:0"]) == 0
    return folder / "final.pt"


def test_the_command_line_gives_the_same_on_the_gpu_and_under_torchrun(trained: Path, tmp_path: Path) -> None:
    options = ["--measures", "default", "--samples", "101", "--dtype", "float64", "--no-cache", "--json", "--quiet"]
    documents = {}
    for device in ("cpu", "auto", "cuda:0"):
        command = [sys.executable, "-m", "landscape_cli.main", "analyze", str(trained), *options, "--devices", device]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        documents[device] = json.loads(done.stdout)["measures"]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "1", "-m"]
    done = subprocess.run(
        [*launcher, "landscape_cli.main", "analyze", str(trained), *options],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    documents["torchrun"] = json.loads(done.stdout)["measures"]
    for device, found in documents.items():
        wrong = [line for name, record in found.items() for line in differences(record, documents["cpu"][name], RTOL)]
        assert wrong == [], device


def test_verify_passes(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["verify", str(trained), "--samples", "64", "--device", "cuda:0", "--quiet", "--json"])
    found = json.loads(capsys.readouterr().out)
    failed = {name: check for name, check in found["checks"].items() if check["verdict"] == "failed"}
    assert (code, failed) == (0, {})


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_training_takes_the_steps_of_the_cpu_in_float64(optimizer: str, tmp_path: Path) -> None:
    options = ["--quiet", "--model", "resnet8:width=0.25", "--optimizer", optimizer, "--set", "dtype=float64"]
    weights = []
    for device in ("cpu", "cuda:0"):
        out = tmp_path / device.replace(":", "")
        command = ["train", *options, "--epochs", "1", "--batch-size", "256", "--devices", device, "--out", str(out)]
        assert main(command) == 0
        weights.append(landscape.load(out / "final.pt", dtype=torch.float64).tensors)
    for name, on_cpu in weights[0].items():
        assert torch.allclose(weights[1][name], on_cpu, rtol=1e-7, atol=1e-9), name


@pytest.mark.parametrize("optimizer", DRAWING)
def test_training_with_draws_of_the_device_is_the_same_twice_and_as_good_as_on_the_cpu(
    optimizer: str, tmp_path: Path
) -> None:
    options = ["--quiet", "--model", "mlp:width=32", "--optimizer", optimizer, "--set", "dtype=float64"]
    losses = []
    for number, device in enumerate(("cpu", "cuda:0", "cuda:0")):
        command = ["train", *options, "--epochs", "4", "--devices", device, "--out", str(tmp_path / str(number))]
        assert main(command) == 0
        problem = landscape.load(tmp_path / str(number) / "final.pt", dtype=torch.float64)
        losses.append(analyze(problem, ["connectivity"]).problem["loss"])
    cpu, first, second = losses
    assert first == pytest.approx(second, rel=1e-6)
    assert max(first, cpu) < 1.5  # of 2.3 at the start: other draws, other weights


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_lower_precisions_train_and_a_stopped_run_goes_on(precision: str, tmp_path: Path) -> None:
    def accuracy(folder: Path) -> float:
        lines = (folder / "history.csv").read_text().splitlines()
        return float(dict(zip(lines[0].split(","), lines[-1].split(","), strict=True))["test_accuracy"])

    command = ["train", "--quiet", "--model", "resnet8:width=0.25", "--precision", precision, "--devices", "cuda:0"]
    assert main([*command, "--epochs", "4", "--out", str(tmp_path / "whole")]) == 0
    assert accuracy(tmp_path / "whole") > 0.7
    stopped = [sys.executable, "-m", "landscape_cli.main", *command, "--epochs", "40", "--out", str(tmp_path / "parts")]
    process = subprocess.Popen(stopped)
    while process.poll() is None and not list((tmp_path / "parts").glob("checkpoints/*.pt")):
        time.sleep(0.05)
    process.kill()
    process.wait()
    assert main([*command, "--epochs", "40", "--out", str(tmp_path / "parts"), "--resume"]) == 0
    assert accuracy(tmp_path / "parts") > 0.9


@pytest.mark.parametrize(
    "command",
    [
        ["surface", "NET", "--points", "5", "--samples", "64", "--out", "slice.npz"],
        ["invariance", "NET", "--samples", "64", "--measures", "connectivity,fisher_rao"],
        ["batch-scaling", "NET", "--batch-sizes", "32,64,128"],
    ],
)
def test_the_other_workflows_run(
    command: list[str], trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([str(trained) if word == "NET" else word for word in command] + ["--devices", "cuda:0", "--quiet"]) == 0
