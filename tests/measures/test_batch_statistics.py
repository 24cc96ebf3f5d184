"""BatchNorm in train mode: statistics of each group of 128, and what no longer has a value for one sample."""

from __future__ import annotations

import numpy as np
import oracles
import pytest
import torch
from torch import nn
from torch.func import functional_call

import landscape
from landscape import Problem
from landscape.errors import ModelError

N = 150  # one group of 128 and one of 22


@pytest.fixture(scope="module")
def net() -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Dropout(0.5), nn.Linear(4, 3)).double()
        return model.train(), torch.randn(N, 3, dtype=torch.float64) * 2 + 1, torch.randint(3, (N,))


def dense(net: tuple[nn.Module, torch.Tensor, torch.Tensor]) -> np.ndarray:
    """The Hessian of L with each group's own statistics, by a twin without dropout in train mode."""
    model, x, y = net
    twin = nn.Sequential(model[0], nn.BatchNorm1d(4).double(), nn.Tanh(), nn.Identity(), model[4]).train()
    named = {name: p.detach() for name, p in model.named_parameters()}

    def loss(theta: torch.Tensor) -> torch.Tensor:
        pieces = torch.split(theta, [p.numel() for p in named.values()])
        parameters = {n: p.view(t.shape) for (n, t), p in zip(named.items(), pieces, strict=True)}
        parts = [
            nn.functional.cross_entropy(functional_call(twin, parameters, (x[part],)), y[part], reduction="sum")
            for part in (slice(0, 128), slice(128, N))
        ]
        return sum(parts) / N  # type: ignore[return-value]

    return oracles.second_derivative(loss, torch.cat([p.reshape(-1) for p in named.values()]))


@pytest.mark.parametrize("batch_size", [1, 50, 128, 150])
def test_curvature_against_dense_whatever_the_batch_size(
    net: tuple[nn.Module, torch.Tensor, torch.Tensor], batch_size: int
) -> None:
    model, x, y = net
    before = {k: v.clone() for k, v in model.state_dict().items()}
    H = dense(net)
    model.load_state_dict(before)
    problem = Problem(model, nn.CrossEntropyLoss(), (x, y), bn="train", batch_size=batch_size)
    assert problem.block_size == 128
    top = landscape.top_eigenvalues(problem, rtol=1e-9, budget=1e4)
    assert top.value == pytest.approx(np.linalg.eigvalsh(H)[-1], rel=1e-9)
    trace = landscape.hessian_trace(problem, rtol=1e-9, budget=96)
    assert trace.details["blocks"] == 2
    assert trace.value == pytest.approx(np.trace(H), abs=4.5 * trace.stderr)
    # running statistics and the count of batches are buffers: none moved
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert model.training
    assert model[1].training


def test_what_needs_one_sample_at_a_time_says_why_it_is_skipped(
    net: tuple[nn.Module, torch.Tensor, torch.Tensor],
) -> None:
    model, x, y = net
    analysis = landscape.analyze(Problem(model, nn.CrossEntropyLoss(), (x, y), bn="train"), budget=24)
    skipped = {name for name, record in analysis.measures.items() if record.skipped}
    assert skipped == {"fisher_rao", "connectivity", "margin", "jacobian_norm"}
    assert all("depend on each other" in str(analysis.measures[name].skipped) for name in skipped)
    assert analysis.problem["bn_mode"] == "train"
    assert analysis.settings["bn"] == "train"


def test_batches_of_another_size_than_the_statistics_groups_are_no_measure(
    net: tuple[nn.Module, torch.Tensor, torch.Tensor],
) -> None:
    model, x, y = net
    problem = Problem(model, nn.CrossEntropyLoss(), (x, y), bn="train")
    assert landscape.connectivity_batch(problem, connectivity_batch=128).details["m"] == 128
    with pytest.raises(landscape.LandscapeError, match="connectivity-batch 128"):
        landscape.connectivity_batch(problem, connectivity_batch=64)


def test_a_layer_without_running_statistics_needs_train_mode() -> None:
    """In eval mode it would take the statistics of whatever batch comes: a value that depends on the batch size."""
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4, track_running_stats=False), nn.Linear(4, 2)).double()
    data = (torch.randn(10, 3, dtype=torch.float64), torch.randint(2, (10,)))
    with pytest.raises(landscape.LandscapeError, match=r"bn='train'"):
        Problem(model, nn.CrossEntropyLoss(), data)
    assert np.isfinite(landscape.top_eigenvalues(Problem(model, nn.CrossEntropyLoss(), data, bn="train")).value)


@pytest.mark.parametrize(("samples", "advice"), [(1, "take more samples"), (129, "take 128"), (257, "take 256")])
def test_a_group_of_one_sample_has_no_statistics(samples: int, advice: str) -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    data = torch.randn(samples, 3, generator=torch.Generator().manual_seed(0)), torch.arange(samples) % 2
    with pytest.raises(ModelError, match=f"statistics of at least two samples.*{advice}"):
        Problem(model, nn.CrossEntropyLoss(), data, bn="train")


def test_one_image_has_statistics_of_its_pixels() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(18, 2))
    images = torch.randn(129, 1, 5, 5, generator=torch.Generator().manual_seed(0)), torch.arange(129) % 2
    assert Problem(model, nn.CrossEntropyLoss(), images, bn="train").blocks()[-1] == (128, 129)
