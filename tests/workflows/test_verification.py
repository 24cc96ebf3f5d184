"""`verify`: sound networks pass, a wrong number fails the check that is about it, and causes are named."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from cases import N, case, labels, normal
from torch import Tensor, nn

from landscape import Problem
from landscape.curvature.hessian import HessianOperator
from landscape.errors import ModelError
from landscape.records import Record
from landscape.workflows import verification
from landscape.workflows.verification import CHECKS, Verification, verify

SOUND = ("relu_without_bias", "batch_norm", "sequences", "attention")


def checked(problem: Problem, *checks: str) -> Verification:
    return verify(problem, checks, budget=30.0, rtol=0.3)


@pytest.mark.parametrize("name", SOUND)
def test_sound_networks_pass(name: str) -> None:
    found = checked(case(name).problem())
    assert {key: finding for key, finding in found.findings.items() if finding.verdict == "failed"} == {}
    assert found.passed
    assert [*CHECKS, "untouched"] == list(found.findings)
    assert found.findings["product"].verdict == found.findings["untouched"].verdict == "passed"
    assert (found.findings["euler"].verdict == "passed") == (name == "relu_without_bias")
    json.dumps(found.to_dict(), allow_nan=False)


def test_batch_statistics_skip_what_needs_single_samples() -> None:
    single = ("batch_size", "sample_order", "connectivity", "euler")
    found = checked(case("batch_norm").problem(bn="train"), "product", *single)
    assert [found.findings[key].verdict for key in ("product", *single)] == ["passed", *["skipped"] * 4]


class Kink(nn.Module):
    """|w| at w = 0: differences of its gradient grow as 1/a."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(3, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.w) @ x.T[:3] + x[:, 0]


def test_kinks_are_no_failure() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        problem = Problem(Kink(), nn.MSELoss(), (normal(N, 4).abs(), normal(N)))
    found = checked(problem, "differences")
    assert found.findings["differences"].verdict == "kinks"
    assert "kinks" in found.findings["differences"].reason
    assert found.passed


class HandNormalised(nn.Module):
    """Statistics of the batch in every mode."""

    def forward(self, x: Tensor) -> Tensor:
        return (x - x.mean(0)) / (1 + x.std(0, unbiased=False))


class Counting(nn.Module):
    """A buffer that grows with each pass and enters the output."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("passes", torch.zeros((), dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        self.passes += 1
        return x * (1 + 0.0 * self.passes)


class AlwaysDropping(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.dropout(x, 0.5)


def network(*inner: nn.Module) -> Problem:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = nn.Sequential(nn.Linear(4, 4), *inner, nn.Linear(4, 3)).double()
        return Problem(model, nn.CrossEntropyLoss(), (normal(N, 4), labels(3)))


def test_samples_that_mix_are_found_and_the_module_is_named() -> None:
    found = checked(network(HandNormalised()), "batch_size")
    assert not found.passed
    assert found.findings["batch_size"].verdict == "failed"
    (cause,) = found.findings["batch_size"].causes
    assert cause.startswith("1 (HandNormalised) lets a sample's output depend on the other samples")


def test_a_buffer_that_moves_is_among_the_causes() -> None:
    found = checked(network(Counting(), HandNormalised()), "batch_size")
    assert "the forward pass changes the buffer 1.passes in evaluation mode" in found.findings["batch_size"].causes


def test_what_is_random_is_named_before_anything_is_computed() -> None:
    with pytest.raises(ModelError, match=r"1 \(AlwaysDropping\) draws random numbers in evaluation mode"):
        network(AlwaysDropping())


def scaled(record: Record, factor: float) -> Record:
    return Record(record.value * factor, record.stderr, groups=record.groups, details=record.details)


def _product(monkeypatch: pytest.MonkeyPatch) -> None:
    right = HessianOperator.matmat
    monkeypatch.setattr(HessianOperator, "matmat", lambda self, V: right(self, V) * 1.01)


def _skew(monkeypatch: pytest.MonkeyPatch) -> None:
    right = HessianOperator.matmat
    monkeypatch.setattr(HessianOperator, "matmat", lambda self, V: right(self, V) + 0.1 * V.roll(1, 0))


def _of_module(where: str, name: str) -> Any:
    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        module = getattr(verification, where)
        right = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *args, **options: scaled(right(*args, **options), 1.5))

    return patch


def _gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    right = verification.subject.gradient
    monkeypatch.setattr(verification.subject, "gradient", lambda problem: right(problem) * 1.01)


def _of_the_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    def size(problem: Problem, **_: Any) -> Record:
        return Record(sum(float(t.square().sum()) for t in problem.parameters.values()))

    monkeypatch.setattr(verification.theorems, "connectivity", size)


# a mistake -> the checks that must see it
MISTAKES = {
    "product": (_product, {"product", "differences"}),
    "skew product": (_skew, {"product", "symmetry"}),
    "gradient": (_gradient, {"gradient", "determinism"}),
    "trace": (_of_module("spectrum", "hessian_trace"), {"trace"}),
    "eigenvalue": (_of_module("subject", "top_eigenvalues"), {"top_eigenvalue"}),
    "connectivity": (_of_module("theorems", "connectivity"), {"connectivity", "batch_connectivity"}),
    "Fisher-Rao": (_of_module("theorems", "fisher_rao"), {"euler"}),
    "a measure of the weights' size": (_of_the_weights, {"rescaling"}),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_wrong_number_fails_the_checks_about_it(mistake: str, monkeypatch: pytest.MonkeyPatch) -> None:
    patch, seeing = MISTAKES[mistake]
    problem = case("relu_without_bias").problem()
    patch(monkeypatch)
    found = checked(problem, *sorted(seeing))
    assert {key for key, finding in found.findings.items() if finding.verdict == "failed"} == seeing


def test_a_model_that_was_touched_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = case("batch_norm").problem()
    right = verification.theorems.connectivity

    def touching(*args: Any, **options: Any) -> Record:
        with torch.no_grad():
            next(problem.model.buffers())[0] += 1
        return right(*args, **options)

    monkeypatch.setattr(verification.theorems, "connectivity", touching)
    found = checked(problem, "connectivity").findings["untouched"]
    assert found.verdict == "failed"
    assert "buffer 1.running_mean" in found.reason
