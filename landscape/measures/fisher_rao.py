"""The Fisher-Rao norm theta' F theta.

Legend: N samples, K classes, s substructure.
"""

from __future__ import annotations

import math

from landscape.errors import NotApplicableError
from landscape.linalg.means import sampling_stderr, weighted_mean
from landscape.measures.metering import Progress, metered
from landscape.measures.sharing import Shared
from landscape.measures.theta_products import theta_products
from landscape.problem import Problem
from landscape.records import Record


@metered
def fisher_rao(
    problem: Problem, *, by: str = "role", shared: Shared | None = None, on_progress: Progress | None = None
) -> Record:
    """The squared Fisher-Rao norm with labels from the model.

        theta' F theta = E_x Var_{p(x)}(u),   u = J_theta theta,   p(x) = softmax(f(x))

    for softmax cross-entropy; for another loss with a label distribution u' F_f u takes the place of the variance.
    One forward-mode product a batch gives the u of a group, and their sum that of the network; nothing is sampled. With
    the data's labels (`empirical`) it is E (u . dl/df)^2.

    Args:
        problem: the problem.
        by: how parameters are grouped.
        shared: what other measures of the same analysis know.
        on_progress: hears the expected cost.

    Returns:
        A record: `value` the squared norm; `variants` {model, empirical} x {squared, root}; `groups`: theta_s' F_ss
            theta_s, from u with
        theta restricted to s. They do not add up: the cross terms are missing.

    Cost: 2/3 gradient-equivalents for each group.

    Raises:
        NotApplicableError: the loss defines no label distribution, or samples depend on each other (bn="train").

    Reference: Liang et al. 2019; CS equation 8.
    """
    if problem.fisher_form is None:
        raise NotApplicableError(f"the loss {problem.loss_name} defines no label distribution")
    if problem.bn == "train":
        raise NotApplicableError("with --bn train the samples of a group depend on each other")
    found = theta_products(problem, by, shared, on_progress)
    assert found.fisher is not None, "the loss has a label distribution"
    assert found.empirical is not None, "the loss has a label distribution"
    weights = problem.weights.numpy()
    means_S = weighted_mean(found.fisher, weights)
    value, from_data = float(means_S[-1]), float(weighted_mean(found.empirical, weights))
    return Record(
        value=value,
        stderr=0.0,
        sampling_stderr=sampling_stderr(found.fisher[:, -1], weights, sampled_share=len(problem) / problem.population),
        groups=dict(zip(found.groups, map(float, means_S[:-1]), strict=True)),
        details={
            "variants": {
                "model_squared": value,
                "model_root": math.sqrt(value),
                "empirical_squared": from_data,
                "empirical_root": math.sqrt(from_data),
            }
        },
    )
