"""Connectivity sharpness, per sample and per batch.

Legend: N samples, T parameter tensors, G groups of m samples.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from landscape.curvature.hessian import batch_gradient
from landscape.curvature.per_sample import PerSampleGradients
from landscape.errors import NotApplicableError
from landscape.linalg.means import sampling_stderr, weighted_mean
from landscape.linalg.precision import wide
from landscape.measures.distribution import histogram, quantiles
from landscape.measures.metering import Progress, announce, metered
from landscape.parameters import group_parameters, sum_groups
from landscape.problem import BN_GROUP, Problem
from landscape.records import Record


@metered
def connectivity(problem: Problem, *, by: str = "role", on_progress: Progress | None = None) -> Record:
    """Connectivity sharpness C = E_n || dl_n/dtheta ∘ theta ||_1.

    The absolute value is inside the mean over samples. C is the sum of its parts over any partition of the
    parameters, and does not change under a rescaling of units that leaves the function alone.

    Args:
        problem: the problem.
        by: how parameters are grouped.
        on_progress: hears the expected cost.

    Returns:
        A record: `value` C, exact on the chosen samples; `groups` and `tensors` (they add up to C), `histogram` and
        `quantiles` of the samples' values.

    Cost: one to two gradient passes (counted as one); memory that of a training step.

    Raises:
        NotApplicableError: samples depend on each other (bn="train").

    Reference: CS equations 4 and 11.
    """
    theta = problem.parameters
    column = {name: t for t, name in enumerate(theta)}
    groups = group_parameters(problem.infos, by)
    announce(on_progress, 1.0)
    gradients = PerSampleGradients(problem)
    sizes = {name: gradients.cut(name, tensor.abs()) for name, tensor in theta.items()}
    values_NT = torch.zeros(len(problem), len(theta), dtype=torch.float64)
    for batch in problem.batches():
        sums_NT = torch.zeros(len(batch), len(theta), dtype=wide(problem.device), device=problem.device)

        def reduce(name: str, piece: int, rows: slice, G: Tensor, sums_NT: Tensor = sums_NT) -> None:
            sums_NT[rows, column[name]] += G.abs_() @ sizes[name][piece]

        gradients.run(batch, reduce)
        values_NT[batch.start : batch.stop] = sums_NT.cpu()
    weights = problem.weights.numpy()
    of_all_NT = problem.group.sum_array(values_NT.numpy())
    per_sample = of_all_NT.sum(1)
    tensors = dict(zip(theta, map(float, weighted_mean(of_all_NT, weights)), strict=True))
    return Record(
        value=float(weighted_mean(per_sample, weights)),
        stderr=0.0,
        sampling_stderr=sampling_stderr(per_sample, weights, sampled_share=len(problem) / problem.population),
        groups=sum_groups(tensors, groups),
        details={
            "tensors": tensors,
            "quantiles": quantiles(per_sample[weights > 0]),
            "histogram": histogram(per_sample[weights > 0]),
        },
    )


@metered
def connectivity_batch(
    problem: Problem, *, connectivity_batch: int = 128, by: str = "role", on_progress: Progress | None = None
) -> Record:
    """Connectivity sharpness of mini-batches, C_m = E_B || grad L_B ∘ theta ||_1 over batches B of m samples.

    The batches are consecutive groups of m of the chosen samples, weighted by their labels. The signs of samples
    cancel inside a batch, so C_m <= C, and C_1 = C.

    Args:
        problem: the problem.
        connectivity_batch: m; the last group may be smaller, and m is at most the number of samples.
        by: how parameters are grouped.
        on_progress: hears the expected cost.

    Returns:
        A record: `value` C_m, exact on the chosen samples, with `m`; `groups` and `tensors` add up to it.

    Cost: 1 gradient-equivalent.

    Raises:
        NotApplicableError: with bn="train" where m is not the size of a statistics group (128).

    Reference: CS equation 4, in the form that the paper evaluates.
    """
    m = min(connectivity_batch, len(problem))
    if problem.bn == "train" and connectivity_batch != BN_GROUP:
        raise NotApplicableError(
            f"with --bn train the batches are the statistics' groups; use --connectivity-batch {BN_GROUP}"
        )
    announce(on_progress, 1.0)
    groups = group_parameters(problem.infos, by)
    theta = problem.parameters
    weights = problem.weights.numpy()
    leaves = {name: tensor.detach().requires_grad_() for name, tensor in theta.items()}
    spans = [(low, min(low + m, len(problem))) for low in range(0, len(problem), m)]
    spans = [(low, high) for low, high in spans if weights[low:high].sum() > 0]
    omega = np.array([weights[low:high].sum() for low, high in spans])
    values_GT = np.zeros((len(spans), len(theta)))
    for g in problem.group.share(len(spans)):
        low, high = spans[g]
        summed = {name: torch.zeros_like(tensor) for name, tensor in theta.items()}
        for batch in problem.batches(low, high):
            for name, part in batch_gradient(problem, leaves, batch).items():
                summed[name] += part
        row = torch.stack([(summed[name] * theta[name]).abs().sum(dtype=torch.float64) for name in theta])
        values_GT[g] = row.cpu().numpy() * (problem.total_weight / omega[g])
    values_GT = problem.group.sum_array(values_GT)
    tensors = dict(zip(theta, map(float, weighted_mean(values_GT, omega)), strict=True))
    return Record(
        value=float(weighted_mean(values_GT.sum(1), omega)),
        stderr=0.0,
        sampling_stderr=sampling_stderr(values_GT.sum(1), omega, sampled_share=len(problem) / problem.population),
        groups=sum_groups(tensors, groups),
        details={"m": m, "batches": len(spans), "tensors": tensors},
    )
