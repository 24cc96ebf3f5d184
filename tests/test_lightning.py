"""Lightning's checkpoints: the network inside its module, and what it keeps beside the weights."""

from __future__ import annotations

import dataclasses
import enum
import functools
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from landscape.checkpoint import read_checkpoint
from landscape.errors import CheckpointError
from landscape.unpickling import Inert
from landscape.weight_loading import load_tensors


class Mode(enum.Enum):
    FAST = 1


@dataclasses.dataclass
class Settings:
    rate: float = 0.1


class Call:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("true",)


def network(width: int = 5, seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(4, width), nn.BatchNorm1d(width), nn.Tanh(), nn.Linear(width, 3))


def checkpoint(path: Path, state: dict[str, Tensor], **hyper_parameters: Any) -> Path:
    """What Lightning 2 writes, key for key."""
    torch.save(
        {
            "epoch": 0, "global_step": 4, "pytorch-lightning_version": "2.6.0", "state_dict": state,
            "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"total": {"ready": 1}}}},
            "callbacks": {"ModelCheckpoint{'monitor': None}": {"best_model_score": torch.tensor(0.5)}, Mode: {"x": 1}},
            "optimizer_states": [{"state": {0: {"exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 0.1}]}],
            "lr_schedulers": [], "hparams_name": "kwargs", "hyper_parameters": hyper_parameters,
        },
        path,
    )  # fmt: skip
    return path


def named(model: nn.Module, prefix: str) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in model.state_dict().items()}


def loaded(path: Path, key: str | None = None) -> nn.Module:
    model = network(seed=1)
    load_tensors(model, read_checkpoint(path, key).tensors, path)
    return model


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


@pytest.mark.parametrize("prefix", ["model.", "net.", "module.", "model.net.", "model._orig_mod.", "_orig_mod.model."])
@pytest.mark.parametrize("others", [{}, {"criterion.weight": torch.ones(3)}], ids=["alone", "with a loss"])
def test_the_networks_own_prefix_goes(tmp_path: Path, prefix: str, others: dict[str, Tensor]) -> None:
    path = checkpoint(tmp_path / "last.ckpt", {**named(network(), prefix), **others})
    assert same(loaded(path), network())


def test_averaged_models_and_names_that_already_fit(tmp_path: Path) -> None:
    torch.save({"n_averaged": torch.tensor(3), **named(network(), "module.")}, tmp_path / "swa.pt")
    assert same(loaded(tmp_path / "swa.pt"), network())
    holder = nn.Module()
    holder.model = network(seed=1)
    torch.save(named(network(), "model."), tmp_path / "own.pt")
    load_tensors(holder, read_checkpoint(tmp_path / "own.pt").tensors)
    assert same(holder.model, network())


def test_of_two_networks_the_user_chooses(tmp_path: Path) -> None:
    state = {**named(network(), "model."), **named(network(seed=2), "ema.module.")}
    path = checkpoint(tmp_path / "last.ckpt", state)
    with pytest.raises(CheckpointError, match=r"several networks that fit: model, ema\.module\. Choose one with --key"):
        loaded(path)
    assert same(loaded(path, "model"), network())
    assert same(loaded(path, "ema.module"), network(seed=2))
    assert same(loaded(path, "state_dict.ema.module"), network(seed=2))
    with pytest.raises(CheckpointError, match="has no key 'emma'"):
        read_checkpoint(path, "emma")


def test_a_smaller_part_is_not_taken_unasked(tmp_path: Path) -> None:
    path = checkpoint(tmp_path / "gan.ckpt", {**named(network(), "head."), **named(network(50), "body.")})
    with pytest.raises(CheckpointError, match=r"its smaller part 'head\.' does; if that is meant, .* --key head"):
        loaded(path)
    assert same(loaded(path, "head"), network())


def test_what_does_not_fit_is_listed_by_the_networks_names(tmp_path: Path) -> None:
    state = {**named(network(), "model."), "model.extra": torch.ones(1)}
    del state["model.3.bias"]
    with pytest.raises(CheckpointError, match=r"fit the network; missing: 3\.bias; unexpected: extra\."):
        loaded(checkpoint(tmp_path / "last.ckpt", state))


def test_hyper_parameters_of_any_class_are_passed_over_and_made_of_nothing(tmp_path: Path) -> None:
    """Classes of the run, partial functions, a loss and the whole network, as `save_hyperparameters` keeps them."""
    extras = {
        "net": network(), "settings": Settings(), "mode": Mode.FAST, "loss": nn.CrossEntropyLoss(torch.ones(3)),
        "optimizer": functools.partial(torch.optim.Adam, lr=1e-3), "paths": [Path("a")], "act": nn.functional.relu,
    }  # fmt: skip
    path = checkpoint(tmp_path / "last.ckpt", named(network(), "net."), **extras)
    before = set(torch.serialization.get_safe_globals())
    assert same(loaded(path), network())
    assert set(torch.serialization.get_safe_globals()) == before
    assert vars(Inert(1, a=2)) == {}


@pytest.mark.parametrize("where", ["hyper-parameters", "weights"])
def test_a_hostile_file_is_refused_whatever_it_calls_itself(tmp_path: Path, where: str) -> None:
    state: dict[str, Any] = named(network(), "net.")
    path = tmp_path / "bad.ckpt"
    if where == "weights":
        checkpoint(path, {**state, "net.0.bias": Call()})  # type: ignore[dict-item]
    else:
        checkpoint(path, state, settings=Settings(), x=Call())
    with pytest.raises(CheckpointError, match=r"system; refused, nothing was executed"):
        read_checkpoint(path)


def test_classes_in_place_of_weights_are_no_weights(tmp_path: Path) -> None:
    path = checkpoint(tmp_path / "odd.ckpt", {**named(network(), "net."), "net.0.bias": Settings()})  # type: ignore[dict-item]
    with pytest.raises(CheckpointError, match="expected a state dict"):
        read_checkpoint(path)
