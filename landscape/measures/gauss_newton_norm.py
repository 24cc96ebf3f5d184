"""The Gauss-Newton norm theta' G theta with the identity in the outputs.

Legend: N samples, K outputs, s substructure.
"""

from __future__ import annotations

import math

from landscape.curvature.output_metrics import one_tensor
from landscape.errors import NotApplicableError
from landscape.linalg.means import sampling_stderr, weighted_mean
from landscape.measures.distribution import histogram, quantiles
from landscape.measures.metering import Progress, metered
from landscape.measures.sharing import Shared
from landscape.measures.theta_products import theta_products
from landscape.problem import Problem
from landscape.records import Record


@metered
def gauss_newton_norm(
    problem: Problem, *, by: str = "role", shared: Shared | None = None, on_progress: Progress | None = None
) -> Record:
    """The squared Gauss-Newton norm theta' G theta = E_x ||J_theta theta||^2, G = E[J_theta' J_theta].

    One forward-mode product a batch gives the J_theta theta of a group, their sum that of the network; nothing is
    sampled. A ReLU or linear network without biases and with L + 1 weight layers has J_theta theta = (L + 1) f, and
    J_theta_l theta_l = f for each layer l: the norm is (L + 1)^2 E||f||^2. It is what weight decay penalises, to first
    order, under an update preconditioned by G.

    Args:
        problem: the problem.
        by: how parameters are grouped.
        shared: what other measures of the same analysis know.
        on_progress: hears the expected cost.

    Returns:
        A record: `value` the squared norm, exact on the chosen samples; `root`; `groups`: theta_s' G_ss theta_s, which
        do not add up, as the cross terms are missing; `quantiles` and `histogram` of the samples' ||J_theta theta||^2.

    Cost: 2/3 gradient-equivalents for each group.

    Raises:
        NotApplicableError: the outputs are not one tensor, or samples depend on each other (bn="train").

    Reference: WD section 4.2, lemma 2.
    """
    if problem.bn == "train":
        raise NotApplicableError("with --bn train the samples of a group depend on each other")
    one_tensor(problem)
    found = theta_products(problem, by, shared, on_progress)
    weights = problem.weights.numpy()
    means_S, own_N = weighted_mean(found.squares, weights), found.squares[:, -1]
    value = float(means_S[-1])
    return Record(
        value=value,
        stderr=0.0,
        sampling_stderr=sampling_stderr(own_N, weights, sampled_share=len(problem) / problem.population),
        groups=dict(zip(found.groups, map(float, means_S[:-1]), strict=True)),
        details={
            "root": math.sqrt(value),
            "quantiles": quantiles(own_N[weights > 0]),
            "histogram": histogram(own_N[weights > 0]),
        },
    )
