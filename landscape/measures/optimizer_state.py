"""Measures that ask for the state of the optimizer: the effective learning rate, and sharpness as Adam meets it."""

from __future__ import annotations

import math

import numpy as np
import torch

from landscape.curvature.hessian import HessianOperator
from landscape.curvature.products import Way
from landscape.errors import NotApplicableError
from landscape.linalg.scaled import Scaled
from landscape.measures.krylov import eigenvalue_steps, for_eigenvalues, krylov_run
from landscape.measures.metering import Progress, announce, metered
from landscape.problem import Problem
from landscape.problem.fed_layers import normalized_layers
from landscape.records import Record

_UNKNOWN = "the checkpoint does not hold the state of its optimizer, as torch writes it"


@metered
def effective_learning_rate(problem: Problem, *, on_progress: Progress | None = None) -> Record:
    """eta / ||theta_l||^2 of each layer l whose weights feed a batch normalisation; the value is their median.

    The function of such a layer does not change when its weights are scaled, so a step of size eta turns them as a step
    of eta / ||theta_l||^2 would turn weights of norm 1. eta is the rate of the optimizer as it was saved: of a finished
    schedule, that of its last step.

    Args:
        problem: the problem; it knows the rates where its checkpoint holds the optimizer's state.
        on_progress: hears the expected cost.

    Returns:
        A record: `value`, exact; `groups` by layer; `norms` ||theta_l|| and `rates` eta by layer.

    Cost: forward passes of eight samples, to see what feeds a normalisation.

    Raises:
        NotApplicableError: the rates are not known, or no layer feeds a batch normalisation.

    Reference: van Laarhoven 2017; Zhang et al. 2019, arXiv:1810.12281, section 4.1 and figure 3.
    """
    rates = problem.training.rates
    if not rates:
        raise NotApplicableError(_UNKNOWN)
    announce(on_progress, 0.0)
    layers = normalized_layers(problem)
    if not layers:
        raise NotApplicableError("no layer of this network feeds a batch normalisation")
    theta = problem.parameters
    squares = {
        layer: sum(float(theta[name].double().square().sum()) for name in names) for layer, names in layers.items()
    }
    etas = {layer: rates[names[0]] for layer, names in layers.items() if names[0] in rates}
    values = {layer: etas[layer] / square for layer, square in squares.items() if layer in etas and square > 0}
    if not values:
        raise NotApplicableError("every layer that feeds a batch normalisation has weights of norm 0 or is not trained")
    return Record(
        value=float(np.median(list(values.values()))),
        stderr=0.0,
        sampling_stderr=0.0,
        groups=values,
        details={"norms": {layer: math.sqrt(square) for layer, square in squares.items()}, "rates": etas},
    )


@metered
def preconditioned_sharpness(
    problem: Problem,
    *,
    rtol: float = 0.05,
    budget: float = 200.0,
    seed: int = 0,
    hvp: Way = "exact",
    on_progress: Progress | None = None,
) -> Record:
    """The largest eigenvalue of P^-1 H, with P the diagonal preconditioner of Adam.

        P = (1 - beta1^t) diag( sqrt(v / (1 - beta2^t)) + eps )

    from the second moments v after t steps. Adam at a fixed P is stable along an eigenvector only while the eigenvalue
    is below (2 + 2 beta1) / ((1 - beta1) eta), 38/eta at beta1 = 0.9; the eigenvalues are those of the symmetric
    P^-1/2 H P^-1/2, of which Lanczos finds the largest as it does for the Hessian.

    Args:
        problem: the problem; it knows Adam's state where its checkpoint holds it.
        rtol: relative error of the eigenvalue to reach.
        budget: gradient-equivalents at most.
        seed: of the start vector.
        hvp: how products are made.
        on_progress: hears the running estimate.

    Returns:
        A record: `value` the eigenvalue with its error bound as `stderr`; `edge`, the bound above at the saved rate;
        `rate`, `steps` of the optimizer, `products`.

    Cost: 2.4 gradient-equivalents a product.

    Raises:
        NotApplicableError: the checkpoint holds no state of Adam or AdamW.

    Reference: Cohen et al. 2022, "Adaptive gradient methods at the edge of stability", equations 2 and 3.
    """
    adam = problem.training.adam
    if adam is None:
        raise NotApplicableError("the checkpoint holds no state of Adam or AdamW, as torch writes it")
    diagonal = torch.cat([adam.preconditioner(info.name).reshape(-1) for info in problem.infos])
    if not bool((diagonal > 0).all()):
        raise NotApplicableError("Adam's preconditioner is 0 at some parameter: it has no inverse")
    spectrum = krylov_run(
        Scaled(HessianOperator(problem, way=hvp), diagonal.rsqrt()),
        problem.group,
        fewest=1,
        most=eigenvalue_steps(problem, budget),
        top=1,
        rtol=rtol,
        seed=seed,
        on_progress=on_progress,
    )
    spectrum, certain = for_eigenvalues(problem, spectrum, top=1, rtol=rtol, budget=budget)
    ritz = spectrum.space.tridiagonal.ritz()
    edge = (2 + 2 * adam.beta1) / ((1 - adam.beta1) * adam.rate) if adam.rate > 0 and adam.beta1 < 1 else math.nan
    return Record(
        value=float(ritz.values[0]),
        stderr=ritz.error_bound(0),
        sampling_stderr=0.0 if len(problem) >= problem.population else math.nan,
        converged=certain,
        details={"edge": edge, "rate": adam.rate, "steps": adam.steps, "products": spectrum.steps},
    )
