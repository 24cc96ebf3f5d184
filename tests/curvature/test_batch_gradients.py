"""Gradients of batches against torch's own on each batch, and the noise scale against closed forms and loops."""

from __future__ import annotations

import itertools
import math
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from cases import case
from torch import Tensor, nn

from landscape import Problem
from landscape.curvature.batch_gradients import BatchGradients, batch_gradients, check_sizes, shuffled
from landscape.curvature.noise_scale import BlockNorms, block_norms, noise_norms, noise_scale, two_sizes
from landscape.distributed import Group
from landscape.errors import NotApplicableError, OptionError
from landscape.work import count_work


def whole_gradient(problem: Problem, rows: slice) -> dict[str, Tensor]:
    """By torch's own mean of the batch."""
    samples = problem.samples
    problem.model.zero_grad()
    problem.model.eval()
    problem.loss(problem.model(samples.inputs[rows]), samples.targets[rows]).backward()
    return {name: p.grad.clone() for name, p in problem.model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize(
    "name", ["relu_without_bias", "batch_norm", "frozen", "label_smoothing", "weighted_and_ignored"]
)
def test_each_batch_has_the_gradient_of_its_mean_loss(name: str) -> None:
    """Error budget: float64 sums in another order, 1e-12."""
    problem = case(name).problem(batch_size=3)
    coordinates = torch.tensor([0, 3, 5])
    found = batch_gradients(problem, [4, 8, 12, 37], coordinates=coordinates)
    assert [one.size for one in found.sizes] == [4, 8, 12, 37]
    assert [len(one.weights) for one in found.sizes] == [9, 4, 3, 1]
    for one in found.sizes:
        for number in range(len(one.weights)):
            expected = whole_gradient(problem, slice(number * one.size, (number + 1) * one.size))
            absolute = [float(g.abs().sum()) for g in expected.values()]
            squares = [float(g.square().sum()) for g in expected.values()]
            np.testing.assert_allclose(one.absolute[number], absolute, rtol=1e-11, atol=1e-14)
            np.testing.assert_allclose(one.squares[number], squares, rtol=1e-11, atol=1e-14)
    mean = torch.cat([g.reshape(-1) for g in whole_gradient(problem, slice(0, 37)).values()])
    torch.testing.assert_close(found.mean, mean, rtol=1e-11, atol=1e-14)
    for block in range(10):
        expected = torch.cat([g.reshape(-1) for g in whole_gradient(problem, slice(4 * block, 4 * block + 4)).values()])
        np.testing.assert_allclose(found.sketch[block], expected[coordinates], rtol=1e-11, atol=1e-14)


def test_one_pass_serves_all_sizes() -> None:
    problem = case("relu_without_bias").problem()
    with count_work() as work:
        batch_gradients(problem, [1, 2, 4, 8, 16, 32, 37])
    assert work.gradient_equivalents(37) == pytest.approx(1.0)


def test_batches_of_a_sorted_data_set_are_mixed() -> None:
    problem = Problem(nn.Linear(1, 2), nn.CrossEntropyLoss(), (torch.zeros(64, 1), torch.arange(64) // 32))
    mixed = shuffled(problem, 0)
    assert 8 < int(mixed.samples.targets[:32].sum()) < 24
    assert torch.equal(mixed.samples.targets, shuffled(problem, 0).samples.targets)
    assert not torch.equal(mixed.samples.targets, shuffled(problem, 1).samples.targets)


class Meeting(Group):
    """Processes that are threads: they meet at every sum."""

    def _add(self, values: np.ndarray) -> np.ndarray:
        barrier, parts = MEETINGS[self.size]
        parts[self.rank] = values
        barrier.wait(60)
        total = np.sum([parts[rank] for rank in range(self.size)], axis=0)
        barrier.wait(60)
        return total

    def sum(self, tensor: Tensor) -> Tensor:
        return tensor.copy_(torch.from_numpy(self._add(tensor.numpy().copy())))

    def sum_array(self, array: np.ndarray) -> np.ndarray:
        return self._add(array)


MEETINGS: dict[int, tuple[threading.Barrier, dict[int, np.ndarray]]] = {
    size: (threading.Barrier(size), {}) for size in (2, 3, 4)
}


@pytest.mark.parametrize("size", MEETINGS)
def test_processes_that_cut_batches_find_the_same(size: int) -> None:
    """Ten blocks between processes: batches of 12, 20 and all samples lie in up to four of them."""
    problem, sizes, chosen = case("relu_without_bias").problem(), [4, 12, 20, 37], torch.tensor([1, 4])
    alone = batch_gradients(problem, sizes, coordinates=chosen)

    def work(rank: int) -> BatchGradients:
        mine = case_problems[rank].across(Meeting(rank, size))
        return batch_gradients(mine, sizes, coordinates=chosen)

    case_problems = [case("relu_without_bias").problem() for _ in range(size)]
    with ThreadPoolExecutor(size) as pool:
        results = list(pool.map(work, range(size)))
    for found in results:
        for one, expected in zip(found.sizes, alone.sizes, strict=True):
            np.testing.assert_allclose(one.absolute, expected.absolute, rtol=1e-11)
            np.testing.assert_allclose(one.squares, expected.squares, rtol=1e-11)
        np.testing.assert_allclose(found.sketch, alone.sketch, rtol=1e-11)
        torch.testing.assert_close(found.mean, alone.mean, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize(
    ("sizes", "told"),
    [([0, 4], "from 1 on"), ([], "none"), ([4, 38], "more than the 37"), ([4, 6], "no multiple of the smallest, 4")],
)
def test_sizes_that_do_not_fit_are_refused(sizes: list[int], told: str) -> None:
    with pytest.raises(OptionError, match=told):
        check_sizes(sizes, 37)
    with pytest.raises(OptionError, match="groups of 128"):
        check_sizes([64, 128], 256, bn="train")


# -- the noise scale -------------------------------------------------------------------------------------------------


def gaussian(N: int, P: int, signal: float, seed: int) -> np.ndarray:
    """Single-sample gradients with Cov = I and |G|^2 = signal, (N, P)."""
    draw = np.random.default_rng(seed)
    G = np.zeros(P)
    G[0] = math.sqrt(signal)
    return G + draw.normal(size=(N, P))


def norms_of(g: np.ndarray, block: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    blocks = [g[low : low + block] for low in range(0, len(g), block)]
    means = np.array([b.mean(0) for b in blocks])
    whole = g.mean(0)
    return (means**2).sum(1), means @ whole, np.array([float(len(b)) for b in blocks])


def test_the_two_sizes_are_those_of_the_paper() -> None:
    """E|g_n|^2 = |G|^2 + S/n with S = 6, |G|^2 = 2 gives them back."""
    assert two_sizes(2 + 6 / 4, 4, 2 + 6 / 32, 32) == pytest.approx((6, 2), rel=1e-12)


def test_blocks_of_one_size_give_the_formula_of_two_sizes() -> None:
    squares, products, weights = norms_of(gaussian(64, 5, 0.5, 0), 8)
    found = noise_scale(squares, products, weights)
    noise, signal = two_sizes(squares.mean(), 8, products.mean(), 64)
    assert (found.noise, found.signal) == pytest.approx((noise, signal), rel=1e-10)
    assert found.scale == pytest.approx(noise / signal, rel=1e-10)


def test_the_jackknife_is_that_of_a_loop() -> None:
    """Each block left out by hand, the last one smaller."""
    g = gaussian(37, 6, 2.0, 1)
    blocks = [list(range(low, min(low + 5, 37))) for low in range(0, 37, 5)]
    found = noise_scale(*norms_of(g, 5))
    values = []
    for left_out in blocks:
        kept = [b for b in blocks if b is not left_out]
        means = np.array([g[b].mean(0) for b in kept])
        weight = np.array([len(b) for b in kept], dtype=float)
        whole = weight @ means / weight.sum()
        noise = (weight * ((means - whole) ** 2).sum(1)).sum() / (len(kept) - 1)
        signal = whole @ whole - noise / weight.sum()
        values.append((noise, signal, noise / signal))
    spread = np.sqrt((len(blocks) - 1) * np.var(np.array(values), axis=0))
    assert (found.noise_stderr, found.signal_stderr, found.scale_stderr) == pytest.approx(tuple(spread), rel=1e-9)


def test_known_noise_is_found_within_its_error() -> None:
    """S = P, |G|^2 known: unbiased over 200 draws (4.5 standard errors of the mean), errors of the right size."""
    P, signal = 20, 1.5
    found = [noise_scale(*norms_of(gaussian(256, P, signal, seed), 8)) for seed in range(200)]
    for name, truth in (("noise", P), ("signal", signal)):
        values = np.array([getattr(one, name) for one in found])
        told = np.array([getattr(one, f"{name}_stderr") for one in found])
        assert abs(values.mean() - truth) < 4.5 * values.std() / math.sqrt(200), name
        assert told.mean() == pytest.approx(values.std(), rel=0.25), name
    inside = [abs(one.scale - P / signal) < 1.96 * one.scale_stderr for one in found]
    assert np.mean(inside) > 0.88


def test_a_hidden_signal_is_not_divided_by() -> None:
    found = [noise_scale(*norms_of(gaussian(96, 50, 0.0, seed), 8)) for seed in range(20)]
    assert sum(one.resolved for one in found) <= 2
    negative = next(one for one in found if one.signal <= 0)
    assert math.isnan(negative.scale)
    assert negative.at_least > 96
    with pytest.raises(NotApplicableError, match="three blocks"):
        noise_scale(*norms_of(gaussian(16, 3, 1.0, 0), 8))


def test_norms_of_a_problem_are_those_of_a_loop() -> None:
    problem = case("batch_norm").problem()
    gradients = batch_gradients(problem, [8])
    found = block_norms(problem, 8, gradients)
    whole = whole_gradient(problem, slice(0, 37))
    for m, low in enumerate(range(0, 37, 8)):
        part = whole_gradient(problem, slice(low, min(low + 8, 37)))
        squares = [float(g.square().sum()) for g in part.values()]
        products = [float((g * whole[name]).sum()) for name, g in part.items()]
        np.testing.assert_allclose(found.squares[m], squares, rtol=1e-10, atol=1e-14)
        np.testing.assert_allclose(found.products[m], products, rtol=1e-9, atol=1e-13)
    assert list(found.weights) == [8, 8, 8, 8, 5]


def test_a_linear_network_has_the_noise_of_its_own_samples() -> None:
    """Blocks of one sample: S is the trace of the sample covariance of the gradients."""
    small = case("linear_regression")
    norms: BlockNorms = noise_norms(small.problem(), size=1, seed=3)
    found = noise_scale(norms.squares.sum(1), norms.products.sum(1), norms.weights)
    rows = [
        torch.cat([g.reshape(-1) for g in whole_gradient(small.problem(), slice(n, n + 1)).values()]) for n in range(37)
    ]
    G = torch.stack(rows).numpy()
    assert found.noise == pytest.approx(np.trace(np.cov(G.T)), rel=1e-10)
    assert found.signal == pytest.approx((G.mean(0) ** 2).sum() - found.noise / 37, rel=1e-9)
    pairs = np.mean([a @ b for a, b in itertools.combinations(G, 2)])
    assert found.signal == pytest.approx(pairs, rel=1e-9)
