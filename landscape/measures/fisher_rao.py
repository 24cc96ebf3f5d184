"""The Fisher-Rao norm theta' F theta.

Legend: N samples, K classes, s substructure.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from landscape.curvature.jacobian import parameter_jvp
from landscape.errors import NotApplicableError
from landscape.linalg.means import sampling_stderr, weighted_mean
from landscape.measures.metering import Progress, announce, metered
from landscape.parameters import group_parameters
from landscape.problem import Problem
from landscape.records import Record
from landscape.work import WEIGHTS


@metered
def fisher_rao(problem: Problem, *, by: str = "role", on_progress: Progress | None = None) -> Record:
    """The squared Fisher-Rao norm with labels from the model.

        theta' F theta = E_x Var_{p(x)}(u),   u = J_theta theta,   p(x) = softmax(f(x))

    for softmax cross-entropy; for another loss with a label distribution u' F_f u takes the place of the variance.
    One forward-mode product a batch gives the u of a group, and their sum that of the network; nothing is sampled. With
    the data's labels (`empirical`) it is E (u . dl/df)^2.

    Args:
        problem: the problem.
        by: how parameters are grouped.
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
    form = problem.fisher_form
    if form is None:
        raise NotApplicableError(f"the loss {problem.loss_name} defines no label distribution")
    if problem.bn == "train":
        raise NotApplicableError("with --bn train the samples of a group depend on each other")
    theta = problem.parameters
    groups = group_parameters(problem.infos, by)
    announce(on_progress, WEIGHTS["jvp"] * len(groups))
    # a column a group, one for the network, and one for it with the data's own labels
    values_NS = np.zeros((len(problem), len(groups) + 2))
    for batch in problem.batches():
        rows = slice(batch.start, batch.stop)
        products = [parameter_jvp(problem, theta, batch, {n: theta[n] for n in names}) for names in groups.values()]
        f, us = products[0][0], [u for _, u in products]
        u = torch.stack(us).sum(0)  # linear in the direction, and the groups make up the network
        for column, part in enumerate([*us, u]):
            values_NS[rows, column] = form(f, batch.targets, part).double().cpu()
        leaf = f.detach().requires_grad_()
        (slope,) = torch.autograd.grad(problem.losses_of(leaf, batch).sum(), leaf)
        values_NS[rows, -1] = (slope * u).reshape(len(batch), -1).sum(1).double().square().cpu()
    weights = problem.weights.numpy()
    values_NS = problem.group.sum_array(values_NS)
    *by_group, value, from_data = map(float, weighted_mean(values_NS, weights))
    return Record(
        value=value,
        stderr=0.0,
        sampling_stderr=sampling_stderr(values_NS[:, -2], weights, sampled_share=len(problem) / problem.population),
        groups=dict(zip(groups, by_group, strict=True)),
        details={
            "variants": {
                "model_squared": value,
                "model_root": math.sqrt(value),
                "empirical_squared": from_data,
                "empirical_root": math.sqrt(from_data),
            }
        },
    )
