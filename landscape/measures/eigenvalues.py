"""The largest eigenvalues of the Hessian and of the Gauss-Newton matrix.

Legend: P parameters, m Lanczos steps, k eigenpairs asked for.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from landscape.curvature.hessian import HessianOperator, Matrix, block_forms
from landscape.curvature.output_metrics import metric_form, one_tensor
from landscape.curvature.products import Way
from landscape.curvature.pyhessian import pyhessian_eigenvalues
from landscape.linalg.exclusion import excluded_above
from landscape.linalg.means import sampling_stderr
from landscape.measures.krylov import (
    Spectrum,
    compute_spectrum,
    eigenvalue_steps,
    for_eigenvalues,
    krylov_run,
    until_certain,
)
from landscape.measures.metering import Progress, metered
from landscape.parameters import group_parameters, sum_groups
from landscape.problem import Problem
from landscape.records import Record
from landscape.work import WEIGHTS

_GAUSS_NEWTON_PRODUCT = WEIGHTS["jvp"] + WEIGHTS["gradient"]
_GAUSS_NEWTON = 1_000_007  # keeps the start apart from that of other runs


@metered
def top_eigenvalues(
    problem: Problem,
    *,
    rtol: float = 0.05,
    budget: float = 200.0,
    top: int = 3,
    seed: int = 0,
    hvp: Way = "exact",
    by: str = "role",
    engine: str = "landscape",
    spectrum: Spectrum | None = None,
    on_progress: Progress | None = None,
) -> Record:
    """The largest eigenvalues of the Hessian of the mean loss, and the most negative Ritz value.

    Lanczos: Ritz pairs (theta, u) with residual norm ||H u - theta u||; some eigenvalue lies within
    min(residual, residual^2/gap) of theta. That none larger was missed is a second question, which the random start
    answers with a probability (`landscape.linalg.exclusion`); `converged` asks for both.

    Args:
        problem: the problem.
        rtol: relative error of the largest eigenvalue to reach.
        budget: gradient-equivalents at most.
        top: how many of the largest to report; `rtol` and `converged` concern the first alone.
        seed: of the start vector.
        hvp: how products are made (see `landscape.curvature.products`).
        by: how parameters are grouped.
        engine: `landscape`, or `pyhessian` for that package's power iteration on the same problem.
        spectrum: a Krylov run to use instead of a new one.
        on_progress: hears the running estimate.

    Returns:
        A record: `value` the largest algebraic eigenvalue, `stderr` its error bound, `sampling_stderr` to first
            order the
        standard error of u' H u over the blocks of samples, `eigenvalues` and `residuals` (k, descending),
        `most_negative` and its residual, `excluded_above`: the value above which an eigenvalue is excluded with 99.9%
        confidence, `products`; `groups`: theta ||u_s||^2, which add up to the value.

    Cost: 2.4 gradient-equivalents a product, and one product for `sampling_stderr` where the samples are a subset.

    Reference: Lanczos 1950; Parlett 1998, chapters 11 and 13.
    """
    groups = group_parameters(problem.infos, by)
    if engine == "pyhessian":
        return _from_pyhessian(problem, rtol, budget, top, seed, groups)
    most = eigenvalue_steps(problem, budget)
    shared = spectrum is not None
    if spectrum is None:
        spectrum = compute_spectrum(
            problem, fewest=1, most=most, top=top, rtol=rtol, seed=seed, hvp=hvp, on_progress=on_progress
        )
    spectrum, certain = for_eigenvalues(problem, spectrum, top=top, rtol=rtol, budget=budget)
    ritz = spectrum.space.tridiagonal.ritz()
    lowest = {"most_negative": float(ritz.values[-1]), "most_negative_residual": float(ritz.residuals[-1])}
    record = _record(problem, spectrum, certain, "hessian", top, groups, lowest)
    return replace(record, cost=spectrum.cost, seconds=spectrum.seconds) if shared else record


@metered
def ggn_top_eigenvalues(
    problem: Problem,
    *,
    rtol: float = 0.05,
    budget: float = 200.0,
    top: int = 3,
    seed: int = 0,
    by: str = "role",
    on_progress: Progress | None = None,
) -> Record:
    """The largest eigenvalues of the generalised Gauss-Newton matrix G = E[J_theta' H_f J_theta].

    Lanczos as in `top_eigenvalues`, with products G v: a forward-mode pass, the Hessian of the loss in the outputs, and
    a backward pass; no second derivative of the network. For softmax cross-entropy it is the Fisher matrix. Its
    distance to the Hessian's is what the curvature of the network itself adds.

    Args:
        problem: the problem.
        rtol: relative error of the largest eigenvalue to reach.
        budget: gradient-equivalents at most.
        top: how many of the largest to report; `rtol` and `converged` concern the first alone.
        seed: of the start vector.
        by: how parameters are grouped.
        on_progress: hears the running estimate.

    Returns:
        A record as that of `top_eigenvalues`, without `most_negative`: with a convex loss G is positive semidefinite.

    Cost: 5/3 gradient-equivalents a product, and 2/3 for `sampling_stderr` where the samples are a subset.

    Raises:
        NotApplicableError: the outputs are not one tensor.

    Reference: Schraudolph 2002 (the product); Papyan 2020 (its spectrum); METHODS section 1.
    """
    groups = group_parameters(problem.infos, by)
    one_tensor(problem)
    most = eigenvalue_steps(problem, budget, _GAUSS_NEWTON_PRODUCT)
    run = krylov_run(
        HessianOperator(problem, matrix="gauss-newton"),
        problem.group,
        fewest=1,
        most=most,
        top=top,
        rtol=rtol,
        seed=seed,
        keys=(_GAUSS_NEWTON,),
        product=_GAUSS_NEWTON_PRODUCT,
        on_progress=on_progress,
    )
    run, certain = until_certain(run, most, top + 1, rtol)
    return _record(problem, run, certain, "gauss-newton", top, groups, {})


def _record(
    problem: Problem,
    run: Spectrum,
    certain: bool,
    matrix: Matrix,
    top: int,
    groups: Mapping[str, Sequence[str]],
    details: Mapping[str, Any],
) -> Record:
    ritz = run.space.tridiagonal.ritz()
    vector = run.space.ritz_vectors(ritz.vectors[:, :1])
    value, excluded = float(ritz.values[0]), excluded_above(run.space.tridiagonal, problem.size)
    return Record(
        value=value,
        stderr=ritz.error_bound(0),
        sampling_stderr=rayleigh_sampling_stderr(problem, vector, matrix=matrix),
        converged=certain,
        groups=_eigenvalue_groups(problem, value, vector[:, 0], groups),
        details={
            "eigenvalues": [float(v) for v in ritz.values[:top]],
            "residuals": [float(r) for r in ritz.residuals[:top]],
            **details,
            "excluded_above": excluded if math.isfinite(excluded) else None,
            "products": run.steps,
        },
    )


def rayleigh_sampling_stderr(
    problem: Problem, vector: Tensor, *, matrix: Matrix = "hessian", names: Sequence[str] | None = None
) -> float:
    """The standard error of u' A u over the blocks: to first order a change dA moves the eigenvalue by u' dA u.

    Args:
        problem: the problem.
        vector: u, (P, 1).
        matrix: A.
        names: the parameters of a diagonal block of A, whose u it is.

    Cost: a product of the Hessian, or 2/3 gradient-equivalents; nothing where all samples are used.
    """
    if len(problem) >= problem.population:
        return 0.0
    theta, weights = problem.parameters, problem.weights.numpy()
    theta = theta if names is None else {name: theta[name] for name in names}
    blocks = [(low, high) for low, high in problem.blocks() if weights[low:high].sum() > 0]
    omega = np.array([weights[low:high].sum() for low, high in blocks]) / problem.total_weight
    own = {low for _, low, _ in problem.own_blocks()}

    def form(low: int, high: int) -> float:
        if matrix == "hessian" or matrix == "residual":
            return float(block_forms(problem, theta, low, high, vector, matrix=matrix).sum())
        return sum(metric_form(problem, theta, batch, vector[:, 0], matrix) for batch in problem.batches(low, high))

    forms = problem.group.sum_array(np.array([form(low, high) if low in own else 0.0 for low, high in blocks]))
    return sampling_stderr(forms / omega, omega, sampled_share=len(problem) / problem.population)


def _eigenvalue_groups(
    problem: Problem, value: float, vector: Tensor, groups: Mapping[str, Sequence[str]]
) -> dict[str, float]:
    """theta ||u_s||^2 by group for a unit eigenvector u (P,): the parts add up to theta."""
    pieces = torch.split(vector.double().square(), [info.size for info in problem.infos])
    share = {info.name: float(piece.sum()) for info, piece in zip(problem.infos, pieces, strict=True)}
    return sum_groups({name: value * part for name, part in share.items()}, groups)


def _from_pyhessian(
    problem: Problem, rtol: float, budget: float, top: int, seed: int, groups: Mapping[str, Sequence[str]]
) -> Record:
    # a product a vector measures the residuals, one the sampling error
    products = max(1, (eigenvalue_steps(problem, budget) - top) // top)
    values, vectors = pyhessian_eigenvalues(problem, top=top, max_products=products, seed=seed)
    # what power iteration reports has no error; one product a vector measures it
    residuals = (HessianOperator(problem).matmat(vectors) - vectors * torch.from_numpy(values).to(vectors)).norm(dim=0)
    order = np.argsort(values)[::-1]
    first = int(order[0])
    return Record(
        value=float(values[first]),
        stderr=float(residuals[first]),
        sampling_stderr=rayleigh_sampling_stderr(problem, vectors[:, first : first + 1]),
        # it finds the largest in magnitude: if all of those are negative, the largest algebraic one was not found
        converged=bool(values[first] > 0 and residuals[first] <= rtol * abs(values[first])),
        groups=_eigenvalue_groups(problem, float(values[first]), vectors[:, first], groups),
        details={
            "engine": "pyhessian",
            "eigenvalues": [float(values[i]) for i in order],
            "residuals": [float(residuals[int(i)]) for i in order],
        },
    )
