"""Every measure of the registry on problems at the edge: a number, or a reason in a line; a new measure inherits it.

The values of the trace and of the eigenvalues are held against a dense Hessian; of the others against what must hold
whatever they measure: no number out of NaN weights, and the same one for any batch size.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from oracles import Function, gauss_newton, hessian
from torch import Tensor, nn

import landscape
from landscape import LandscapeError, Problem, Record
from landscape.measures import MEASURES

D = torch.float64
N = 9
CE, MSE = nn.CrossEntropyLoss(), nn.MSELoss()


def inputs() -> Tensor:
    return torch.randn(N, 4, generator=torch.Generator().manual_seed(1), dtype=D)


LABELS = torch.arange(N) % 3


def seeded(make: Callable[[], nn.Module]) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return make().double()


def linear(classes: int = 3, factor: float = 1.0) -> nn.Module:
    return scaled(seeded(lambda: nn.Linear(4, classes)), factor)


def mlp(classes: int = 3, factor: float = 1.0) -> nn.Module:
    return scaled(seeded(lambda: nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, classes))), factor)


def relu(bias: float) -> nn.Module:
    model = seeded(lambda: nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3)))
    nn.init.constant_(model[0].bias, bias)  # type: ignore[index]
    return model


def normed() -> nn.Module:
    return seeded(lambda: nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 3)))


def scaled(model: nn.Module, factor: float) -> nn.Module:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(factor)
    return model


class OneParameter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor(0.7, dtype=D))

    def forward(self, x: Tensor) -> Tensor:
        return self.w * x


class OneBias(nn.Module):
    """Two logits that differ by twice the only parameter, whatever the input."""

    def __init__(self) -> None:
        super().__init__()
        self.b = nn.Parameter(torch.tensor([0.3], dtype=D))

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([self.b, -self.b], 1).expand(len(x), 2)


class Constant(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.ones(3, dtype=D))

    def forward(self, x: Tensor) -> Tensor:
        return (0 * self.w).expand(len(x), 3)


def fitted(model: nn.Module) -> tuple[nn.Module, nn.Module, Tensor, Tensor]:
    return model, MSE, inputs(), model(inputs()).detach()


def separated(model: nn.Module) -> tuple[nn.Module, nn.Module, Tensor, Tensor]:
    return model, CE, inputs(), model(inputs()).argmax(1)


Parts = tuple[nn.Module, nn.Module, Tensor, Tensor]
PROBLEMS: dict[str, Callable[[], Parts]] = {
    "all labels equal": lambda: (mlp(), CE, inputs(), torch.zeros(N, dtype=torch.long)),
    "one sample": lambda: (mlp(), CE, inputs()[:1], LABELS[:1]),
    "one sample, batch normalisation": lambda: (normed(), CE, inputs()[:1], LABELS[:1]),
    "one class": lambda: (mlp(1), CE, inputs(), torch.zeros(N, dtype=torch.long)),
    "one output": lambda: (mlp(1), MSE, inputs(), torch.zeros(N, 1, dtype=D)),
    "zero weights": lambda: (mlp(3, 0.0), CE, inputs(), LABELS),
    "zero weights, zero targets": lambda: (linear(2, 0.0), MSE, inputs(), torch.zeros(N, 2, dtype=D)),
    "tiny weights": lambda: (linear(2, 1e-200), MSE, inputs(), torch.zeros(N, 2, dtype=D)),
    "perfectly fitted": lambda: fitted(linear(2)),
    "perfectly separated": lambda: separated(linear(3, 1e5)),
    "wrong for certain": lambda: (linear(3, 1e4), CE, inputs(), LABELS),
    "one parameter": lambda: (OneParameter(), MSE, inputs(), torch.ones(N, 4, dtype=D)),
    "one parameter, two classes": lambda: (OneBias(), CE, inputs(), LABELS % 2),
    "a constant": lambda: (Constant(), CE, inputs(), LABELS),
    "inputs all equal": lambda: (mlp(), CE, inputs()[:1].repeat(N, 1), LABELS),
    "inputs all zero": lambda: (mlp(), CE, torch.zeros(N, 4, dtype=D), LABELS),
    "units all dead": lambda: (relu(-100.0), CE, inputs(), LABELS),
}


def problem(name: str, **options: Any) -> Problem:
    model, loss, x, y = PROBLEMS[name]()
    return Problem(model, loss, (x, y), **options)


def measure(entry: str, of: Problem, budget: float = 7.2) -> Record | LandscapeError:
    try:
        return landscape.analyze(of, [entry], budget=budget, top=1).measures[entry]
    except LandscapeError as error:
        return error


def told(found: Record | LandscapeError) -> str | None:
    """Why there is no number; None where there is one."""
    return str(found) if isinstance(found, LandscapeError) else found.skipped


@pytest.mark.parametrize("name", PROBLEMS)
def test_a_number_or_a_reason(name: str) -> None:
    for entry in MEASURES:
        found = measure(entry, problem(name))
        reason = told(found)
        if reason is not None:
            assert reason, entry
            assert "\n" not in reason, entry
            continue
        assert isinstance(found, Record)
        assert math.isfinite(found.value), entry
        assert not found.stderr < 0, entry
        assert all(math.isfinite(value) for value in found.groups.values()), entry


@pytest.mark.parametrize("name", ["one sample", "zero weights", "one parameter", "perfectly separated", "a constant"])
def test_the_same_number_for_any_batch_size(name: str) -> None:
    """Error budget: other batches sum in another order, and a few Lanczos steps amplify that."""
    for entry in MEASURES:
        one, whole = (measure(entry, problem(name, batch_size=size)) for size in (1, N))
        assert told(one) == told(whole), entry
        if isinstance(one, Record) and isinstance(whole, Record) and one.skipped is None:
            assert one.value == pytest.approx(whole.value, rel=1e-8, abs=1e-12), entry


@pytest.mark.parametrize("name", PROBLEMS)
def test_trace_and_eigenvalue_are_those_of_the_dense_hessian(name: str) -> None:
    """Within five standard errors, 1e-8 of the largest curvature, and what cancels in a softmax that is certain.

    The budget leaves a standard error of at least ten degrees of freedom.
    """
    model, loss, x, y = PROBLEMS[name]()
    H = hessian(Function(model, loss, x, y, np.ones(len(x))))
    scale = float(np.abs(H).max())
    record = measure("hessian_trace", problem(name), budget=60)
    assert isinstance(record, Record)
    assert abs(record.value - np.trace(H)) <= 5 * record.stderr + 1e-8 * scale * len(H) + 1e-100
    record = measure("top_eigenvalues", problem(name), budget=60)
    assert isinstance(record, Record)
    if record.converged:
        assert abs(record.value - np.linalg.eigvalsh(H)[-1]) <= 0.05 * scale + 1e-100


@pytest.mark.parametrize("name", ["one parameter", "one parameter, two classes", "one sample", "perfectly fitted"])
def test_the_gauss_newton_trace_is_that_of_the_dense_matrix(name: str) -> None:
    model, loss, x, y = PROBLEMS[name]()
    G = gauss_newton(Function(model, loss, x, y, np.ones(len(x))))
    record = measure("ggn_trace", problem(name), budget=60)
    assert isinstance(record, Record)
    assert abs(record.value - np.trace(G)) <= 5 * record.stderr + 1e-8 * float(np.abs(G).max()) * len(G)


@pytest.mark.parametrize("entry", MEASURES)
def test_no_number_comes_of_nan_weights(entry: str) -> None:
    """Refused where the problem is made; where it was made before, as in a training, by the measure."""
    model = mlp()
    made_before = Problem(model, CE, (inputs(), LABELS))
    with torch.no_grad():
        next(model.parameters()).view(-1)[0] = math.nan
    with pytest.raises(LandscapeError, match="NaN"):
        Problem(model, CE, (inputs(), LABELS))
    assert told(measure(entry, made_before)) is not None
    options = {key: value for key, value in {"budget": 7.2, "seed": 0}.items() if key in MEASURES[entry].options}
    try:
        value = MEASURES[entry].function(made_before, **options).value
    except LandscapeError:
        return
    assert math.isnan(value)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: (mlp(), CE, torch.full((N, 4), math.nan, dtype=D), LABELS), "NaN or infinite"),
        (lambda: (linear(2, 1e200), MSE, inputs(), torch.zeros(N, 2, dtype=D)), "NaN or infinite"),
        (lambda: (Frozen(), CE, inputs(), LABELS), "do not depend on any parameter"),
        (lambda: (mlp(), CE, inputs()[:0], LABELS[:0]), "sample"),
        (lambda: (mlp(2), CE, inputs(), LABELS), "label"),
        (lambda: (mlp(), nn.CrossEntropyLoss(ignore_index=1), inputs(), torch.ones(N, dtype=torch.long)), "ignored"),
    ],
    ids=["NaN inputs", "overflow", "unused parameters", "no sample", "a label too many", "no label"],
)
def test_what_is_no_problem_is_refused_in_a_line(make: Callable[[], Parts], words: str) -> None:
    model, loss, x, y = make()
    with pytest.raises(LandscapeError, match=words) as caught:
        landscape.analyze(Problem(model, loss, (x, y)), budget=7.2)
    assert "\n" not in str(caught.value)


class Frozen(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(4, 3).double()

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x).detach()
