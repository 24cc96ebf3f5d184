"""The input-output Jacobian norm.

Legend: N samples, K outputs, d input values, B blocks, k probes.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from landscape.curvature.jacobian import InputJacobian
from landscape.errors import NotApplicableError
from landscape.linalg.means import sampling_stderr, weighted_mean
from landscape.linalg.probes import rademacher
from landscape.linalg.trace import block_estimate, probes_wanted
from landscape.measures.distribution import histogram, quantiles
from landscape.measures.metering import Progress, announce, metered
from landscape.problem import Problem
from landscape.records import Record
from landscape.work import WEIGHTS

_SCALARS_AT_ONCE = 2**25

Outputs = Literal["logits", "probabilities"]


@metered
def jacobian_norm(
    problem: Problem,
    *,
    rtol: float = 0.05,
    budget: float = 200.0,
    seed: int = 0,
    of: Outputs = "logits",
    on_progress: Progress | None = None,
) -> Record:
    """The mean squared Frobenius norm of the input-output Jacobian on logits, E_x ||J_x||_F^2 with J_x = df/dx (K x d).

    With `of="probabilities"` that of p = softmax(f): dp/dx = (diag(p) - p p') J_x.

    Exact by K vector-Jacobian products a batch where that is within the budget; the spectral norm comes from the
    same rows by the eigenvalues of J J'. For more classes E_v ||J_x' v||^2 with random signs v, fresh for every
    block of samples.

    Args:
        problem: the problem.
        rtol: stop at this relative standard error where probes are used.
        budget: gradient-equivalents at most; decides between the exact way and probes.
        seed: of the probes.
        of: which outputs; where the way is exact, the mean squared norms of both are in the record.
        on_progress: hears the running estimate of probes.

    Returns:
        A record: `value`, `of`, `exact`, `classes` K, `probes`; where exact `logits` and `probabilities`, the value of
            either, and exact `spectral_norm` (mean over the samples),
            `quantiles` and
        `histogram` of the samples' squared norms. Each sample counts with its weight in the loss.

    Cost: (1 + 2K)/3 gradient-equivalents exactly; 2/3 a probe and 1/3 for each doubling of their number.

    Raises:
        NotApplicableError: the outputs are not (N, K), the inputs are not one floating tensor, or samples
            depend on each other (bn="train").

    Reference: Novak et al. 2018; WD section 4.
    """
    if problem.bn == "train":
        raise NotApplicableError("with --bn train the samples of a group depend on each other")
    first = InputJacobian(problem, problem.parameters, next(problem.batches(0, 1)))
    classes = first.outputs.shape[1]
    if (1 + 2 * classes) / 3 <= budget:
        announce(on_progress, (1 + 2 * classes) / 3)
        return _exact(problem, of, classes, first.vjp(torch.ones_like(first.outputs)).shape[1])
    return _by_probes(problem, of, classes, rtol, budget, seed, on_progress)


def _exact(problem: Problem, of: Outputs, classes: int, d: int) -> Record:
    theta = problem.parameters
    size = max(1, min(problem.batch_size, _SCALARS_AT_ONCE // (classes * d)))
    values_N3 = np.zeros((len(problem), 3))  # squared norms of both, spectral norm of the one that is asked for
    for batch in problem.batches(size=size):
        jacobian = InputJacobian(problem, theta, batch)
        rows_NKd = jacobian.rows()
        gram_NKK = rows_NKd @ rows_NKd.mT
        slope_NKK = _softmax_slope(jacobian.outputs.detach())
        of_p_NKK = slope_NKK @ gram_NKK @ slope_NKK
        rows = slice(batch.start, batch.stop)
        for column, gram in enumerate((gram_NKK, of_p_NKK)):
            values_N3[rows, column] = gram.diagonal(dim1=1, dim2=2).sum(1, dtype=torch.float64).cpu()
        # LAPACK refuses what is not finite, in words of its own; the norm is then NaN as well, and told in ours
        asked = gram_NKK if of == "logits" else of_p_NKK
        top = torch.linalg.eigvalsh(asked.nan_to_num(0.0, 0.0, 0.0))[:, -1]
        values_N3[rows, 2] = top.clamp_min(0).sqrt().double().cpu()
    weights = problem.weights.numpy()
    *both, spectral = problem.group.sum_array(values_N3).T
    values = both[0 if of == "logits" else 1]
    return Record(
        value=float(weighted_mean(values, weights)),
        stderr=0.0,
        sampling_stderr=sampling_stderr(values, weights, sampled_share=len(problem) / problem.population),
        details={
            "spectral_norm": float(weighted_mean(spectral, weights)),
            "quantiles": quantiles(values[weights > 0]),
            "histogram": histogram(values[weights > 0]),
            "exact": True,
            "of": of,
            "logits": float(weighted_mean(both[0], weights)),
            "probabilities": float(weighted_mean(both[1], weights)),
            "classes": classes,
        },
    )


def _softmax_slope(logits_NK: Tensor) -> Tensor:
    """dp/df = diag(p) - p p' of each sample, (N, K, K)."""
    p_NK = torch.softmax(logits_NK, 1)
    return torch.diag_embed(p_NK) - p_NK[:, :, None] * p_NK[:, None, :]


def _by_probes(
    problem: Problem, of: Outputs, classes: int, rtol: float, budget: float, seed: int, on_progress: Progress | None
) -> Record:
    weights = problem.weights.numpy()
    blocks = [(b, low, high) for b, (low, high) in enumerate(problem.blocks()) if weights[low:high].sum() > 0]
    omega = np.array([weights[low:high].sum() for _, low, high in blocks]) / problem.total_weight
    own = {b for b, _, _ in problem.own_blocks()}
    wanted = probes_wanted(len(blocks))
    # every doubling repeats the forward pass
    sweeps = 1 + max(0, math.ceil(math.log2(max(budget / WEIGHTS["backward"] / wanted, 1))))
    affordable = max(1, int((budget - sweeps * WEIGHTS["forward"]) / WEIGHTS["backward"] + 1e-9))
    wanted = min(wanted, affordable)
    values_Bk = np.empty((len(blocks), 0))
    while True:
        new = range(values_Bk.shape[1], wanted)
        more_Bk = np.zeros((len(blocks), len(new)))
        for row, (b, low, high) in enumerate(blocks):
            if b in own:
                more_Bk[row] = _block_probes(problem, of, b, low, high, new, seed)
        values_Bk = np.concatenate([values_Bk, problem.group.sum_array(more_Bk)], axis=1)
        estimate = block_estimate([values_Bk], omega, sampled_share=len(problem) / problem.population)
        converged = estimate.within(rtol * abs(estimate.value))
        if problem.group.first(converged or wanted >= affordable):
            break
        wanted = min(affordable, 2 * wanted)
        if on_progress is not None:
            on_progress(f"{estimate.value:.4g} ± {estimate.stderr:.2g}", 1 / 3 + WEIGHTS["backward"] * wanted)
    return Record(
        value=estimate.value,
        stderr=estimate.stderr,
        sampling_stderr=estimate.sampling_stderr,
        converged=converged,
        details={"spectral_norm": math.nan, "exact": False, "of": of, "classes": classes, "probes": wanted},
    )


def _block_probes(
    problem: Problem, of: Outputs, block: int, low: int, high: int, probes: range, seed: int
) -> np.ndarray:
    """The weighted mean of ||J' v||^2 over a block for each new probe: (k,)."""
    theta, total = problem.parameters, problem.weights[low:high].sum()
    result = np.zeros(len(probes))
    for batch in problem.batches(low, high):
        jacobian = InputJacobian(problem, theta, batch)
        shape = (high - low, jacobian.outputs.shape[1])
        for column, k in enumerate(probes):
            signs = rademacher(shape[0] * shape[1], seed, k, block, dtype=problem.dtype).view(shape)
            mine = signs[batch.start - low : batch.stop - low].to(problem.device)
            if of == "probabilities":  # J_p' v = J' (diag(p) - p p') v
                p = torch.softmax(jacobian.outputs.detach(), 1)
                mine = p * (mine - (p * mine).sum(1, keepdim=True))
            norms = jacobian.vjp(mine).square().sum(1, dtype=torch.float64)
            result[column] += float((norms * batch.weights.double()).sum() / total)
    return result
