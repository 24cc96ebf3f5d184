"""What u = J_theta theta, the answer of the outputs to a scaling of all parameters, gives for each sample.

Legend: N samples, S groups of parameters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from landscape.curvature.gauss_newton import slopes
from landscape.curvature.jacobian import parameter_jvp
from landscape.measures.metering import Progress, announce
from landscape.measures.sharing import Shared
from landscape.parameters import group_parameters
from landscape.problem import Problem
from landscape.work import WEIGHTS


@dataclass(frozen=True)
class ThetaProducts:
    """Forms of u by sample and part, (N, S + 1): a column a group, the last one for the network.

    Attributes:
        groups: of the columns.
        squares: ||u||^2.
        fisher: u' F_f u, None where the loss defines no label distribution.
        empirical: (u . dl/df)^2 of the whole network, (N,); None likewise.
    """

    groups: tuple[str, ...]
    squares: np.ndarray
    fisher: np.ndarray | None
    empirical: np.ndarray | None


def theta_products(problem: Problem, by: str, shared: Shared | None, on_progress: Progress | None) -> ThetaProducts:
    """The forms of all samples. Cost: 2/3 gradient-equivalents for each group."""
    groups = group_parameters(problem.infos, by)
    announce(on_progress, WEIGHTS["jvp"] * len(groups))
    return (shared or Shared(problem)).get("theta products", by, lambda: _compute(problem, groups))


def _compute(problem: Problem, groups: Mapping[str, Sequence[str]]) -> ThetaProducts:
    theta, form = problem.parameters, problem.fisher_form
    squares_NS = np.zeros((len(problem), len(groups) + 1))
    fisher_NS, empirical_N = np.zeros_like(squares_NS), np.zeros(len(problem))
    for batch in problem.batches():
        rows = slice(batch.start, batch.stop)
        products = [parameter_jvp(problem, theta, batch, {n: theta[n] for n in names}) for names in groups.values()]
        f, us = products[0][0], [u for _, u in products]
        u = torch.stack(us).sum(0)  # linear in the direction, and the groups make up the network
        for column, part in enumerate([*us, u]):
            squares_NS[rows, column] = part.reshape(len(batch), -1).double().square().sum(1).cpu()
            if form is not None:
                fisher_NS[rows, column] = form(f, batch.targets, part).double().cpu()
        if form is not None:
            along = (slopes(problem, f, batch) * u).reshape(len(batch), -1).sum(1)
            empirical_N[rows] = along.double().square().cpu()
    squares_NS, fisher_NS, empirical_N = (problem.group.sum_array(a) for a in (squares_NS, fisher_NS, empirical_N))
    if form is None:
        return ThetaProducts(tuple(groups), squares_NS, None, None)
    return ThetaProducts(tuple(groups), squares_NS, fisher_NS, empirical_N)
