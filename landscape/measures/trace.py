"""The Hessian trace, by substructure: exactly where the network allows it, else from probes fresh for every block.

Legend: B blocks, k probes a block, P parameters.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from landscape.curvature.gauss_newton import factor_of
from landscape.curvature.output_metrics import one_tensor
from landscape.curvature.products import Way
from landscape.curvature.pyhessian import pyhessian_trace
from landscape.errors import NotApplicableError, OptionError
from landscape.measures.gauss_newton import shared_gradients, shared_linear, squares_of_hessian
from landscape.measures.metering import Progress, announce, metered
from landscape.measures.sharing import Shared
from landscape.measures.trace_estimate import cost_of, estimate_trace, exact_record, probed_record
from landscape.measures.trace_parts import FEW_OUTPUTS, Blocks, Component, Hutchinson, SquaredProducts
from landscape.parameters import group_parameters
from landscape.problem import Problem
from landscape.records import Record
from landscape.work import WEIGHTS

Estimator = Literal["auto", "gauss-newton", "hutchinson"]

_NONE: Mapping[str, float] = {"value": 0.0, "stderr": 0.0, "probes": 0}


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
    shared: Shared | None = None,
    on_progress: Progress | None = None,
) -> Record:
    """Tr H, the trace of the Hessian of the mean loss.

    Hutchinson's estimator, unbiased over data and probes at once:

        t = sum_b omega_b (1/k) sum_k v_bk' H_b v_bk,    omega_b = W_b / W,

    over the fixed blocks b of 32 samples with Hessian H_b, where probe v_bk of random signs depends on (seed, k, b)
    alone. Its cut by tensors, sum_{i in s} v_i (H v)_i, estimates Tr H_ss.

    Where the loss has a known positive semidefinite Hessian in the outputs (cross-entropy, squared error, binary
    cross-entropy), H is taken apart, H = G + R. The Gauss-Newton trace is exact for up to 16 outputs of a sample, by a
    backward pass for each in which every sample's own products are squared; for more each sample has signs of its own
    (`landscape.curvature.gauss_newton`). Only the residual R is left to Hutchinson's probes, and of it the tensors that
    the outputs are not linear in: the others have R_ss = 0 (`landscape.curvature.linear_tensors`). A network of
    convolutions, linear layers, normalisation by running statistics, ReLU and pooling has no others. Its trace is that
    of G, exactly.

    Parts that are probed start with enough probes to trust their variance, where the budget allows those; then each
    gets as many as lower the common standard error at the least cost.

    Args:
        problem: the problem.
        rtol: stop at this relative standard error.
        budget: gradient-equivalents at most.
        seed: of the probes.
        by: how parameters are grouped (see `landscape.parameters.group_parameters`).
        engine: `landscape`, or `pyhessian` for that package's estimator on the same problem.
        hvp: how products are made (see `landscape.curvature.products`).
        estimator: `gauss-newton` takes H apart, `hutchinson` does not; `auto` does where it can.
        shared: what other measures of the same analysis know.
        on_progress: hears the running estimate.

    Returns:
        A record with `stderr` from the variance of the probes within blocks, `sampling_stderr` from that
        between blocks less the probes' part, `groups`, `groups_stderr`, `tensors`, `probes` a block, `blocks`,
        `estimator`, and `parts`, value, standard error and probes of `gauss_newton` and `residual`. Where nothing is
        probed `probes` and `stderr` are 0, `sampling_stderr` is that of the mean over samples, and `quantiles` and
        `histogram` are of the samples' traces.

    Cost: 2.4 gradient-equivalents a probe of H or R; (1 + 2K)/3 for G of K outputs, or 1 and 2/3 a probe.

    Raises:
        OptionError: `estimator` is unknown, or `gauss-newton` where H cannot be taken apart.

    Reference: Hutchinson 1990; Schraudolph 2002 for G; METHODS section 1.
    """
    groups = group_parameters(problem.infos, by)
    if estimator not in ("auto", "gauss-newton", "hutchinson"):
        raise OptionError(f"estimator must be 'auto', 'gauss-newton' or 'hutchinson', got {estimator!r}.")
    if engine == "pyhessian":
        return _from_pyhessian(problem, rtol, budget, seed)
    shared, blocks = shared or Shared(problem), Blocks.of(problem)
    if estimator != "hutchinson":
        exact = squares_of_hessian(problem, blocks, seed=seed, budget=budget, shared=shared)
        if exact is not None:
            return _exactly(problem, blocks, exact, groups, on_progress)
    components = _components(problem, blocks, seed, budget, hvp, estimator, shared)
    found = estimate_trace(problem, blocks, components, rtol=rtol, budget=budget, on_progress=on_progress)
    if "hessian" in components:
        return probed_record(problem, found, groups, {"estimator": "hutchinson", "parts": {}})
    probed = {name: count if components[name].cost else 0 for name, count in found.probes.items()}
    parts = {name: {"value": e.value, "stderr": e.stderr, "probes": probed[name]} for name, e in found.apart().items()}
    return probed_record(problem, found, groups, {"estimator": "gauss-newton", "parts": {"residual": _NONE, **parts}})


def _exactly(
    problem: Problem,
    blocks: Blocks,
    gauss_newton: SquaredProducts,
    groups: Mapping[str, Sequence[str]],
    on_progress: Progress | None,
) -> Record:
    """The trace of a Hessian whose residual has none."""
    announce(on_progress, gauss_newton.exact_cost)
    values_NT = gauss_newton.values()
    parts = {"gauss_newton": {**_NONE, "value": float(values_NT.sum())}, "residual": _NONE}
    details = {"groups_stderr": dict.fromkeys(groups, 0.0), "probes": 0, "blocks": len(blocks.spans), "parts": parts}
    return exact_record(problem, values_NT, groups, {"estimator": "gauss-newton", **details})


def _components(
    problem: Problem,
    blocks: Blocks,
    seed: int,
    budget: float,
    hvp: Way,
    estimator: Estimator,
    shared: Shared,
) -> dict[str, Component]:
    """The parts of the trace: `hessian` alone, or `gauss_newton` and, where it has a trace, `residual`."""
    whole: dict[str, Component] = {"hessian": Hutchinson(problem, blocks, seed, "hessian", hvp)}
    if estimator == "hutchinson":
        return whole
    reason = _why_whole(problem)
    gradients = None if reason else shared_gradients(problem, shared)
    if gradients is not None and not gradients.batched:
        reason = "the per-sample gradients of this network take a backward pass a sample"
    if reason or gradients is None:
        if estimator == "gauss-newton":
            raise OptionError(f"estimator 'gauss-newton' does not apply: {reason}.")
        return whole
    known = shared_linear(problem, shared)
    residual: dict[str, Component] = {}
    if not known.issuperset(problem.parameters):
        residual["residual"] = Hutchinson(problem, blocks, seed, "residual", hvp, zero=known)
    for few in (FEW_OUTPUTS, 0):
        squares = SquaredProducts(problem, gradients, blocks, seed, "gauss-newton", few=few, shared=shared)
        apart: dict[str, Component] = {"gauss_newton": squares, **residual}
        if cost_of(apart, dict.fromkeys(apart, 2)) <= budget:
            return apart
    return apart if estimator == "gauss-newton" else whole


def _why_whole(problem: Problem) -> str | None:
    """Why H cannot be taken apart; None where it can."""
    if problem.bn == "train":
        return "with --bn train the samples of a group depend on each other"
    try:
        factor_of(problem, "gauss-newton")
        one_tensor(problem)
    except NotApplicableError as error:
        return str(error)
    return None


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
