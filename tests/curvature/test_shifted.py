"""The loss at shifted weights against torch's own loss and gradient at those weights."""

from __future__ import annotations

import math

import numpy as np
import oracles
import pytest
import torch
from cases import case

from landscape.curvature.shifted import Shifted

NAMES = ["batch_norm", "weighted_and_ignored", "sequences", "linear_regression", "tied", "frozen", "attention"]


def shift(size: int) -> torch.Tensor:
    return torch.from_numpy(0.1 * np.random.default_rng(0).normal(size=size))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("batch_size", [5, 64])
def test_loss_and_gradient_at_shifted_weights(name: str, batch_size: int) -> None:
    small = case(name)
    shifted = Shifted(small.problem(batch_size=batch_size))
    e = shift(small.problem().size)
    values, gradient = shifted.with_gradient(e)
    f = small.function
    assert values.loss == pytest.approx(float(f.mean_loss(f.theta + e)), rel=1e-12)
    assert gradient.numpy() == pytest.approx(oracles.gradient(f.mean_loss, f.theta + e).numpy(), rel=1e-9, abs=1e-13)
    assert shifted.values(e).losses == pytest.approx(values.losses, rel=1e-12)
    assert shifted.values().loss == pytest.approx(float(f.mean_loss(f.theta)), rel=1e-12)


@pytest.mark.parametrize("name", ["batch_norm", "weighted_and_ignored", "sequences"])
def test_the_mean_over_some_of_the_samples(name: str) -> None:
    small = case(name)
    part = type(small)("part", small.model, small.loss, small.inputs[9:30], small.targets[9:30]).function
    e = shift(small.problem().size)
    values, gradient = Shifted(small.problem(batch_size=4), (9, 30)).with_gradient(e)
    assert values.loss == pytest.approx(float(part.mean_loss(part.theta + e)), rel=1e-12)
    wanted = oracles.gradient(part.mean_loss, part.theta + e).numpy()
    assert gradient.numpy() == pytest.approx(wanted, rel=1e-9, abs=1e-13)


def test_accuracy_counts_the_labels_that_count() -> None:
    small = case("weighted_and_ignored")
    e = shift(small.problem().size)
    f = small.function
    kept = small.targets != 255
    right = (f.outputs(f.theta + e, small.inputs).argmax(1) == small.targets)[kept]
    assert Shifted(small.problem()).values(e).accuracy == pytest.approx(float(right.double().mean()), rel=1e-12)
    assert math.isnan(Shifted(case("linear_regression").problem()).values().accuracy)


def test_batch_statistics_follow_the_shift() -> None:
    """With bn="train" the network runs on its one group of samples in train mode."""
    small = case("batch_norm")
    problem = small.problem(bn="train")
    e = shift(problem.size)
    small.model.train()
    pieces = torch.split(small.function.theta + e, [info.size for info in problem.infos])
    named = {info.name: piece.view(info.shape) for info, piece in zip(problem.infos, pieces, strict=True)}
    buffers = {name: b.clone() for name, b in small.model.named_buffers()}
    outputs = torch.func.functional_call(small.model, {**named, **buffers}, (small.inputs,))
    assert Shifted(problem).values(e).loss == pytest.approx(float(small.loss(outputs, small.targets)), rel=1e-12)
