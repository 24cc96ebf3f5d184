"""Reading anybody's weights, writing ours, and putting them into a network."""

from __future__ import annotations

import argparse
import collections
import hashlib
import math
import os
import pathlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from landscape.checkpoint import (
    FORMAT,
    check_finite,
    load_tensors,
    read_checkpoint,
    read_training_state,
    write_checkpoint,
)
from landscape.errors import CheckpointError, NonFiniteError, WriteError
from landscape.models import build_model, parse_model

_FORMATS = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "old"])


def _weights() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = {"conv.weight": (2, 1, 3, 3), "bn.running_mean": (2,), "linear.weight": (3, 2)}
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def _prefixed(prefix: str) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in _weights().items()}


def _same(found: Any, expected: dict[str, Tensor]) -> None:
    assert list(found) == list(expected)
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor)
        assert not found[name].requires_grad
        assert found[name].device.type == "cpu"


@_FORMATS
@pytest.mark.parametrize("suffix", [".pt", ".pth", ".th", ".ckpt"])
@pytest.mark.parametrize(
    "nest",
    [
        lambda weights: weights,
        collections.OrderedDict,
        lambda weights: {"state_dict": weights, "best_prec1": 91.7},
        lambda weights: {"model_state_dict": weights, "optimizer": {"state": {0: {"step": torch.ones(1)}}}},
        lambda weights: {"model": weights, "ema": weights},
        lambda weights: {"module": weights},
        lambda weights: {"model": {"state_dict": weights}},
        lambda weights: {"state_dict": {n: nn.Parameter(t) for n, t in weights.items()}},
    ],
)
def test_finds_the_state_dict_under_the_usual_keys(tmp_path: Path, suffix: str, zipped: bool, nest: Any) -> None:
    path = tmp_path / f"weights{suffix}"
    torch.save(nest(_weights()), path, _use_new_zipfile_serialization=zipped)
    found = read_checkpoint(path)
    _same(found.tensors, _weights())
    assert found.description is None
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_safetensors(tmp_path: Path) -> None:
    save_file(_prefixed("module."), tmp_path / "w.safetensors")
    found = read_checkpoint(tmp_path / "w.safetensors").tensors
    _same({name: found[name] for name in _weights()}, _weights())


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "_orig_mod.module.", "module._orig_mod.module."])
def test_wrapper_prefixes_go_where_all_names_carry_them(tmp_path: Path, prefix: str) -> None:
    torch.save(_prefixed(prefix), tmp_path / "w.pt")
    _same(read_checkpoint(tmp_path / "w.pt").tensors, _weights())


@pytest.mark.parametrize(
    "weights", [_prefixed("model."), {**_prefixed("module."), "n_averaged": torch.tensor(3)}, _prefixed("modules.")]
)
def test_other_prefixes_stay(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    torch.save(weights, tmp_path / "w.pt")
    _same(read_checkpoint(tmp_path / "w.pt").tensors, weights)


def test_a_key_chooses(tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    other = {"a": torch.ones(2)}
    torch.save({"state_dict": _weights(), "ema": {"shadow": other}, "dotted.name": other, "epoch": 3}, path)
    _same(read_checkpoint(path).tensors, _weights())
    _same(read_checkpoint(path, key="ema.shadow").tensors, other)
    _same(read_checkpoint(path, key="dotted.name").tensors, other)
    for key, said in (
        ("ema.shadw", "has no key 'ema.shadw'. Did you mean ema.shadow"),
        ("epoch", "under 'epoch', got a int"),
        ("epoch.more", "has no key"),
        ("ema", "got a dict with shadow"),
    ):
        with pytest.raises(CheckpointError) as caught:
            read_checkpoint(path, key=key)
        assert said in str(caught.value)


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        (
            {"model": _weights(), "state_dict": _weights()},
            "several state dicts: model, state_dict. Choose one with --key",
        ),
        ({"ema": _weights(), "net": _weights()}, "got tensors under ema, net. Choose one with --key"),
        ({"a.weight": torch.ones(2), "epoch": 3, "lr": 0.1}, "top level mixes 1 tensors with other values (epoch, lr)"),
        ({"state_dict": {"w": torch.ones(2), "v": 1}}, "state_dict mixes 1 tensors with other values (v)"),
        ({"epoch": 3, "state_dict": {}}, "expected named tensors, got none (its keys: epoch, state_dict)"),
        ({}, "expected named tensors, got none"),
        ([torch.ones(2)], "expected a dict of named tensors, got a list"),
        (torch.ones(2), "expected named tensors, got one tensor"),
        (3, "got a int"),
    ],
)
def test_no_single_state_dict(tmp_path: Path, payload: Any, said: str) -> None:
    torch.save(payload, tmp_path / "w.pt")
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(tmp_path / "w.pt")
    assert said in str(caught.value)


@_FORMATS
def test_plain_data_of_training_scripts_is_let_through(tmp_path: Path, zipped: bool) -> None:
    path = tmp_path / "w.pt"
    extras = {
        "args": argparse.Namespace(lr=0.1, out=pathlib.Path("runs/1"), betas=(0.9, 0.999), dtype=float),
        "best": np.float64(0.5),
        "epochs": np.int64(3),
        "curve": np.linspace(0, 1, 5),
        "rng": np.random.RandomState(0).get_state(),
        "history": collections.defaultdict(list, {"loss": [1.0, 0.5]}),
        "count": collections.Counter("aab"),
        "version": torch.__version__,
        "names": {"a", "b"},
        "shape": torch.Size([1, 2]),
        "device": torch.device("cpu"),
    }
    torch.save({"state_dict": _weights(), **extras}, path, _use_new_zipfile_serialization=zipped)
    before = set(torch.serialization.get_safe_globals())
    _same(read_checkpoint(path).tensors, _weights())
    assert set(torch.serialization.get_safe_globals()) == before


def test_a_path_of_the_other_operating_system_is_let_through(tmp_path: Path) -> None:
    class WindowsPath:
        def __reduce__(self) -> tuple[type, tuple[str, ...]]:
            return type(self), ("C:\\", "runs")

    # Pickled under the name that Windows gives it.
    WindowsPath.__module__, WindowsPath.__qualname__ = "pathlib", "WindowsPath"
    path = tmp_path / "w.pt"
    original = pathlib.WindowsPath
    try:
        pathlib.WindowsPath = WindowsPath  # type: ignore[misc, assignment]
        torch.save({"state_dict": _weights(), "out": WindowsPath()}, path)
    finally:
        pathlib.WindowsPath = original  # type: ignore[misc]
    _same(read_checkpoint(path).tensors, _weights())


def test_the_users_own_safe_globals_stay(tmp_path: Path) -> None:
    torch.save(_weights(), tmp_path / "w.pt")
    with torch.serialization.safe_globals([argparse.Namespace]):
        read_checkpoint(tmp_path / "w.pt")
        assert argparse.Namespace in torch.serialization.get_safe_globals()


@pytest.mark.parametrize(
    "strange",
    [
        lambda: torch.eye(3).to_sparse(),
        lambda: torch.eye(3).to_sparse_csr(),
        lambda: torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
        lambda: torch.empty(3, device="meta"),
    ],
    ids=["sparse", "csr", "quantized", "meta"],
)
@pytest.mark.filterwarnings("ignore")
def test_tensors_without_dense_numbers_are_refused_by_name(tmp_path: Path, strange: Callable[[], Tensor]) -> None:
    torch.save({**_weights(), "odd": strange()}, tmp_path / "w.pt")
    with pytest.raises(CheckpointError, match=r"expected dense tensors, got .*: odd;"):
        read_checkpoint(tmp_path / "w.pt")


# ------------------------------------------------------------------------------------------------ our own format


def _payload() -> dict[str, Any]:
    return {
        "state_dict": nn.BatchNorm2d(2).state_dict(),
        "description": {"model": "resnet8", "epoch": 3, "metrics": {"test_accuracy": 0.5, "loss": None}},
        "optimizer": {"state": {0: {"momentum_buffer": torch.ones(2)}}, "param_groups": [{"lr": 0.1, "params": [0]}]},
        "rng": {"torch": torch.get_rng_state(), "order": (1, 2)},
    }


def test_ours_comes_back_whole_and_without_trust(tmp_path: Path) -> None:
    path, payload = tmp_path / "runs" / "1" / "final.pt", _payload()
    write_checkpoint(path, payload)
    # No allow-list is needed for our own.
    assert torch.load(path, weights_only=True)["format"] == FORMAT
    found = read_checkpoint(path)
    _same(found.tensors, dict(payload["state_dict"]))
    assert found.description == payload["description"]
    state = read_training_state(path)
    assert torch.equal(state["rng"]["torch"], payload["rng"]["torch"])
    assert state["rng"]["order"] == (1, 2)
    assert state["optimizer"]["param_groups"] == payload["optimizer"]["param_groups"]
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("description.seed", np.float64(1.0)),
        ("description.out", Path("x")),
        ("description.model", nn.Linear(1, 1)),
        ("description.set", {1}),
        ("description.list[1]", [1, object()]),
        ("description.call", len),
    ],
)
def test_only_tensors_and_plain_values_are_written(tmp_path: Path, place: str, value: Any) -> None:
    payload = _payload()
    payload["description"] = {place.partition(".")[2].partition("[")[0]: value}
    with pytest.raises(CheckpointError) as caught:
        write_checkpoint(tmp_path / "w.pt", payload)
    assert f"checkpoint.{place}: expected a tensor or a plain value" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "final.pt"
    write_checkpoint(path, _payload())
    before = path.read_bytes()

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    changed = _payload()
    changed["description"]["epoch"] = 4
    with pytest.raises(WriteError, match="No space left"):
        write_checkpoint(path, changed)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (
            {"format": "landscape.checkpoint/9"},
            "expected the format landscape.checkpoint/1, got landscape.checkpoint/9",
        ),
        ({"state_dict": 3}, "needs the dict 'state_dict'"),
        ({"description": None}, "needs the dict 'description'"),
        ({"state_dict": {"w": 3}}, "under 'state_dict', got a dict with w"),
    ],
)
def test_ours_of_another_form(tmp_path: Path, changed: dict[str, Any], said: str) -> None:
    torch.save({"format": FORMAT, **_payload(), **changed}, tmp_path / "w.pt")
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(tmp_path / "w.pt")
    assert said in str(caught.value)


def test_a_foreign_checkpoint_cannot_be_resumed(tmp_path: Path) -> None:
    torch.save({"state_dict": _weights()}, tmp_path / "w.pt")
    with pytest.raises(CheckpointError, match="it can be analyzed, but not resumed"):
        read_training_state(tmp_path / "w.pt")


# ---------------------------------------------------------------------------------------------- into a network


def _network(text: str = "resnet8", classes: int = 10) -> nn.Module:
    return build_model(parse_model(text), classes=classes, channels=3, size=32)


def test_load_tensors_sets_every_parameter_and_buffer() -> None:
    source, target = _network(), build_model(parse_model("resnet8"), classes=10, channels=3, size=32, seed=1)
    nn.init.normal_(source.get_buffer("bn1.running_mean"))
    parameters = dict(target.named_parameters())
    load_tensors(target, source.state_dict())
    for name, tensor in source.state_dict().items():
        assert torch.equal(target.state_dict()[name], tensor)
    assert all(parameters[name] is p for name, p in target.named_parameters())


def test_only_the_count_of_batches_may_be_missing() -> None:
    old = {n: t for n, t in _network().state_dict().items() if not n.endswith("num_batches_tracked")}
    load_tensors(_network(), old)
    del old["bn1.running_var"]
    with pytest.raises(CheckpointError, match=r"missing: bn1\.running_var"):
        load_tensors(_network(), old)


def test_a_mismatch_lists_missing_unexpected_and_wrongly_shaped_and_changes_nothing() -> None:
    model = _network()
    before = {n: t.clone() for n, t in model.state_dict().items()}
    tensors = {n: torch.zeros_like(t) for n, t in before.items()}
    tensors["conv1.weight"] = torch.zeros(16, 1, 3, 3)
    tensors["bn1.bias"] = torch.zeros(16, dtype=torch.complex64)
    del tensors["linear.bias"]
    tensors |= {f"extra{i}": torch.zeros(1) for i in range(7)}
    with pytest.raises(CheckpointError) as caught:
        load_tensors(model, tensors, "w.pt")
    said = str(caught.value)
    assert said.startswith("w.pt does not fit the network; missing: linear.bias; unexpected: extra0, extra1, ")
    assert "extra4 and 2 more;" in said
    assert "wrongly shaped: conv1.weight (expected (16, 3, 3, 3), got (16, 1, 3, 3))" in said
    assert "of another kind: bn1.bias (expected real numbers, got complex)" in said
    assert "\n" not in said
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())


def test_another_number_of_classes_is_called_so() -> None:
    with pytest.raises(CheckpointError, match="checkpoint has 100 classes, the network 10"):
        load_tensors(_network(), _network(classes=100).state_dict())
    with pytest.raises(CheckpointError, match="Choose the network, its width"):
        load_tensors(_network(), _network("resnet8:width=2").state_dict())


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.complex64])
def test_non_finite_weights_are_named(value: float, dtype: torch.dtype) -> None:
    bad = torch.zeros(4, dtype=dtype)
    check_finite({"good": bad, "count": torch.tensor(3)})
    bad[2] = value
    with pytest.raises(NonFiniteError, match=r"w\.pt: expected finite weights, got .* in bad \(1 of 4\)"):
        check_finite({"good": torch.ones(2), "bad": bad}, "w.pt")


def test_eight_bit_floats_can_be_checked() -> None:
    values = torch.tensor([1.0, math.nan]).to(torch.float8_e4m3fn)
    with pytest.raises(NonFiniteError, match=r"w \(1 of 2\)"):
        check_finite({"w": values})


@pytest.mark.shared
def test_the_shared_checkpoint(shared_folder: Path) -> None:
    found = read_checkpoint(shared_folder / "checkpoints" / "resnet20-cifar10.th")
    parameters = [n for n in found.tensors if not n.rpartition(".")[2].startswith("running")]
    # 269,722 parameters, says its README.
    assert sum(found.tensors[n].numel() for n in parameters) == 269_722
    assert not any(n.startswith("module.") for n in found.tensors)
    check_finite(found.tensors)
