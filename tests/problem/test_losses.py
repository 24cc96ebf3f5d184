"""Losses as weighted means: torch's own mean reduction is the oracle, on batches of any size."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from landscape import LandscapeError, Problem
from landscape.measures import evaluate

N, K, T = 45, 4, 5


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def integers(*shape: int, ignored: int | None = None) -> Tensor:
    g = generator()
    labels = torch.randint(K, shape, generator=g)
    if ignored is not None:
        labels[torch.rand(shape, generator=g) < 0.3] = ignored
    return labels


def values(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator(), dtype=torch.float64)


class Shift(nn.Module):
    """f = x + theta: the outputs are what the test hands in."""

    def __init__(self, head: nn.Module | None = None) -> None:
        super().__init__()
        self.theta, self.head = nn.Parameter(torch.zeros((), dtype=torch.float64)), head or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x + self.theta)


WEIGHT = torch.tensor([0.5, 2.0, 1.0, 0.1], dtype=torch.float64)
LOG = nn.LogSoftmax(1)
Row = tuple[Callable[[Any, Any], Tensor], Tensor, Tensor, nn.Module | None]
TABLE: dict[str, Row] = {
    "cross-entropy": (nn.CrossEntropyLoss(), values(N, K), integers(N), None),
    "functional cross-entropy": (F.cross_entropy, values(N, K), integers(N), None),
    "weighted": (nn.CrossEntropyLoss(weight=WEIGHT), values(N, K), integers(N), None),
    "ignored": (nn.CrossEntropyLoss(), values(N, K), integers(N, ignored=-100), None),
    "ignored class": (nn.CrossEntropyLoss(ignore_index=2), values(N, K), integers(N), None),
    "ignored beyond": (nn.CrossEntropyLoss(ignore_index=255), values(N, K), integers(N, ignored=255), None),
    "smoothed": (nn.CrossEntropyLoss(label_smoothing=0.2), values(N, K), integers(N), None),
    "smoothed, weighted, ignored": (
        nn.CrossEntropyLoss(weight=WEIGHT, label_smoothing=0.2), values(N, K), integers(N, ignored=-100), None,
    ),
    "sequence": (nn.CrossEntropyLoss(), values(N, K, T), integers(N, T, ignored=-100), None),
    "weighted sequence": (nn.CrossEntropyLoss(weight=WEIGHT), values(N, K, T), integers(N, T, ignored=-100), None),
    "image of labels": (nn.CrossEntropyLoss(), values(N, K, 2, 3), integers(N, 2, 3, ignored=-100), None),
    "probabilities": (nn.CrossEntropyLoss(), values(N, K), values(N, K).softmax(1), None),
    "weighted probabilities": (nn.CrossEntropyLoss(weight=WEIGHT), values(N, K), values(N, K).softmax(1), None),
    "probabilities in a sequence": (nn.CrossEntropyLoss(), values(N, K, T), values(N, K, T).softmax(1), None),
    "nll": (nn.NLLLoss(), values(N, K), integers(N), LOG),
    "nll, weighted, ignored beyond": (
        nn.NLLLoss(weight=WEIGHT, ignore_index=255), values(N, K), integers(N, ignored=255), LOG,
    ),
    "nll sequence": (nn.NLLLoss(ignore_index=1), values(N, K, T), integers(N, T), LOG),
    "mse": (nn.MSELoss(), values(N, K), values(N, K) ** 2, None),
    "mse of images": (nn.MSELoss(), values(N, 2, 3, 3), values(N, 2, 3, 3) ** 2, None),
    "binary": (nn.BCEWithLogitsLoss(), values(N, K), integers(N, K).clamp(max=1).double(), None),
    "binary, weighted": (
        nn.BCEWithLogitsLoss(pos_weight=WEIGHT), values(N, K), integers(N, K).clamp(max=1).double(), None,
    ),
    "l1": (nn.L1Loss(), values(N, K), values(N, K) ** 2, None),
    "huber": (nn.HuberLoss(delta=0.7), values(N, K), values(N, K) ** 2, None),
    "smooth l1": (nn.SmoothL1Loss(beta=0.3), values(N, K), values(N, K) ** 2, None),
    "module of which nothing is known": (nn.SoftMarginLoss(), values(N, 1), integers(N, 1).double() * 2 - 1, None),
    "function, mean": (lambda f, y: ((f - y) ** 4).mean(), values(N, K), values(N, K) ** 2, None),
    "function, a value a sample": (lambda f, y: ((f - y) ** 4).sum(1), values(N, K), values(N, K) ** 2, None),
    "functional mse": (F.mse_loss, values(N, K), values(N, K) ** 2, None),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLE)
@pytest.mark.parametrize("batch_size", [1, 7, 32, 64])
def test_the_mean_over_ragged_batches_is_the_losses_own(name: str, batch_size: int) -> None:
    loss, inputs, targets, head = TABLE[name]
    problem = Problem(Shift(head), loss, (inputs, targets), batch_size=batch_size)
    own = loss((head or nn.Identity())(inputs), targets)
    assert evaluate(problem).loss == pytest.approx(float(own.mean()), rel=1e-12)


@pytest.mark.parametrize("reduction", ["none", "mean"])
def test_a_known_loss_means_the_same_reduced_or_not(reduction: str) -> None:
    data = (values(N, K), integers(N, ignored=-100))
    problem = Problem(Shift(), nn.CrossEntropyLoss(weight=WEIGHT, reduction=reduction), data)
    assert evaluate(problem).loss == pytest.approx(float(nn.CrossEntropyLoss(weight=WEIGHT)(*data)), rel=1e-12)


@pytest.mark.parametrize("name", ["weighted", "probabilities", "binary, weighted"])
def test_a_single_precision_loss_serves_a_double_precision_problem(name: str) -> None:
    loss, inputs, targets, _ = TABLE[name]
    assert isinstance(loss, nn.Module)
    single = copy.deepcopy(loss).float()
    given = targets.float() if targets.is_floating_point() else targets
    problem = Problem(Shift().float(), single, (inputs.float(), given), dtype=torch.float64)
    assert evaluate(problem).loss == pytest.approx(float(loss(inputs, targets)), rel=1e-6)
    assert all(buffer.dtype == torch.float32 for buffer in single.buffers())  # the user's own is as it was


REFUSED: dict[str, tuple[Callable[[Any, Any], Any], Tensor, str]] = {
    "torch sum": (nn.CrossEntropyLoss(reduction="sum"), integers(N), "sums over the batch"),
    "mse sum": (nn.MSELoss(reduction="sum"), values(N, K), "sums over the batch"),
    "function that sums": (lambda f, y: F.cross_entropy(f, y, reduction="sum"), integers(N), "expected a mean"),
    "half a mean": (lambda f, y: ((f - y) ** 2).sum() / (2 * K * len(f) - 1), values(N, K) ** 2, "expected a mean"),
    "root of a mean": (lambda f, y: ((f - y) ** 2).mean().sqrt(), values(N, K) ** 2, "expected a mean"),
    "mean over what is not ignored": (
        lambda f, y: F.cross_entropy(f, y) + 0.0, torch.tensor([-100, 1, 2] * 15), "expected a mean",
    ),
    "three values": (lambda f, y: f[:3, 0], values(N, K), r"\(3,\)"),
    "a number": (lambda f, y: 1.0, values(N, K), "must return a tensor"),
    "wrong shapes": (nn.CrossEntropyLoss(), integers(N, 3), "fails on outputs"),
    "integers for probabilities": (nn.BCEWithLogitsLoss(), integers(N), "give both the same shape"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_mean_over_samples_is_refused(name: str) -> None:
    loss, targets, words = REFUSED[name]
    with pytest.raises(LandscapeError, match=words) as caught:
        Problem(Shift(), loss, (values(N, K), targets))
    assert str(caught.value).count("\n") <= 1


def test_weights_are_numbers_of_labels_or_their_class_weights() -> None:
    labels = integers(N, T, ignored=-100)
    counted = Problem(Shift(), nn.CrossEntropyLoss(), (values(N, K, T), labels))
    assert counted.weights.tolist() == (labels != -100).sum(1).tolist()
    weighted = Problem(Shift(), nn.CrossEntropyLoss(weight=WEIGHT), (values(N, K), integers(N)))
    np.testing.assert_allclose(weighted.weights, WEIGHT[integers(N)])
    assert counted.total_weight == pytest.approx(float((labels != -100).sum()))


def test_all_labels_ignored() -> None:
    with pytest.raises(LandscapeError, match="ignored"):
        Problem(Shift(), nn.CrossEntropyLoss(), (values(9, K), torch.full((9,), -100)))


def test_accuracy_is_over_labelled_samples() -> None:
    x, y = values(N, K), integers(N, ignored=-100)
    kept = y != -100
    expected = float((x.argmax(1) == y)[kept].double().mean())
    assert evaluate(Problem(Shift(), nn.CrossEntropyLoss(), (x, y))).accuracy == pytest.approx(expected)


@pytest.mark.parametrize("name", TABLE)
def test_the_factor_of_the_fisher_information_gives_its_form(name: str) -> None:
    """|S' u|^2 = u' F u, and S is the transposed of S'."""
    loss, inputs, targets, head = TABLE[name]
    problem = Problem(Shift(head), loss, (inputs, targets))
    factor, form = problem.fisher_factor, problem.fisher_form
    assert (factor is None) == (form is None)
    if factor is None or form is None:
        return
    outputs = (head or nn.Identity())(inputs)
    u = values(*outputs.shape)
    e = u.flip(0)
    back = factor.transposed(outputs, targets, u)
    torch.testing.assert_close(back.reshape(N, -1).square().sum(1), form(outputs, targets, u))
    there = factor.times(outputs, targets, e)
    torch.testing.assert_close((there * u).reshape(N, -1).sum(1), (e * back).reshape(N, -1).sum(1))
    same = not targets.is_floating_point() and "smoothed, weighted" not in name
    assert (factor is problem.factor) == (same or isinstance(loss, (nn.MSELoss, nn.BCEWithLogitsLoss))), name
