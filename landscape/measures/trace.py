"""The Hessian trace, by substructure, from probes that are fresh for every fixed block of samples.

Legend: B blocks, k probes a block, P parameters, N samples, T tensors, S groups.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from landscape.curvature.per_sample import PerSampleGradients
from landscape.curvature.products import Way
from landscape.curvature.pyhessian import pyhessian_trace
from landscape.errors import OptionError
from landscape.linalg.trace import BlockEstimate, block_estimate
from landscape.measures.metering import Progress, announce, metered
from landscape.measures.trace_parts import Blocks, Component, GaussNewton, Hutchinson
from landscape.parameters import group_parameters
from landscape.problem import Problem
from landscape.records import Record
from landscape.work import WEIGHTS

Estimator = Literal["auto", "gauss-newton", "hutchinson"]

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
    hvp: Way = "exact",
    estimator: Estimator = "auto",
    on_progress: Progress | None = None,
) -> Record:
    """Tr H, the trace of the Hessian of the mean loss.

    Hutchinson's estimator, unbiased over data and probes at once:

        t = sum_b omega_b (1/k) sum_k v_bk' H_b v_bk,    omega_b = W_b / W,

    over the fixed blocks b of 32 samples with Hessian H_b, where probe v_bk of random signs depends on (seed, k, b)
    alone. Its cut by tensors, sum_{i in s} v_i (H v)_i, estimates Tr H_ss.

    Where the loss has a known positive semidefinite Hessian in the outputs (cross-entropy, squared error, binary
    cross-entropy), H is taken apart, H = G + R. The Gauss-Newton trace comes from norms of per-sample products, each
    sample with signs of its own (`landscape.curvature.gauss_newton`; exact for three outputs or fewer), and only the
    residual R is left to Hutchinson's probes: on a trained ResNet-20 the variance of v'Rv is 14 to 80 times below that
    of v'Hv.

    Both parts start with two probes; then each gets as many as lower the common standard error at the least cost.

    Args:
        problem: the problem.
        rtol: stop at this relative standard error.
        budget: gradient-equivalents at most.
        seed: of the probes.
        by: how parameters are grouped (see `landscape.parameters.group_parameters`).
        engine: `landscape`, or `pyhessian` for that package's estimator on the same problem.
        hvp: how products are made (see `landscape.curvature.products`).
        estimator: `gauss-newton` takes H apart, `hutchinson` does not; `auto` does where it can.
        on_progress: hears the running estimate.

    Returns:
        A record with `stderr` from the variance of the probes within blocks, `sampling_stderr` from that
        between blocks less the probes' part, `groups`, `groups_stderr`, `tensors`, `probes` a block, `blocks`,
        `estimator`, and `parts`, the value and standard error of `gauss_newton` and `residual`.

    Cost: 2.4 gradient-equivalents a probe of H or R; 1/3 and 2/3 a probe for G, whose first term takes 2/3 more.

    Raises:
        OptionError: `estimator` is unknown, or `gauss-newton` where H cannot be taken apart.

    Reference: Hutchinson 1990; Schraudolph 2002 for G; METHODS section 1.
    """
    groups = group_parameters(problem.infos, by)
    if engine == "pyhessian":
        return _from_pyhessian(problem, rtol, budget, seed)
    blocks = Blocks.of(problem)
    components = _components(problem, blocks, seed, budget, hvp, estimator)
    share = len(problem) / problem.population
    least = 1 + max(1, math.ceil(_DEGREES_OF_FREEDOM / len(blocks.spans)))
    wanted = _within(budget, components, dict.fromkeys(components, least))
    announce(on_progress, _cost(components, wanted))
    forms = {name: np.empty((len(blocks.spans), 0, len(problem.infos))) for name in components}
    while True:
        for name, component in components.items():
            more = component.sweep(range(forms[name].shape[1], wanted[name]))
            forms[name] = np.concatenate([forms[name], more], axis=1)
        parts = {name: forms[name] + _column(components[name].fixed) for name in components}
        estimate = block_estimate([part.sum(2) for part in parts.values()], blocks.omega, sampled_share=share)
        target = rtol * abs(estimate.value)
        converged = estimate.stderr <= target
        more_wanted = _allocate(components, parts, blocks.omega, wanted, target, budget)
        converged, more_wanted = problem.group.first((bool(converged), more_wanted))
        if converged or more_wanted == wanted:
            break
        wanted = more_wanted
        if on_progress is not None:
            on_progress(f"{estimate.value:.4g} ± {estimate.stderr:.2g}", _cost(components, wanted))
    return _record(problem, parts, blocks, estimate, share, groups, converged=bool(converged))


def _components(
    problem: Problem, blocks: Blocks, seed: int, budget: float, hvp: Way, estimator: Estimator
) -> dict[str, Component]:
    """The parts of the trace: `hessian` alone, or `gauss_newton` and `residual`."""
    if estimator not in ("auto", "gauss-newton", "hutchinson"):
        raise OptionError(f"estimator must be 'auto', 'gauss-newton' or 'hutchinson', got {estimator!r}.")
    whole: dict[str, Component] = {"hessian": Hutchinson(problem, blocks, seed, "hessian", hvp)}
    if estimator == "hutchinson":
        return whole
    reason = _why_whole(problem)
    gradients = None if reason else PerSampleGradients(problem)
    if gradients is not None and not gradients.batched:
        reason = "the per-sample gradients of this network take a backward pass a sample"
    if reason or gradients is None:
        if estimator == "gauss-newton":
            raise OptionError(f"estimator 'gauss-newton' does not apply: {reason}.")
        return whole
    apart: dict[str, Component] = {
        "gauss_newton": GaussNewton(problem, blocks, seed, gradients),
        "residual": Hutchinson(problem, blocks, seed, "residual", hvp),
    }
    affordable = _cost(apart, dict.fromkeys(apart, 2)) <= budget
    return apart if affordable or estimator == "gauss-newton" else whole


def _why_whole(problem: Problem) -> str | None:
    """Why H cannot be taken apart; None where it can."""
    if problem.factor is None:
        return f"no curvature in the outputs is known of the loss {problem.loss_name}"
    if not problem.factor.exists(problem.samples.targets):
        return f"negative weights or targets make the loss {problem.loss_name} no convex function of the outputs"
    if problem.bn == "train":
        return "with --bn train the samples of a group depend on each other"
    with torch.no_grad():
        one = next(problem.batches(0, 1))
        if not isinstance(problem.outputs(problem.parameters, one.inputs), Tensor):
            return "the outputs are not one tensor"
    return None


def _column(fixed: np.ndarray | float) -> np.ndarray | float:
    return fixed[:, None, :] if isinstance(fixed, np.ndarray) else fixed


def _cost(components: Mapping[str, Component], probes: Mapping[str, int]) -> float:
    """Gradient-equivalents of so many probes, with the forward pass and the first term of G."""
    extra = WEIGHTS["forward"] + WEIGHTS["backward"] if "gauss_newton" in components else 0.0
    return extra + sum(c.cost * probes[name] for name, c in components.items())


def _within(budget: float, components: Mapping[str, Component], probes: dict[str, int]) -> dict[str, int]:
    """As many of `probes` as the budget allows: first one of each, then two (a variance), then more."""
    probes = dict(probes)
    while _cost(components, probes) > budget + 1e-9 and max(probes.values()) > 1:
        least = 2 if max(probes.values()) > 2 else 1
        larger = [name for name in probes if probes[name] > least]
        probes[max(larger, key=lambda name: components[name].cost * probes[name])] -= 1
    return probes


def _allocate(
    components: Mapping[str, Component],
    parts: Mapping[str, np.ndarray],
    omega: np.ndarray,
    done: dict[str, int],
    target: float,
    budget: float,
) -> dict[str, int]:
    """How many probes of each part bring the standard error to `target` at the least cost, at most twice as many.

    With the variance V_i of one probe of cost c_i the cost sum c_i k_i is least, for a given sum V_i / k_i = target^2,
    at k_i = sqrt(V_i / c_i) sum_j sqrt(V_j c_j) / target^2.
    """
    variances = {}
    for name, part in parts.items():
        stderr = block_estimate([part.sum(2)], omega, sampled_share=1.0).stderr
        variances[name] = done[name] * stderr**2
    wanted = {}
    total = sum(math.sqrt(v * components[name].cost) for name, v in variances.items())
    for name, v in variances.items():
        needed = math.sqrt(v / components[name].cost) * total / target**2 if target > 0 else math.inf
        if math.isnan(needed):  # one probe tells no variance
            needed = math.inf
        wanted[name] = max(done[name], math.ceil(min(needed, 2 * done[name])))
    if wanted == done:  # each alone is precise enough, the sum is not
        wanted = {name: done[name] + (variances[name] > 0) for name in done}
    fits = _within(budget, components, wanted)
    return {name: max(done[name], fits[name]) for name in done}


def _record(
    problem: Problem,
    parts: Mapping[str, np.ndarray],
    blocks: Blocks,
    estimate: BlockEstimate,
    share: float,
    groups: Mapping[str, Sequence[str]],
    *,
    converged: bool,
) -> Record:
    names = [info.name for info in problem.infos]

    def of(members: Sequence[str]) -> BlockEstimate:
        columns = [names.index(name) for name in members]
        return block_estimate([p[..., columns].sum(2) for p in parts.values()], blocks.omega, sampled_share=share)

    by_group = {group: of(members) for group, members in groups.items()}
    apart = {
        name: block_estimate([part.sum(2)], blocks.omega, sampled_share=share)
        for name, part in parts.items()
        if len(parts) > 1
    }
    return Record(
        value=estimate.value,
        stderr=estimate.stderr,
        sampling_stderr=estimate.sampling_stderr,
        converged=converged,
        groups={group: e.value for group, e in by_group.items()},
        details={
            "groups_stderr": {group: e.stderr for group, e in by_group.items()},
            "tensors": {name: of([name]).value for name in names},
            "probes": max(part.shape[1] for part in parts.values()),
            "blocks": len(blocks.spans),
            "estimator": "gauss-newton" if len(parts) > 1 else "hutchinson",
            "parts": {name: {"value": e.value, "stderr": e.stderr} for name, e in apart.items()},
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
