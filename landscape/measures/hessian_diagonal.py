"""The diagonal of the Hessian, summarised by substructure.

Legend: P parameters, k probes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from landscape.curvature.products import Way
from landscape.measures.diagonal_estimate import Diagonal, estimate_diagonal
from landscape.measures.distribution import histogram
from landscape.measures.metering import Progress, metered
from landscape.measures.rounding import zero_rounding
from landscape.measures.sharing import Shared
from landscape.parameters import group_parameters, group_positions
from landscape.problem import Problem
from landscape.records import Record

_LEVELS = {"q05": 0.05, "q1": 0.25, "median": 0.5, "q3": 0.75, "q95": 0.95}
_CLEARLY = 2.0  # standard errors below 0 that make an entry negative beyond its noise


@metered
def hessian_diagonal(
    problem: Problem,
    *,
    rtol: float = 0.05,
    budget: float = 200.0,
    seed: int = 0,
    by: str = "role",
    hvp: Way = "exact",
    shared: Shared | None = None,
    on_progress: Progress | None = None,
) -> Record:
    """The diagonal of the Hessian, d^2 L / dtheta_i^2 of every parameter, as a distribution.

    The Gauss-Newton part is exact for up to 16 outputs of a sample, the residual comes from random signs; see
    `landscape.measures.diagonal_estimate`.

    Args:
        problem: the problem.
        rtol: stop where the error of the diagonal, in norm, is this part of the diagonal.
        budget: gradient-equivalents at most; two probes in any case.
        seed: of the probes.
        by: how parameters are grouped.
        hvp: how products are made (see `landscape.curvature.products`).
        shared: what other measures of the same analysis know.
        on_progress: hears the error so far.

    Returns:
        A record: `value` the sum, Tr H, with `groups` and `groups_stderr`; `distribution` of all entries and
        `group_distributions` by group: {q05, q1, median, q3, q95, lowest, highest, negative, clearly_negative}, the
        last two the share of entries below 0 beyond rounding, and below 0 by more than two standard errors; the errors
        of the quantiles and of `negative` in `distribution_stderr` and `group_distributions_stderr`; `relative_error`
        of the diagonal, `probes`, `estimator`, `histogram` of the entries.

    Cost: (1 + 2K)/3 gradient-equivalents and 2.4 a probe.

    Reference: Bekas, Kokiopoulou and Saad 2007; METHODS section 1.
    """
    groups = group_parameters(problem.infos, by)
    found = estimate_diagonal(
        problem,
        rtol=rtol,
        budget=budget,
        seed=seed,
        hvp=hvp,
        shared=shared or Shared(problem),
        on_progress=on_progress,
    )
    names = [info.name for info in problem.infos]
    by_group = {group: found.trace.of([names.index(n) for n in members]) for group, members in groups.items()}
    whole = found.trace.whole()
    everything = _summary(problem, found, slice(None))
    of_groups = {
        group: _summary(problem, found, entries) for group, entries in group_positions(problem.infos, groups).items()
    }
    return Record(
        value=whole.value,
        stderr=whole.stderr,
        sampling_stderr=whole.sampling_stderr,
        converged=found.converged,
        groups={group: e.value for group, e in by_group.items()},
        details={
            "groups_stderr": {group: e.stderr for group, e in by_group.items()},
            "distribution": everything[0],
            "distribution_stderr": everything[1],
            "group_distributions": {group: summary[0] for group, summary in of_groups.items()},
            "group_distributions_stderr": {group: summary[1] for group, summary in of_groups.items()},
            "relative_error": found.relative_error,
            "probes": found.probes,
            "estimator": found.estimator,
            "histogram": histogram(zero_rounding(problem, found.values).cpu().numpy(), anchor=0.0),
        },
    )


def _summary(problem: Problem, found: Diagonal, entries: Tensor | slice) -> tuple[dict[str, Any], dict[str, Any]]:
    """The distribution of some entries, and the errors of its quantiles and of the share below 0."""

    def statistic(diagonal: Tensor) -> np.ndarray:
        chosen = zero_rounding(problem, diagonal)[entries].cpu().numpy()
        return np.array([*np.quantile(chosen, list(_LEVELS.values())), (chosen < 0).mean()])

    keys = [*_LEVELS, "negative"]
    values = zero_rounding(problem, found.values)[entries].cpu().numpy()
    clearly = values < -_CLEARLY * found.variances[entries].sqrt().cpu().numpy()
    known = dict(zip(keys, map(float, statistic(found.values)), strict=True))
    errors = dict(zip(keys, map(float, found.error_of(statistic)), strict=True))
    extremes = {"lowest": float(values.min()), "highest": float(values.max())}
    return {**known, **extremes, "clearly_negative": float(clearly.mean())}, errors
