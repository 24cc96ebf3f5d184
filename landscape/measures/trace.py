"""The Hessian trace, by substructure, from probes that are fresh for every fixed block of samples.

Legend: B blocks, k probes a block, P parameters.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from landscape.curvature.gauss_newton import factor_of
from landscape.curvature.output_metrics import one_tensor
from landscape.curvature.per_sample import PerSampleGradients
from landscape.curvature.products import Way
from landscape.curvature.pyhessian import pyhessian_trace
from landscape.errors import NotApplicableError, OptionError
from landscape.measures.metering import Progress, metered
from landscape.measures.sharing import Shared
from landscape.measures.trace_estimate import cost_of, estimate_trace, probed_record
from landscape.measures.trace_parts import Blocks, Component, Hutchinson, SquaredProducts
from landscape.parameters import group_parameters
from landscape.problem import Problem
from landscape.records import Record
from landscape.work import WEIGHTS

Estimator = Literal["auto", "gauss-newton", "hutchinson"]

_FEW_OUTPUTS = 3  # of a sample: that many backward passes give the Gauss-Newton trace exactly


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
        shared: what other measures of the same analysis know.
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
    components = _components(problem, blocks, seed, budget, hvp, estimator, shared)
    found = estimate_trace(problem, blocks, components, rtol=rtol, budget=budget, on_progress=on_progress)
    apart = {name: {"value": e.value, "stderr": e.stderr} for name, e in found.apart().items()}
    kind = "gauss-newton" if len(components) > 1 else "hutchinson"
    return probed_record(problem, found, groups, {"estimator": kind, "parts": apart})


def _components(
    problem: Problem,
    blocks: Blocks,
    seed: int,
    budget: float,
    hvp: Way,
    estimator: Estimator,
    shared: Shared | None,
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
        "gauss_newton": SquaredProducts(
            problem, gradients, blocks, seed, "gauss-newton", few=_FEW_OUTPUTS, shared=shared
        ),
        "residual": Hutchinson(problem, blocks, seed, "residual", hvp),
    }
    affordable = cost_of(apart, dict.fromkeys(apart, 2)) <= budget
    return apart if affordable or estimator == "gauss-newton" else whole


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
