"""From a checkpoint to its gradients against batch size, fitted exponents and the gradient noise scale."""

from __future__ import annotations

import math
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch

import landscape
from landscape.config.analysis import AnalysisRun
from landscape.config.batch_scaling import BatchScalingSettings
from landscape.curvature.batch_gradients import BatchGradients, SizeStatistics, batch_gradients, check_sizes, shuffled
from landscape.curvature.noise_scale import NoiseScale, block_norms, grouped_noise_scale
from landscape.distributed import ALONE, Group
from landscape.errors import NotApplicableError
from landscape.float32_products import full_products
from landscape.parameters import group_parameters
from landscape.problem import Problem
from landscape.study.batch_scaling import bootstrap_means, fit_exponent, scatter
from landscape.training.schedules.scaling import scaled
from landscape.work import count_work
from landscape.workflows.batch_scaling_document import (
    NOISE_DOMINATED,
    RATE_GROWS,
    WHOLE,
    BatchScaling,
    Exponent,
    GroupScaling,
    Noise,
    Point,
)
from landscape.workflows.out_of_memory import memory_errors
from landscape.workflows.source import Source

OnShare = Callable[[float], None]
"""(the share of the work that is done)"""

# Coordinates whose block gradients are kept for the bootstrap: of all parameters and of each group.
_SKETCH, _LEAST, _MOST = 2**18, 256, 2048


def batch_scaling_checkpoint(
    path: Path | str,
    *,
    settings: BatchScalingSettings | None = None,
    run: AnalysisRun | None = None,
    source: Source | None = None,
    on_share: OnShare | None = None,
    group: Group = ALONE,
) -> BatchScaling:
    """Study a checkpoint; see `batch_scaling`.

    Args:
        path: the checkpoint.
        settings: what decides the values.
        run: how it is run.
        source: where the network and the data come from.
        on_share: hears of the progress.
        group: the processes that share the samples; each calls this function and gets the same study.

    Raises:
        LandscapeError: what is wrong with the file, the data or the settings.
    """
    settings, run, source = settings or BatchScalingSettings(), run or AnalysisRun(), source or Source()
    with memory_errors(run.batch_size):
        problem = source.problem(
            path,
            split=settings.split,
            samples=settings.samples,
            seed=settings.seed,
            dtype=settings.dtype,
            device=group.device,
            bn=settings.bn,
            batch_size=run.batch_size,
        )
        return batch_scaling(problem.across(group), settings, on_share=on_share)


def batch_scaling(
    problem: Problem, settings: BatchScalingSettings | None = None, *, on_share: OnShare | None = None
) -> BatchScaling:
    """Mean |g_i|, parameter stride eta E|g_i| and loss stride eta E g_i^2 of batches of several sizes.

    With exponents fitted to them and their intervals, and the gradient noise scale, for all parameters and by
    substructure. Where samples are as many as the split has, they still count as a draw of a population: the errors are
    those of other data of the same kind.

    Cost: 2 gradient-equivalents.

    Raises:
        OptionError: a batch size is larger than the data, no multiple of the smallest, or there is one alone.
        NotApplicableError: the smallest size fits fewer than three times.
        NonFiniteError: a gradient is NaN or infinite.
    """
    settings = settings or BatchScalingSettings(bn=problem.bn)
    start = time.perf_counter()
    sizes = check_sizes(settings.sizes(len(problem)), len(problem), bn=problem.bn)
    blocks = -(-len(problem) // sizes[0])
    if blocks < 3:
        raise NotApplicableError(
            f"batches of {sizes[0]} of {len(problem)} samples are {blocks}; the errors need three or more: take more "
            "--samples or smaller --batch-sizes."
        )
    groups = {WHOLE: tuple(info.name for info in problem.infos), **group_parameters(problem.infos, settings.by)}
    coordinates = _coordinates(problem, groups, blocks, settings.seed)

    def tell(first: float) -> Callable[[int, int], None]:
        return lambda done, of: None if on_share is None else on_share(first + done / of / 2)

    with full_products(), count_work() as work, memory_errors(problem.batch_size):
        random = shuffled(problem, settings.seed)
        joined = torch.from_numpy(np.concatenate(list(coordinates.values())))
        gradients = batch_gradients(random, sizes, coordinates=joined, on_block=tell(0.0))
        norms = block_norms(random, sizes[0], gradients, on_block=tell(0.5))
    rates = _rates(problem, settings, sizes)
    found: dict[str, GroupScaling] = {}
    first = 0
    for name, names in groups.items():
        sketch = gradients.sketch[:, first : first + len(coordinates[name])]
        first += len(coordinates[name])
        noise = grouped_noise_scale(norms, problem.parameters, names)
        found[name] = _group(problem, names, gradients, sketch, noise, rates, settings)
    cost = float(problem.group.sum_array(np.array(work.gradient_equivalents(len(problem)))))
    return BatchScaling(
        sizes=sizes,
        rates=rates,
        groups=found,
        problem={
            **{key: value for key, value in problem.about.items() if key != "checkpoint"},
            "samples": len(problem),
            "available": problem.population,
            "parameters": problem.size,
            "loss_name": problem.loss_name,
            "bn_mode": problem.bn,
            "dtype": str(problem.dtype).removeprefix("torch."),
            "device": str(problem.device),
        },
        settings={**settings.model_dump(), "lr_batch": _base(problem, settings, sizes)},
        cost=cost,
        seconds=time.perf_counter() - start,
        checkpoint=problem.about.get("checkpoint", {}),
        provenance={
            "landscape": landscape.__version__,
            "torch": str(torch.__version__),
            "python": platform.python_version(),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
        },
    )


def _coordinates(
    problem: Problem, groups: Mapping[str, Sequence[str]], blocks: int, seed: int
) -> dict[str, np.ndarray]:
    """Places in the vector of parameters, for each group those that the seed draws of it."""
    ends = np.cumsum([info.size for info in problem.infos])
    places = {
        info.name: np.arange(end - info.size, end) for info, end in zip(problem.infos, ends.tolist(), strict=True)
    }
    most = min(max(_SKETCH // blocks, _LEAST), _MOST)
    draw = np.random.default_rng([seed, 11])
    found = {}
    for number, (group, names) in enumerate(groups.items()):
        every = np.concatenate([places[name] for name in names])
        count = min(most if number == 0 else most // 2, len(every))
        found[group] = np.sort(draw.choice(every, count, replace=False))
    return found


def _group(
    problem: Problem,
    names: Sequence[str],
    gradients: BatchGradients,
    sketch: np.ndarray,
    noise: NoiseScale,
    rates: Sequence[float],
    settings: BatchScalingSettings,
) -> GroupScaling:
    columns = [column for column, info in enumerate(problem.infos) if info.name in names]
    count = sum(info.size for info in problem.infos if info.name in names)
    sizes, block = [one.size for one in gradients.sizes], gradients.sizes[0].size
    values = np.array([_means(one, columns, count) for one in gradients.sizes])  # (K, 2)
    resampled = bootstrap_means(sketch, gradients.block_weights, sizes, block, len(problem), seed=settings.seed)
    with np.errstate(invalid="ignore", divide="ignore"):
        relative = resampled.std(0, ddof=1) / resampled.mean(0)
    relative = np.where(np.isfinite(relative), relative, math.nan)
    batches = [len(one.weights) for one in gradients.sizes]
    points = []
    for size, many, rate, (gradient, square), (of_gradient, of_square) in zip(
        sizes, batches, rates, values.tolist(), relative.tolist(), strict=True
    ):
        stride, loss = rate * gradient, rate * square
        points.append(
            Point(size, many, gradient, gradient * of_gradient, stride, stride * of_gradient, loss, loss * of_square)
        )
    grows = RATE_GROWS[settings.lr_scaling]
    exponents = {}
    for quantity, column in (("gradient", 0), ("parameter_stride", 0), ("loss_stride", 1)):
        alone = quantity == "gradient"
        scale = np.ones(len(sizes)) if alone else np.asarray(rates)
        expected = NOISE_DOMINATED[quantity] + (0.0 if alone else grows)
        exponents[quantity] = _exponent(
            sizes, values[:, column] * scale, resampled[:, :, column] * scale, batches, expected
        )
    sigma = scatter(sketch, gradients.block_weights)
    noise_plain = Noise(**asdict(noise), resolved=noise.resolved)
    return GroupScaling(count, sigma, tuple(points), exponents, noise_plain)


def _means(one: SizeStatistics, columns: Sequence[int], parameters: int) -> tuple[float, float]:
    """E|g_i| and E g_i^2 over the batches of a size, each of the same weight, and the parameters of a group."""
    absolute = one.absolute[:, columns].sum(1).mean() / parameters
    return float(absolute), float(one.squares[:, columns].sum(1).mean() / parameters)


def _exponent(
    sizes: Sequence[int], values: np.ndarray, resampled: np.ndarray, batches: Sequence[int], expected: float
) -> Exponent:
    if not (values > 0).all() or not (resampled > 0).all():
        return Exponent(math.nan, math.nan, math.nan, math.nan, math.nan, expected)
    law = fit_exponent(sizes, values, resampled, batches)
    return Exponent(law.exponent, law.stderr, *law.interval, law.intercept, expected)


def _rates(problem: Problem, settings: BatchScalingSettings, sizes: Sequence[int]) -> list[float]:
    """eta(n) of each size."""
    known = problem.about.get("checkpoint", {}).get("config", {})
    rate = settings.lr if settings.lr is not None else float(known.get("lr") or 1.0)
    if settings.lr_scaling is None:
        return [rate] * len(sizes)
    return [scaled(rate, settings.lr_scaling, size, _base(problem, settings, sizes)) for size in sizes]


def _base(problem: Problem, settings: BatchScalingSettings, sizes: Sequence[int]) -> int:
    known = problem.about.get("checkpoint", {}).get("config", {})
    return int(settings.lr_batch or known.get("batch_size") or sizes[0])
