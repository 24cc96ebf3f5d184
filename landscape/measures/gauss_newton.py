"""Traces of the Gauss-Newton matrix, of the Fisher matrix and of the connectivity tangent kernel.

All are traces of J' M J with a matrix M in the outputs (`landscape.curvature.output_metrics`): sums of squared
per-sample products, exact where a sample has few outputs.

Legend: N samples, K outputs, P parameters, T parameter tensors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor

from landscape.curvature.gauss_newton import factor_of, slopes, squared_products
from landscape.curvature.linear_tensors import linear_tensors, trial_cost
from landscape.curvature.output_metrics import Metric, one_tensor
from landscape.curvature.per_sample import PerSampleGradients
from landscape.errors import NotApplicableError
from landscape.measures.metering import Progress, announce, metered
from landscape.measures.sharing import Shared
from landscape.measures.trace_estimate import estimate_trace, exact_record, probed_record
from landscape.measures.trace_parts import FEW_OUTPUTS, Blocks, Component, Hutchinson, SquaredProducts, exact_cost
from landscape.parameters import group_parameters, sum_groups
from landscape.problem import Batch, Problem
from landscape.records import Record
from landscape.work import WEIGHTS

_FEW_SAMPLES = 3  # what per-sample gradients are checked on
DEPENDENT = "with --bn train the samples of a group depend on each other"


@metered
def ggn_trace(
    problem: Problem,
    *,
    rtol: float = 0.05,
    budget: float = 200.0,
    seed: int = 0,
    by: str = "role",
    shared: Shared | None = None,
    on_progress: Progress | None = None,
) -> Record:
    """Tr G, the trace of the generalised Gauss-Newton matrix G = E[J_theta' H_f J_theta].

        Tr G = (1/W) sum_n w_n ||J_n' S_n||_F^2,    S_n S_n' = H_f, the Hessian of l_n in the outputs

    G is the part of the Hessian that is left where the network is taken for linear in its parameters; for softmax
    cross-entropy it is the Fisher matrix.

    Exact for up to 16 outputs of a sample, by a backward pass for each, whose weight gradients are squared sample by
    sample and dropped. For more outputs each sample has random signs of its own, beside the term along the slope of its
    loss (`landscape.curvature.gauss_newton`). Where single samples have no products of their own (batch statistics,
    recurrent layers) or the loss no known factor S, it is Hutchinson's estimator with products G v.

    Args:
        problem: the problem.
        rtol: stop at this relative standard error where probes are used.
        budget: gradient-equivalents at most; decides between the exact way and probes too.
        seed: of the probes.
        by: how parameters are grouped.
        shared: what other measures of the same analysis know.
        on_progress: hears the running estimate.

    Returns:
        A record: `value`, `groups` and `tensors`, which add up to it, `estimator` (`exact`, `per-sample` or
        `hutchinson`), `outputs` of a sample; where exact `quantiles` and `histogram` of the samples' own traces, else
        `groups_stderr`, `probes` a block and `blocks`.

    Cost: (1 + 2K)/3 gradient-equivalents exactly; else 1 and 2/3 a probe, with Hutchinson 5/3 a probe.

    Raises:
        NotApplicableError: the outputs are not one tensor.

    Reference: Schraudolph 2002; Martens 2020; METHODS section 1.
    """
    return _trace(problem, "gauss-newton", rtol, budget, seed, by, shared, on_progress)


@metered
def fisher_trace(
    problem: Problem,
    *,
    rtol: float = 0.05,
    budget: float = 200.0,
    seed: int = 0,
    by: str = "role",
    shared: Shared | None = None,
    on_progress: Progress | None = None,
) -> Record:
    """Tr F, the trace of the Fisher matrix with labels from the model.

        Tr F = E_x sum_y p(y|x) ||grad log p(y|x)||^2 = (1/W) sum_n w_n ||J_n' S_n||_F^2,    S_n S_n' = F_f

    with the expectation over the labels in closed form. With the data's own labels in place of the model's
    (`empirical`) it is E_n ||grad l_n||^2, which is another matrix and vanishes where every sample is fitted.

    Args, cost and estimation are those of `ggn_trace`, which is the same number for softmax cross-entropy; the
    empirical variant takes 1 gradient-equivalent more.

    Returns:
        As `ggn_trace`, with `variants`: {model, empirical}, and `empirical_groups`.

    Raises:
        NotApplicableError: the loss defines no label distribution, or samples depend on each other (bn="train").

    Reference: Martens 2020, section 5; Kunstner et al. 2019 (what the empirical one is not); WD section 4.3.
    """
    if problem.fisher_form is None:
        raise NotApplicableError(f"the loss {problem.loss_name} defines no label distribution")
    if problem.bn == "train":
        raise NotApplicableError(DEPENDENT)
    shared = shared or Shared(problem)
    record = _trace(problem, "fisher", rtol, budget, seed, by, shared, on_progress)
    values_T = shared.get("squares", "empirical", lambda: _empirical(problem, shared_gradients(problem, shared))).sum(0)
    tensors = dict(zip(problem.parameters, map(float, values_T), strict=True))
    details: Mapping[str, Any] = {
        **record.details,
        "variants": {"model": record.value, "empirical": float(values_T.sum())},
        "empirical_groups": sum_groups(tensors, group_parameters(problem.infos, by)),
    }
    return replace(record, details=details)


@metered
def ctk_trace(
    problem: Problem,
    *,
    rtol: float = 0.05,
    budget: float = 200.0,
    seed: int = 0,
    by: str = "role",
    shared: Shared | None = None,
    on_progress: Progress | None = None,
) -> Record:
    """The trace of the connectivity tangent kernel, E_x ||J_theta diag(theta)||_F^2.

    The mean squared answer of the outputs to a relative change of each parameter alone, so that a rescaling of units
    that leaves the function alone leaves it too. Its source calls it connectivity sharpness; the measure of that name
    here is another one.

    Args and estimation are those of `ggn_trace`, with the identity in place of the Hessian in the outputs.

    Returns:
        As `ggn_trace`.

    Cost: (1 + 2K)/3 gradient-equivalents exactly; else 1/3 and 2/3 a probe.

    Raises:
        NotApplicableError: the outputs are not one tensor, or samples depend on each other (bn="train").

    Reference: Kim et al. 2023, arXiv:2209.15208 (Scale-invariant Bayesian neural networks with connectivity tangent
    kernel).
    """
    if problem.bn == "train":
        raise NotApplicableError(DEPENDENT)
    return _trace(problem, "outputs", rtol, budget, seed, by, shared, on_progress, scaled=True)


def shared_gradients(problem: Problem, shared: Shared) -> PerSampleGradients:
    """The per-sample gradients that measures of one analysis share; what they are checked by is not counted twice."""
    return shared.get("squares", "gradients", lambda: PerSampleGradients(problem))


def shared_linear(problem: Problem, shared: Shared) -> frozenset[str]:
    """The parameters that the outputs are linear in, each tensor alone: the residual has no diagonal block of them."""
    return shared.get("squares", "linear", lambda: linear_tensors(problem))


def squares_within(
    problem: Problem,
    blocks: Blocks,
    metric: Metric,
    *,
    seed: int,
    budget: float,
    shared: Shared,
    scaled: bool = False,
) -> SquaredProducts | None:
    """The squared products of the metric, exact where there are few outputs and the budget allows.

    None where single samples have no products that can be had together, or M has no known factor.
    """
    if problem.bn == "train":
        return None
    try:
        factor_of(problem, metric)
    except NotApplicableError:
        return None
    gradients = shared_gradients(problem, shared)
    if not gradients.batched:
        return None
    found = SquaredProducts(problem, gradients, blocks, seed, metric, scaled=scaled, shared=shared)
    if found.exact and found.exact_cost > budget:
        return SquaredProducts(problem, gradients, blocks, seed, metric, scaled=scaled, few=0, shared=shared)
    return found


def hessian_squares_trial(problem: Problem) -> float:
    """What it costs at most to find out whether `squares_of_hessian` are there, in gradient-equivalents."""
    few = min(_FEW_SAMPLES, len(problem)) / len(problem)
    return trial_cost(problem) + 2 * WEIGHTS["gradient"] * few


def squares_of_hessian(
    problem: Problem, blocks: Blocks, *, seed: int, budget: float, shared: Shared
) -> SquaredProducts | None:
    """The squared products that are the traces of the Hessian's diagonal blocks too, exactly.

    They are where the outputs are linear in every tensor alone, the loss has a known curvature, a sample has few
    outputs and the budget allows them and what shows that they are; None elsewhere.
    """
    if problem.bn == "train":
        return None
    try:
        outputs = one_tensor(problem)[0].numel()
    except NotApplicableError:
        return None
    budget -= hessian_squares_trial(problem)
    if outputs > FEW_OUTPUTS or budget < exact_cost(outputs):
        return None
    squares = squares_within(problem, blocks, "gauss-newton", seed=seed, budget=budget, shared=shared)
    if squares is None or not shared_linear(problem, shared).issuperset(problem.parameters):
        return None
    return squares


def _trace(
    problem: Problem,
    metric: Metric,
    rtol: float,
    budget: float,
    seed: int,
    by: str,
    shared: Shared | None,
    on_progress: Progress | None,
    *,
    scaled: bool = False,
) -> Record:
    groups = group_parameters(problem.infos, by)
    outputs = one_tensor(problem)[0].numel()
    blocks = Blocks.of(problem)
    squares = squares_within(
        problem, blocks, metric, seed=seed, budget=budget, shared=shared or Shared(problem), scaled=scaled
    )
    if squares is not None and squares.exact:
        announce(on_progress, squares.exact_cost)
        return exact_record(problem, squares.values(), groups, {"estimator": "exact", "outputs": outputs})
    component: Component = squares or Hutchinson(problem, blocks, seed, metric, scaled=scaled)
    found = estimate_trace(problem, blocks, {"trace": component}, rtol=rtol, budget=budget, on_progress=on_progress)
    estimator = "hutchinson" if squares is None else "per-sample"
    return probed_record(problem, found, groups, {"estimator": estimator, "outputs": outputs})


def _empirical(problem: Problem, gradients: PerSampleGradients) -> np.ndarray:
    """w_n/W ||grad l_n||^2 by sample and tensor, (N, T)."""
    values_NT = np.zeros((len(problem), len(problem.infos)))
    for batch in problem.batches():

        def along(outputs: Tensor, batch: Batch = batch) -> list[Tensor]:
            return [slopes(problem, outputs, batch)]

        squares = squared_products(problem, gradients, batch, along)
        values_NT[batch.start : batch.stop] = squares.plain[0].numpy()
    return problem.group.sum_array(values_NT)
