"""What changes the fingerprint of a problem and what does not."""

from __future__ import annotations

import importlib
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from cases import CASES, case
from torch import Tensor, nn

from landscape import Problem
from landscape.workflows.contents import Contents, UnknowableError
from landscape.workflows.fingerprint import fingerprint, key


@pytest.mark.parametrize("name", CASES)
def test_a_problem_that_is_built_again_has_the_same(name: str) -> None:
    small = case(name)
    first = fingerprint(small.problem())
    small.model.train()
    assert fingerprint(small.problem(batch_size=5)) == first
    assert fingerprint(case(name).problem()) == first


def network(slope: float = 0.1) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.LeakyReLU(slope), nn.Linear(5, 3))


X = torch.linspace(-1, 1, 40).reshape(10, 4)
Y = torch.arange(10) % 3
SCALE = 1.0


def scaled(outputs: Tensor, targets: Tensor) -> Tensor:
    return SCALE * nn.functional.cross_entropy(outputs, targets)


def weighted(by: float) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda outputs, targets: by * nn.functional.cross_entropy(outputs, targets)


def problem(model: nn.Module | None = None, loss: Any = None, x: Tensor = X, y: Tensor = Y, **options: Any) -> Problem:
    return Problem(model or network(), loss or nn.CrossEntropyLoss(), (x, y), **options)


def moved(change: Callable[[nn.Module], Any]) -> nn.Module:
    model = network()
    with torch.no_grad():
        change(model)
    return model


def as_plain_batches(model: nn.Module) -> None:
    model[0].register_forward_hook(lambda module, inputs, output: 2 * output)  # type: ignore[index, operator]


DIFFERENT: dict[str, Callable[[], Problem]] = {
    "a weight": lambda: problem(moved(lambda m: m[0].weight[0, 0].add_(1e-6))),
    "a buffer": lambda: problem(moved(lambda m: m[1].running_var[0].add_(1e-6))),
    "a frozen weight": lambda: problem(moved(lambda m: m[0].weight.requires_grad_(False))),
    "a setting of a layer": lambda: problem(network(slope=0.2)),
    "a layer": lambda: problem(moved(lambda m: m.__setitem__(2, nn.Tanh()))),
    "a value of a model's own, 1": lambda: problem(moved(lambda m: setattr(m, "my_state_dict", {"gain": 1.0}))),
    "a value of a model's own, 2": lambda: problem(moved(lambda m: setattr(m, "my_state_dict", {"gain": 2.0}))),
    "a hook": lambda: problem(moved(as_plain_batches)),
    "a sample": lambda: problem(x=X + X.eq(X[3, 1]) * 1e-6),
    "a label": lambda: problem(y=(Y + (torch.arange(10) == 3)) % 3),
    "the order of the samples": lambda: problem(x=X.flip(0), y=Y.flip(0)),
    "fewer samples": lambda: problem(x=X[:9], y=Y[:9], population=10),
    "the population": lambda: problem(population=11),
    "the loss": lambda: problem(loss=nn.functional.cross_entropy),
    "a setting of the loss": lambda: problem(loss=nn.CrossEntropyLoss(label_smoothing=0.1)),
    "a weight of the loss": lambda: problem(loss=nn.CrossEntropyLoss(torch.tensor([1.0, 2.0, 1.0]))),
    "a function": lambda: problem(loss=scaled),
    "what a function closes over, 1": lambda: problem(loss=weighted(1.0)),
    "what a function closes over, 2": lambda: problem(loss=weighted(2.0)),
    "a function in one line": lambda: problem(loss=lambda f, y: nn.functional.cross_entropy(f, y)),
    "batch statistics": lambda: problem(bn="train"),
    "the dtype": lambda: problem(dtype=torch.float64),
}


def test_each_of_these_differs_from_all_others() -> None:
    found = {name: fingerprint(build()) for name, build in DIFFERENT.items()}
    found["as it was"] = fingerprint(problem())
    same = [(a, b) for a in found for b in found if a < b and found[a] == found[b]]
    assert same == []


def test_a_module_level_value_that_a_function_names_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    before = fingerprint(problem(loss=scaled))
    assert fingerprint(problem(loss=scaled)) == before
    monkeypatch.setattr(sys.modules[__name__], "SCALE", 2.0)
    assert fingerprint(problem(loss=scaled)) != before


def test_the_device_counts_below_float64_only() -> None:
    for dtype, counts in ((torch.float32, True), (torch.float64, False)):
        here, there = problem(dtype=dtype), problem(dtype=dtype)
        there.device = torch.device("mps")
        assert (fingerprint(here) != fingerprint(there)) == counts


def test_options_and_the_measure_make_the_key() -> None:
    keys = {
        key("p", "margin", {}),
        key("q", "margin", {}),
        key("p", "jacobian_norm", {}),
        key("p", "margin", {"seed": 0}),
        key("p", "margin", {"seed": 1}),
        key("p", "hessian_trace", {"engine": "landscape"}),
        key("p", "hessian_trace", {"engine": "pyhessian"}),
    }
    assert len(keys) == 7
    assert key("p", "margin", {"a": 1, "b": 2}) == key("p", "margin", {"b": 2, "a": 1})


SOURCE = """
from torch import nn
import {helper}
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 3)
    def forward(self, x):
        return {helper}.bend(self.layer(x))
"""


@pytest.mark.parametrize("edited", ["network", "helper"])
def test_an_edited_source_counts_also_that_of_a_module_it_uses(
    edited: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {"network": f"own_network_{edited}", "helper": f"own_helper_{edited}"}
    texts = {"network": SOURCE.format(helper=names["helper"]), "helper": "def bend(x):\n    return x.tanh()\n"}
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def found() -> str:
        for which, name in names.items():
            (tmp_path / f"{name}.py").write_text(texts[which])
            sys.modules.pop(name, None)
        importlib.invalidate_caches()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = importlib.import_module(names["network"]).Net()
        return fingerprint(problem(model))

    before = found()
    assert found() == before
    texts[edited] = texts[edited].replace("tanh()", "sin()").replace("self.layer(x)", "self.layer(2 * x)")
    assert found() != before


def unreadable() -> dict[str, Any]:
    lock = threading.Lock()

    def locked(outputs: Tensor, targets: Tensor) -> Tensor:
        with lock:
            return nn.functional.cross_entropy(outputs, targets)

    return {
        "a function that closes over a lock": locked,
        "a TorchScript network": torch.jit.script(nn.Linear(2, 2)),
        "a generator": (i for i in range(3)),
        "a sparse tensor": torch.eye(2).to_sparse(),
    }


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", unreadable())
def test_what_cannot_be_read_is_said(name: str) -> None:
    with pytest.raises(UnknowableError):
        Contents().digest([1, unreadable()[name]])


def test_what_was_typed_in_has_no_source() -> None:
    program = (
        "from landscape.workflows.contents import Contents, UnknowableError\n"
        "try:\n    Contents().digest(lambda f, y: f)\n"
        "except UnknowableError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "__main__" in done.stdout


def test_two_objects_of_one_content_are_one() -> None:
    def digest(value: Any) -> str:
        return Contents().digest(value)

    knot: list[Any] = [1]
    knot.append(knot)
    again: list[Any] = [1]
    again.append(again)
    assert digest(knot) == digest(again)
    assert digest({"a", "b", "c"}) == digest({"c", "a", "b"})
    assert digest(torch.ones(2)) == digest(torch.ones(4)[::2])
    different = [1, 1.0, True, "1", b"1", (1,), [1], {1}, {1: 1}, None, torch.ones(1), torch.ones(1).bfloat16(), int]
    assert len({digest(value) for value in different}) == len(different)
