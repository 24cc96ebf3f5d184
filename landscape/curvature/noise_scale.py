"""The gradient noise scale: how many samples a batch needs before its mean gradient stands out of its noise.

    B = S / |G|^2,   S = Tr Cov(grad l_n),   G = E grad l_n

Batches of n samples have E |g^(n)|^2 = |G|^2 + S/n. From batches of two sizes b < B follow the unbiased estimates

    |G|^2 = (B |g_B|^2 - b |g_b|^2) / (B - b),   S = (|g_b|^2 - |g_B|^2) / (1/b - 1/B)

(McCandlish et al. 2018, arXiv:1812.06162, equation A.2); S and |G|^2 are averaged before one is divided by the other,
because the quotient of averages is nearly unbiased and the average of quotients is far off. Here the small batches are
disjoint blocks and the large one is all samples, which is the analysis of variance of the blocks' gradients.

Legend: M blocks, T parameter tensors.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from landscape.curvature.batch_gradients import (
    BatchGradients,
    OnBlock,
    batch_gradients,
    block_gradient,
    block_spans,
    shuffled,
)
from landscape.errors import NotApplicableError
from landscape.linalg.precision import wide
from landscape.problem import Problem

QUANTILE = 1.96


@dataclass(frozen=True)
class NoiseScale:
    """S, |G|^2 and their quotient, each with its standard error as a draw of samples.

    Attributes:
        noise, noise_stderr: S.
        signal, signal_stderr: |G|^2; it may come out negative where the noise hides it.
        scale, scale_stderr: S/|G|^2 in samples; NaN where |G|^2 is not above 0.
        at_least: S over the upper end of |G|^2's 95% interval: what can be said where the signal is hidden.
    """

    noise: float
    noise_stderr: float
    signal: float
    signal_stderr: float
    scale: float
    scale_stderr: float
    at_least: float

    @property
    def resolved(self) -> bool:
        """Whether |G|^2 is above 0 by two standard errors, so that the quotient means something."""
        return self.signal > 2 * self.signal_stderr


def two_sizes(small: float, b: float, large: float, B: float) -> tuple[float, float]:
    """S and |G|^2 from the mean squared norms of gradients of batches of b and of B > b samples; see the module."""
    signal = (B * large - b * small) / (B - b)
    noise = (small - large) / (1 / b - 1 / B)
    return noise, signal


def noise_scale(squares: np.ndarray, products: np.ndarray, weights: np.ndarray) -> NoiseScale:
    """The noise scale from the gradients of M disjoint blocks of samples.

    With block weights w_m (the numbers of samples; they may differ), W their sum, g = sum_m w_m g_m / W:

        S = (sum_m w_m |g_m|^2 - W |g|^2) / (M - 1),   |G|^2 = |g|^2 - S/W

    Standard errors by the jackknife over blocks, exact for all three: without block j the norms are

        |g_(j)|^2 = (W^2 |g|^2 - 2 W w_j (g_j . g) + w_j^2 |g_j|^2) / (W - w_j)^2.

    Args:
        squares: (M,) |g_m|^2.
        products: (M,) g_m . g.
        weights: (M,) w_m > 0.

    Raises:
        NotApplicableError: fewer than three blocks.
    """
    M = len(squares)
    if M < 3:
        raise NotApplicableError(f"the gradient noise scale needs three blocks of samples or more, got {M}")
    W = weights.sum()
    whole = float(weights @ products) / W

    def estimates(total: np.ndarray, mean: np.ndarray, weight: np.ndarray, blocks: int) -> np.ndarray:
        noise = (total - weight * mean) / (blocks - 1)
        return np.stack([noise, mean - noise / weight])

    every = float(weights @ squares)
    noise, signal = estimates(np.array(every), np.array(whole), np.array(W), M).tolist()
    rest = W - weights
    norms = (W**2 * whole - 2 * W * weights * products + weights**2 * squares) / rest**2
    without = estimates(every - weights * squares, norms, rest, M - 1)
    noise_stderr, signal_stderr = (_jackknife(values) for values in without)
    scale = noise / signal if signal > 0 else math.nan
    above = without[1] > 0
    ratios = without[0][above] / without[1][above]
    upper = signal + QUANTILE * signal_stderr
    return NoiseScale(
        noise, noise_stderr, signal, signal_stderr,
        scale, _jackknife(ratios) if signal > 0 and above.all() else math.nan,
        noise / upper if upper > 0 else math.inf,
    )  # fmt: skip


@dataclass(frozen=True)
class BlockNorms:
    """|g_m|^2 and g_m . g of each block cut by tensor, (M, T), and the blocks' weights (M,)."""

    squares: np.ndarray
    products: np.ndarray
    weights: np.ndarray


def block_norms(
    problem: Problem, size: int, gradients: BatchGradients, *, on_block: OnBlock | None = None
) -> BlockNorms:
    """The norms of the gradients of blocks of `size` samples and their products with the mean gradient.

    Args:
        problem: with its samples in the order of `gradients`.
        size: of the blocks.
        gradients: of the same problem; its mean is g.
        on_block: hears of the blocks that are done.

    Cost: 1 gradient-equivalent.
    """
    spans = block_spans(len(problem), size)
    theta = problem.parameters
    leaves = {name: tensor.detach().requires_grad_() for name, tensor in theta.items()}
    sizes = [tensor.numel() for tensor in theta.values()]
    weights = np.array([float(problem.weights[low:high].sum()) for low, high in spans])
    values = np.zeros((len(spans), 2, len(theta)))
    own, kind = problem.group.share(len(spans)), wide(problem.device)
    mean = torch.split(gradients.mean, sizes)
    for done, m in enumerate(own, start=1):
        if weights[m] > 0:
            parts = torch.split(block_gradient(problem, leaves, *spans[m]) * (problem.total_weight / weights[m]), sizes)
            rows = [
                torch.stack([p.square().sum(dtype=kind) for p in parts]),
                torch.stack([(p * g).sum(dtype=kind) for p, g in zip(parts, mean, strict=True)]),
            ]
            values[m] = torch.stack(rows).double().cpu().numpy()
        if on_block is not None:
            on_block(done, len(own))
    values = problem.group.sum_array(values)
    kept = weights > 0
    return BlockNorms(values[kept, 0], values[kept, 1], weights[kept])


def noise_norms(problem: Problem, *, size: int = 32, seed: int = 0) -> BlockNorms:
    """`block_norms` of a problem, whose samples are shuffled by `seed` before they are cut into blocks.

    Cost: 2 gradient-equivalents; memory three gradients.

    Raises:
        OptionError: the problem has fewer samples than a block.
        NonFiniteError: a gradient is NaN or infinite.
    """
    random = shuffled(problem, seed)
    return block_norms(random, size, batch_gradients(random, [size]))


def grouped_noise_scale(norms: BlockNorms, theta: Mapping[str, object], names: tuple[str, ...]) -> NoiseScale:
    """The noise scale of some of the parameters."""
    columns = [column for column, name in enumerate(theta) if name in names]
    return noise_scale(norms.squares[:, columns].sum(1), norms.products[:, columns].sum(1), norms.weights)


def _jackknife(values: np.ndarray) -> float:
    n = len(values)
    return float(np.sqrt((n - 1) / n * np.sum((values - values.mean()) ** 2)))
