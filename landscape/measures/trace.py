"""The Hessian trace, by substructure, from probes that are fresh for every fixed block of samples.

Legend: B blocks, k probes a block, P parameters, T tensors, S groups.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from landscape.curvature.hessian import block_forms
from landscape.curvature.pyhessian import pyhessian_trace
from landscape.linalg.probes import rademacher
from landscape.linalg.trace import BlockEstimate, block_estimate
from landscape.measures.metering import Progress, announce, metered
from landscape.parameters import group_parameters
from landscape.problem import Problem
from landscape.records import Record
from landscape.work import WEIGHTS

_SCALARS_AT_ONCE = 2**26
_DEGREES_OF_FREEDOM = 16  # B (k - 1) below this makes a standard error too uncertain to stop on


@metered
def hessian_trace(
    problem: Problem,
    *,
    rtol: float = 0.05,
    budget: float = 200.0,
    seed: int = 0,
    by: str = "role",
    engine: str = "landscape",
    on_progress: Progress | None = None,
) -> Record:
    """Tr H, the trace of the Hessian of the mean loss.

    Hutchinson's estimator, unbiased over data and probes at once:

        t = sum_b omega_b (1/k) sum_k v_bk' H_b v_bk,    omega_b = W_b / W,

    over the fixed blocks b of 32 samples with Hessian H_b, where probe v_bk of random signs depends on (seed, k, b)
    alone. Its cut by tensors, sum_{i in s} v_i (H v)_i, estimates Tr H_ss. Two probes a block to begin with; then as
    many as the standard error asks for.

    Args:
        problem: the problem.
        rtol: stop at this relative standard error.
        budget: gradient-equivalents at most.
        seed: of the probes.
        by: how parameters are grouped (see `landscape.parameters.group_parameters`).
        engine: `landscape`, or `pyhessian` for that package's estimator on the same problem.
        on_progress: hears the running estimate.

    Returns:
        A record with `stderr` from the variance of the probes within blocks, `sampling_stderr` from that
        between blocks less the probes' part, `groups`, `groups_stderr`, `tensors`, `probes` a block and `blocks`.

    Cost: 2.4 gradient-equivalents a probe.

    Reference: Hutchinson 1990; METHODS section 1.
    """
    groups = group_parameters(problem.infos, by)
    if engine == "pyhessian":
        return _from_pyhessian(problem, rtol, budget, seed)
    share = len(problem) / problem.population
    weights = problem.weights.numpy()
    blocks = [(b, low, high) for b, (low, high) in enumerate(problem.blocks()) if weights[low:high].sum() > 0]
    omega = np.array([weights[low:high].sum() for _, low, high in blocks]) / problem.total_weight
    affordable = max(1, int(budget / WEIGHTS["hessian_product"] + 1e-9))
    forms_BkT = np.empty((len(blocks), 0, len(problem.infos)))
    wanted = min(affordable, 1 + max(1, math.ceil(_DEGREES_OF_FREEDOM / len(blocks))))
    announce(on_progress, WEIGHTS["hessian_product"] * wanted)
    while True:
        done = forms_BkT.shape[1]
        more = _sweep(problem, blocks, range(done, wanted), seed) / omega[:, None, None]
        forms_BkT = np.concatenate([forms_BkT, more], axis=1)
        estimate = block_estimate(forms_BkT.sum(2), omega, sampled_share=share)
        converged = estimate.stderr <= rtol * abs(estimate.value)
        if converged or wanted >= affordable:
            break
        error = estimate.stderr / (rtol * abs(estimate.value)) if estimate.value else math.inf
        needed = math.ceil(min(wanted * error**2, 2 * wanted, affordable))
        if on_progress is not None:
            on_progress(f"{estimate.value:.4g} ± {estimate.stderr:.2g}", WEIGHTS["hessian_product"] * needed)
        wanted = min(affordable, max(wanted + 1, needed))
    return _record(problem, forms_BkT, omega, estimate, share, groups, converged=bool(converged))


def _sweep(problem: Problem, blocks: Sequence[tuple[int, int, int]], probes: range, seed: int) -> np.ndarray:
    """The forms of new probes, by block and tensor: (B, k, T)."""
    theta = problem.parameters
    at_once = max(1, _SCALARS_AT_ONCE // problem.size)
    result = []
    for b, low, high in blocks:
        columns = []
        for first in range(probes.start, probes.stop, at_once):
            keys = range(first, min(first + at_once, probes.stop))
            V = torch.stack(
                [rademacher(problem.size, seed, k, b, dtype=problem.dtype, device=problem.device) for k in keys], dim=1
            )
            columns.append(block_forms(problem, theta, low, high, V).T.numpy())
        result.append(np.concatenate(columns))
    return np.stack(result)


def _record(
    problem: Problem,
    forms_BkT: np.ndarray,
    omega: np.ndarray,
    estimate: BlockEstimate,
    share: float,
    groups: Mapping[str, Sequence[str]],
    *,
    converged: bool,
) -> Record:
    names = [info.name for info in problem.infos]
    by_group = {
        group: block_estimate(forms_BkT[..., [names.index(n) for n in members]].sum(2), omega, sampled_share=share)
        for group, members in groups.items()
    }
    per_tensor = omega @ forms_BkT.mean(1)
    return Record(
        value=estimate.value,
        stderr=estimate.stderr,
        sampling_stderr=estimate.sampling_stderr,
        converged=converged,
        groups={group: e.value for group, e in by_group.items()},
        details={
            "groups_stderr": {group: e.stderr for group, e in by_group.items()},
            "tensors": {name: float(v) for name, v in zip(names, per_tensor, strict=True)},
            "probes": forms_BkT.shape[1],
            "blocks": forms_BkT.shape[0],
        },
    )


def _from_pyhessian(problem: Problem, rtol: float, budget: float, seed: int) -> Record:
    probes = pyhessian_trace(problem, max_probes=max(2, int(budget / WEIGHTS["hessian_product"])), seed=seed)
    value = float(np.mean(probes))
    stderr = float(np.std(probes, ddof=1) / math.sqrt(len(probes))) if len(probes) > 1 else math.nan
    return Record(
        value=value,
        stderr=stderr,
        sampling_stderr=0.0 if len(problem) >= problem.population else math.nan,
        converged=stderr <= rtol * abs(value),
        details={"engine": "pyhessian", "probes": len(probes)},
    )
