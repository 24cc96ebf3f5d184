"""Gradients of batches of several sizes from one pass over the samples.

The samples are shuffled once and cut into blocks of the smallest size; a batch of n samples is n consecutive ones, and
its gradient the sum of its blocks' gradients. For each size all whole batches count, which share no sample, so that
their gradients are independent draws of g^(n) where the samples are independent draws of the population:

    E g_i^(n) = G_i,   E (g_i^(n))^2 = G_i^2 + S_i / n,   S_i the variance of a single sample's gradient,

for every n up to all samples at once.

Legend: M batches, T parameter tensors, P parameters, D parameters of a sketch, B blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from landscape.curvature.hessian import batch_gradient
from landscape.errors import DataError, NonFiniteError, OptionError
from landscape.linalg.precision import wide
from landscape.parameters import flatten
from landscape.problem import BN_GROUP, Problem


@dataclass(frozen=True)
class SizeStatistics:
    """Sums over the parameters of each tensor, for each batch of one size.

    Attributes:
        size: n, samples in a batch.
        weights: (M,) the sums of the weights of the samples' losses; n where every label counts once.
        absolute: (M, T), sum_i |g_i|.
        squares: (M, T), sum_i g_i^2.
    """

    size: int
    weights: np.ndarray
    absolute: np.ndarray
    squares: np.ndarray


@dataclass(frozen=True)
class BatchGradients:
    """What one pass leaves.

    Attributes:
        sizes: statistics by batch size, ascending.
        mean: G^, the gradient of all samples, (P,) on the problem's device.
        sketch: (B, D) the gradients of the blocks in the chosen coordinates, and the blocks' weights (B,).
    """

    sizes: tuple[SizeStatistics, ...]
    mean: Tensor
    sketch: np.ndarray
    block_weights: np.ndarray


def shuffled(problem: Problem, seed: int) -> Problem:
    """The same problem with its samples in an order that the seed draws: batches of neighbours are then random."""
    order = np.random.default_rng(seed).permutation(len(problem))
    return problem.reordered(torch.from_numpy(order))


def check_sizes(sizes: Sequence[int], samples: int, *, bn: str = "eval") -> list[int]:
    """The sizes in ascending order, each once.

    Raises:
        OptionError: a size is below 1, above the number of samples, or, but for all samples, no multiple of the
            smallest; with bn "train" a size is no multiple of a group of statistics.
    """
    wanted = sorted(set(sizes))
    if not wanted or wanted[0] < 1:
        raise OptionError(f"batch sizes: expected numbers from 1 on, got {', '.join(map(str, wanted)) or 'none'}.")
    if wanted[-1] > samples:
        raise OptionError(f"batch sizes: {wanted[-1]} is more than the {samples} samples; take more --samples.")
    for size in wanted:
        if size % wanted[0] and size != samples:
            raise OptionError(f"batch sizes: {size} is no multiple of the smallest, {wanted[0]}; it must be.")
        if bn == "train" and size % BN_GROUP and size != samples:
            raise OptionError(f"batch sizes: with bn train, statistics are of groups of {BN_GROUP}; {size} cuts one.")
    return wanted


def batch_gradients(
    problem: Problem, sizes: Sequence[int], *, coordinates: Tensor | None = None, on_block: OnBlock | None = None
) -> BatchGradients:
    """The statistics of the gradients of batches of each of `sizes`; see the module.

    A batch's gradient is that of its mean loss, weighted by its labels; a batch without any label is left out.

    Args:
        problem: with its samples in random order (`shuffled`).
        sizes: multiples of the smallest, and possibly all samples.
        coordinates: (D,) of the P parameters, whose block gradients are kept; None: none.
        on_block: hears of the blocks that are done.

    Cost: 1 gradient-equivalent; memory one gradient a size, and B D numbers.

    Raises:
        OptionError: as `check_sizes`.
        NonFiniteError: a gradient is NaN or infinite; the message names the batch.
    """
    wanted = check_sizes(sizes, len(problem), bn=problem.bn)
    spans = block_spans(len(problem), wanted[0])
    group, own = problem.group, problem.group.share(len(spans))
    theta = problem.parameters
    leaves = {name: tensor.detach().requires_grad_() for name, tensor in theta.items()}
    weights = problem.weights.numpy()
    chosen = torch.zeros(0, dtype=torch.long) if coordinates is None else coordinates
    sketch = np.zeros((len(spans), len(chosen)))
    # the gradient of all samples, whether it is a batch or not
    sums = {
        size: torch.zeros(problem.size, dtype=problem.dtype, device=problem.device) for size in {*wanted, len(problem)}
    }
    found = {size: np.zeros((len(problem) // size, 2, len(theta))) for size in wanted}
    cut: dict[tuple[int, int], Tensor] = {}  # parts of batches that several processes share

    def close(size: int, stop: int) -> None:
        """Note the batch that ends at sample `stop`, and begin the next."""
        number = (stop - 1) // size
        if _is_shared(size, number, spans, group.size, len(problem)):
            cut[size, number] = sums[size].clone()
        else:
            found[size][number] = _sums(sums[size], theta, problem.total_weight, weights, size, number)
        sums[size].zero_()

    for done, b in enumerate(own, start=1):
        low, high = spans[b]
        part = block_gradient(problem, leaves, low, high)
        weight = weights[low:high].sum()
        if len(chosen) and weight > 0:
            sketch[b] = part[chosen.to(part.device)].double().cpu().numpy() * (problem.total_weight / weight)
        for size in sums:
            sums[size] += part
            if size in found and size != len(problem) and high % size == 0:
                close(size, high)
        if on_block is not None:
            on_block(done, len(own))
    for size in found:
        if size != len(problem) and len(own) and spans[own[-1]][1] % size:
            last = spans[own[-1]][1]
            if last < len(problem) // size * size:  # another process has the rest of it
                cut[size, last // size] = sums[size].clone()
    mean = group.sum(sums[len(problem)])
    if len(problem) in found:
        share = mean if group.rank == 0 else torch.zeros_like(mean)
        found[len(problem)][0] = _sums(share, theta, problem.total_weight, weights, len(problem), 0)
    for size in wanted:
        for number in range(len(problem) // size):
            if size != len(problem) and _is_shared(size, number, spans, group.size, len(problem)):
                whole = group.sum(cut.get((size, number), torch.zeros_like(mean)))
                if group.rank == 0:
                    found[size][number] = _sums(whole, theta, problem.total_weight, weights, size, number)
    sketch = group.sum_array(sketch)
    statistics = []
    for size in wanted:
        values = group.sum_array(found[size])
        of_batch = np.array([weights[n * size : (n + 1) * size].sum() for n in range(len(values))])
        bad = np.flatnonzero(~np.isfinite(values).all((1, 2)))
        if len(bad):
            first = int(bad[0]) * size
            raise NonFiniteError(f"the gradient of samples {first} to {first + size - 1} is NaN or infinite.")
        kept = of_batch > 0
        if not kept.any():
            raise DataError(f"no batch of {size} samples has a label that counts.")
        statistics.append(SizeStatistics(size, of_batch[kept], values[kept, 0], values[kept, 1]))
    blocks = np.array([weights[low:high].sum() for low, high in spans])
    return BatchGradients(tuple(statistics), mean, sketch, blocks)


OnBlock = Callable[[int, int], None]


def block_spans(samples: int, size: int) -> list[tuple[int, int]]:
    """Blocks of `size` consecutive samples; the last one may be smaller."""
    return [(low, min(low + size, samples)) for low in range(0, samples, size)]


def block_gradient(problem: Problem, leaves: Mapping[str, Tensor], low: int, high: int) -> Tensor:
    """The gradient of the share of samples low ... high - 1 in L, (P,)."""
    total = torch.zeros(problem.size, dtype=problem.dtype, device=problem.device)
    for batch in problem.batches(low, high):
        total += flatten(batch_gradient(problem, leaves, batch))
    return total


def _sums(
    share: Tensor, theta: Mapping[str, Tensor], total: float, weights: np.ndarray, size: int, number: int
) -> np.ndarray:
    """The sums over each tensor of |g_i| and g_i^2, (2, T), of a batch's mean gradient; its share in L is given."""
    weight = weights[number * size : (number + 1) * size].sum()
    if weight == 0:
        return np.zeros((2, len(theta)))
    kind = wide(share.device)
    parts = torch.split(share, [tensor.numel() for tensor in theta.values()])
    values = torch.stack(
        [
            torch.stack([part.abs().sum(dtype=kind) for part in parts]),
            torch.stack([part.square().sum(dtype=kind) for part in parts]),
        ]
    )
    factor = total / weight
    return np.asarray(values.double().cpu().numpy() * np.array([[factor], [factor**2]]))


def _is_shared(size: int, number: int, spans: Sequence[tuple[int, int]], processes: int, samples: int) -> bool:
    """Whether the blocks of a batch belong to several processes."""
    if processes == 1:
        return False
    block = spans[0][1] - spans[0][0]
    first, last = number * size // block, ((number + 1) * size - 1) // block
    return _owner(first, len(spans), processes) != _owner(last, len(spans), processes)


def _owner(block: int, blocks: int, processes: int) -> int:
    """The process that has a block, see `landscape.distributed.Group.share`."""
    return next(r for r in range(processes) if block < blocks * (r + 1) // processes)
