"""`Problem`: what it gives back, what it refuses, and that it follows the model without touching it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from cases import case
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import landscape
from landscape import LandscapeError, Problem
from landscape.errors import DataError, DeviceError, ModelError, NonFiniteError, OptionError, ProblemError
from landscape.measures import evaluate
from landscape.problem import sizes as sizes_module
from landscape.work import count_work

N = 40


def data(n: int = N, classes: int = 3) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(0)
    return torch.randn(n, 4, generator=g), torch.randint(classes, (n,), generator=g)


def linear() -> nn.Linear:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Linear(4, 3)


CE = nn.CrossEntropyLoss()


def test_it_gives_back_what_was_handed_in() -> None:
    model, pair = linear(), data()
    problem = Problem(model, CE, pair)
    assert problem.model is model
    assert problem.loss is CE
    assert problem.data is pair
    loader = DataLoader(TensorDataset(*pair), 7)
    assert Problem(model, CE, loader).data is loader
    assert problem.choose(torch.arange(5)).data is pair
    assert len(problem) == N
    assert problem.size == 15
    assert problem.population == N
    assert list(problem.parameters) == ["weight", "bias"]


def test_its_parameters_are_those_that_require_a_gradient_and_follow_the_model() -> None:
    model = nn.Sequential(linear(), nn.Linear(3, 3))
    model[0].weight.requires_grad_(False)
    problem = Problem(model, CE, data())
    assert [info.name for info in problem.infos] == ["0.bias", "1.weight", "1.bias"]
    before = evaluate(problem).loss
    with torch.no_grad():
        model[1].bias += torch.tensor([1.0, 0, 0])
    assert evaluate(problem).loss != before
    assert torch.equal(problem.parameters["1.bias"], model[1].bias)
    assert not problem.parameters["1.bias"].requires_grad


def test_loss_and_accuracy() -> None:
    model, (x, y) = linear(), data()
    evaluation = evaluate(Problem(model, CE, (x, y), batch_size=7))
    assert evaluation.loss == pytest.approx(float(CE(model(x), y)), rel=1e-6)
    assert evaluation.accuracy == pytest.approx(float((model(x).argmax(1) == y).float().mean()))
    assert evaluation.classes == 3


def test_batches_and_blocks_cover_the_samples_in_order() -> None:
    problem = Problem(linear(), CE, data(100), batch_size=7)
    assert problem.blocks() == [(0, 32), (32, 64), (64, 96), (96, 100)]
    batches = list(problem.batches())
    assert [len(b) for b in batches] == [7] * 14 + [2]
    assert torch.equal(torch.cat([b.inputs for b in batches]), data(100)[0])
    assert [b.start for b in problem.batches(32, 64)] == [32, 39, 46, 53, 60]
    train = Problem(linear(), CE, data(300), bn="train", batch_size=7)
    assert train.blocks() == [(0, 128), (128, 256), (256, 300)]
    assert [len(b) for b in train.batches()] == [128, 128, 44]


def test_choosing_samples_keeps_the_population_and_the_rest() -> None:
    problem = Problem(linear(), CE, data(), batch_size=9, about={"data": "mine"})
    part = problem.choose(torch.tensor([30, 2, 2]), dtype=torch.float64)
    assert (len(part), part.population, part.batch_size, part.dtype) == (3, N, 9, torch.float64)
    assert part.about["data"] == "mine"
    assert torch.equal(next(part.batches()).inputs, data()[0][[30, 2, 2]].double())
    assert part.choose(torch.tensor([0])).population == N


def test_another_order_takes_the_samples_with_their_weights_and_passes_over_nothing() -> None:
    small = case("weighted_and_ignored")
    problem = small.problem()
    order = torch.arange(len(problem)).flip(0)
    with count_work() as work:
        turned = problem.reordered(order)
    assert not any(work.samples.values())
    batch = next(turned.batches(0, 5))
    assert torch.equal(batch.inputs, small.inputs[order[:5]])
    assert torch.equal(batch.targets, small.targets[order[:5]])
    assert torch.equal(turned.weights, problem.weights[order])
    assert torch.equal(batch.weights, problem.weights[order[:5]])
    assert evaluate(turned).loss == pytest.approx(evaluate(problem).loss, rel=1e-12)
    assert torch.equal(next(problem.batches(0, 5)).inputs, small.inputs[:5])


def test_a_dtype_is_for_parameters_buffers_and_inputs() -> None:
    model = nn.Sequential(linear(), nn.BatchNorm1d(3))
    problem = Problem(model, CE, data(), dtype=torch.float64)
    assert problem.losses(problem.parameters, next(problem.batches())).dtype == torch.float64
    assert next(model.parameters()).dtype == torch.float32


def test_several_inputs() -> None:
    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.l = linear()

        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return self.l(a - b)

    model, (x, y) = Sum(), data()
    expected = CE(model(x, x.flip(0)), y).item()
    forms: list[Any] = [
        ((x, x.flip(0)), y),
        ([x, x.flip(0)], y),
        ({"a": x, "b": x.flip(0)}, y),
        DataLoader([((p, q), t) for p, q, t in zip(x, x.flip(0), y, strict=True)], batch_size=6),  # type: ignore[arg-type]
    ]
    for form in forms:
        problem = Problem(model, CE, form)
        assert evaluate(problem).loss == pytest.approx(expected, rel=1e-6)
        assert landscape.connectivity(problem).value > 0
        with pytest.raises(LandscapeError, match="one floating-point tensor"):
            landscape.jacobian_norm(problem)


def test_outputs_that_are_no_tensor() -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.l = linear()

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"logits": self.l(x)}

    problem = Problem(Named(), lambda out, y: F.cross_entropy(out["logits"], y), data())
    plain = Problem(linear(), CE, data())
    analysis = landscape.analyze(problem)
    assert {n for n, r in analysis.measures.items() if r.skipped} == {"fisher_rao", "margin", "jacobian_norm"}
    assert analysis.measures["connectivity"].value == pytest.approx(landscape.connectivity(plain).value, rel=1e-5)


def nan_in(name: str) -> nn.Module:
    model = nn.Sequential(linear(), nn.BatchNorm1d(3))
    with torch.no_grad():
        model.state_dict()[name].view(-1)[1] = torch.inf if name == "0.weight" else torch.nan
    return model


def spoiled(index: int, value: float) -> tuple[Tensor, Tensor]:
    x, y = data()
    x[index, 0] = value
    return x, y


class Noisy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.l = linear()

    def forward(self, x: Tensor) -> Tensor:
        return self.l(F.dropout(x, 0.5, training=True))


class Broken(Noisy):
    def forward(self, x: Tensor) -> Tensor:
        raise OwnError("first line\nsecond line")


class OwnError(ValueError):
    pass


def labels(*values: int) -> tuple[Tensor, Tensor]:
    x, y = data()
    y[-len(values) :] = torch.tensor(values)
    return x, y


def frozen() -> nn.Module:
    return linear().requires_grad_(False)


def clipped() -> nn.Module:
    return nn.Sequential(nn.Embedding(5, 4, max_norm=1.0), nn.Flatten(), nn.Linear(8, 3))


REFUSED: dict[str, tuple[Any, type[LandscapeError], str]] = {
    "no module": (lambda: Problem(abs, CE, data()), ProblemError, "must be a torch.nn.Module, got builtin"),  # type: ignore[arg-type]
    "no loss": (lambda: Problem(linear(), "ce", data()), ProblemError, "must be callable, got str"),  # type: ignore[arg-type]
    "nothing to differentiate": (lambda: Problem(frozen(), CE, data()), ProblemError, "requires_grad"),
    "a mode": (lambda: Problem(linear(), CE, data(), bn="test"), OptionError, "'eval' or 'train', got 'test'"),  # type: ignore[arg-type]
    "batch size 0": (lambda: Problem(linear(), CE, data(), batch_size=0), OptionError, "at least 1, got 0"),
    "batch size -3": (lambda: Problem(linear(), CE, data(), batch_size=-3), OptionError, "at least 1, got -3"),
    "a device": (lambda: Problem(linear(), CE, data(), device="cuda:77"), DeviceError, "is not there; .* cpu"),
    "a device name": (lambda: Problem(linear(), CE, data(), device="gpu"), DeviceError, "'gpu' is not there"),
    "a label too large": (lambda: Problem(linear(), CE, labels(3)), DataError, "from 0 to 3 .* labels 0 to 2"),
    "a negative label": (lambda: Problem(linear(), CE, labels(-1)), DataError, "from -1 to 2"),
    "an ignored label of another loss": (lambda: Problem(linear(), F.cross_entropy, labels(255)), DataError, "to 255"),
    "a label for nll": (lambda: Problem(linear(), nn.NLLLoss(), labels(9)), DataError, "from 0 to 9"),
    "an infinite weight": (lambda: Problem(nan_in("0.weight"), CE, data()), NonFiniteError, "0.weight holds 1 .*12"),
    "a weight that is NaN": (lambda: Problem(nan_in("1.bias"), CE, data()), NonFiniteError, "1.bias holds 1"),
    "a running mean": (lambda: Problem(nan_in("1.running_mean"), CE, data()), NonFiniteError, "1.running_mean"),
    "inputs of another size": (
        lambda: Problem(nn.Linear(5, 3), CE, data()), ModelError, r"fails on inputs \(8, 4\): mat1 and mat2",
    ),
    "a model that fails": (lambda: Problem(Broken(), CE, data()), ModelError, "first line$"),
    "a random model": (lambda: Problem(Noisy(), CE, data()), ModelError, "two evaluations .* differ"),
    "a model that rewrites its weights": (
        lambda: Problem(clipped(), CE, (torch.randint(5, (9, 2)), torch.zeros(9, dtype=torch.long))),
        ProblemError, "0 has max_norm",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_say_what_was_expected_and_what_came_in_a_line_or_two(name: str) -> None:
    make, kind, words = REFUSED[name]
    with pytest.raises(kind, match=words) as caught:
        make()
    assert caught.value.exit_code == 2
    assert str(caught.value).count("\n") <= 1


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_names_the_sample(value: float) -> None:
    problem = Problem(linear(), CE, spoiled(33, value), batch_size=16)
    with pytest.raises(NonFiniteError, match=r"on 1 of the samples 32 to 39, first on sample 33"):
        evaluate(problem)
    with pytest.raises(NonFiniteError, match="sample 33"):
        landscape.analyze(problem, ["connectivity"])


def test_what_is_no_fault_is_let_through() -> None:
    """An attention mask holds -inf; dropout is off in eval mode; a single sample is a data set."""

    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.l, self.dropout = linear(), nn.Dropout(0.9)
            self.register_buffer("mask", torch.full((2, 2), -torch.inf).triu(1))

        def forward(self, x: Tensor) -> Tensor:
            return self.dropout(self.l(x)) + self.mask.softmax(1).sum()

    before = torch.get_rng_state()
    problem = Problem(Masked().train(), CE, data(1))
    for measure in (landscape.hessian_trace, landscape.connectivity, landscape.fisher_rao, landscape.jacobian_norm):
        assert np.isfinite(measure(problem).value)
    assert torch.equal(before, torch.get_rng_state())


def test_a_network_that_does_not_see_its_inputs() -> None:
    class Constant(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.b = nn.Parameter(torch.tensor([1.0, 2.0, 3.0]))

        def forward(self, x: Tensor) -> Tensor:
            return self.b.expand(len(x), 3)

    analysis = landscape.analyze(Problem(Constant(), CE, data()), ["jacobian_norm", "margin", "connectivity"])
    assert analysis.measures["jacobian_norm"].value == 0
    assert "zero" in str(analysis.measures["margin"].skipped)
    assert analysis.measures["connectivity"].value > 0


def test_the_batch_size_is_what_fits_into_the_free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bytes that a forward pass saves decide; a batch size that was given stays."""
    small = case("batch_norm")
    sizes = []
    for free in (None, 10**12, 100_000, 1):
        monkeypatch.setattr(sizes_module, "available_memory", lambda device, free=free: free)
        sizes.append(small.problem().batch_size)
        assert small.problem(batch_size=50).batch_size == 50
    assert sizes[:2] == [128, 128]
    assert 1 < sizes[2] < 128
    assert sizes[2].bit_count() == 1
    assert sizes[3] == 1
