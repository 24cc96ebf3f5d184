from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from landscape.errors import ModelError
from landscape.models import build_model, parse_model

_SOURCE = """
import torch
from torch import nn

NUMBER = 3

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 2)

class Group:
    make = staticmethod(lambda: Net())

def not_a_module():
    return {"weights": 1}

def fails():
    raise RuntimeError("no such width")
"""


@pytest.fixture
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "users_nets.py").write_text(_SOURCE)
    (tmp_path / "users_broken.py").write_text("import a_package_that_is_not_there\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield tmp_path
    for name in ("users_nets", "users_broken"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("factory", ["Net", "Group.make"])
def test_builds_from_the_current_folder_and_leaves_the_state_as_it_was(in_folder: Path, factory: str) -> None:
    path, state = list(sys.path), torch.get_rng_state()
    model = build_model(parse_model(f"users_nets:{factory}"), classes=10, channels=3, size=32, seed=5)
    assert isinstance(model, nn.Module)
    assert sys.path == path
    assert torch.equal(torch.get_rng_state(), state)
    again = build_model(parse_model(f"users_nets:{factory}"), seed=5)
    assert torch.equal(model.get_parameter("layer.weight"), again.get_parameter("layer.weight"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("users_nots:Net", "there is no module 'users_nots'"),
        ("users_nets.inner:Net", "users_nets.inner"),
        ("users_nets:Nett", "has no 'Nett'"),
        ("users_nets:NUMBER", "expected a function or class .* got a int"),
        ("users_nets:not_a_module", "torch.nn.Module, got a dict"),
        ("users_nets:fails", "calling fails\\(\\) failed: RuntimeError: no such width"),
        ("users_broken:Net", "importing users_broken failed: No module named 'a_package_that_is_not_there'"),
    ],
)
def test_errors(in_folder: Path, text: str, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        build_model(parse_model(text))
