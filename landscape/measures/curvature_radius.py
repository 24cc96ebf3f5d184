"""The radius of curvature of the loss along each parameter, and its median over substructures.

Legend: P parameters, k probes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from landscape.curvature.hessian import gradient
from landscape.curvature.products import Way
from landscape.measures.diagonal_estimate import Diagonal, estimate_diagonal
from landscape.measures.distribution import histogram, quantiles
from landscape.measures.metering import Progress, announce, metered
from landscape.measures.rounding import zero_rounding
from landscape.measures.sharing import Shared
from landscape.parameters import flatten, group_parameters, group_positions
from landscape.problem import Problem
from landscape.records import Record

Radii = Literal["diagonal", "parabola"]
CAP = 1e6


@dataclass(frozen=True)
class Radius:
    """The radii of one group of parameters.

    Attributes:
        median: of the radii, those above the cap as the cap; NaN where none is defined.
        capped: how many were above the cap or infinite.
        undefined: how many were 0/0, and left out.
        size: parameters in all.
    """

    median: float
    capped: int
    undefined: int
    size: int


@metered
def curvature_radius(
    problem: Problem,
    *,
    rtol: float = 0.05,
    budget: float = 200.0,
    seed: int = 0,
    by: str = "role",
    hvp: Way = "exact",
    radii: Radii = "diagonal",
    cap: float = CAP,
    shared: Shared | None = None,
    on_progress: Progress | None = None,
) -> Record:
    """The median radius of curvature of the loss along single parameters.

        diagonal    R_i = (1 + g_i^2)^{3/2} / |H_ii|    of the curve L along theta_i, at its point
        parabola    R_i = |theta_i / g_i|               that of a parabola with its minimum at 0, and g_i^2 << 1

    g is the gradient of the mean loss; H_ii comes from `hessian_diagonal`, whose noise, where it has any, makes |H_ii|
    of a small entry too large and its radius too small. The paper's figures do not say which of the two they show; its
    method is built on the parabola. *Our reading*: 0/0 is undefined and left out of the median, all else that exceeds
    `cap` counts as `cap`.

    Args:
        problem: the problem.
        rtol, budget, seed, hvp: of the diagonal, see `hessian_diagonal`.
        by: how parameters are grouped; layers are told in any case.
        radii: which of the two is the value; with `parabola` the other is not measured.
        cap: the largest radius.
        shared: what other measures of the same analysis know.
        on_progress: hears the error of the diagonal so far.

    Returns:
        A record: `value` the median over all parameters, `groups` with `groups_stderr`, `layers`; `capped`,
        `undefined`; `quantiles` and `histogram` of the radii; `ways`: {value, stderr, capped, undefined,
        groups, layers} of each that was measured. `stderr` is 0 for the parabola, else it holds the noise of the
        diagonal and the bias from it. `sampling_stderr` is not known of a median over parameters, unless all samples
        are used.

    Cost: 1 gradient-equivalent; `diagonal` that of `hessian_diagonal` more.

    Reference: arXiv:2012.08795, equations 9, 17 and 20, figure 2.
    """
    groups = group_parameters(problem.infos, by)
    sets = {
        "": {"": torch.arange(problem.size, device=problem.device)},
        "groups": group_positions(problem.infos, groups),
        "layers": group_positions(problem.infos, group_parameters(problem.infos, "layer")),
    }
    g_P = zero_rounding(problem, gradient(problem))
    parabola_P = flatten(problem.parameters).abs() / g_P.abs()  # 0/0 is NaN
    found = {"parabola": _way(parabola_P, sets, cap)}
    chosen_P, converged = parabola_P, True
    if radii == "diagonal":
        diagonal = estimate_diagonal(
            problem,
            rtol=rtol,
            budget=budget,
            seed=seed,
            hvp=hvp,
            shared=shared or Shared(problem),
            on_progress=on_progress,
        )
        above_P, converged = (1 + g_P.double().square()).pow(1.5), diagonal.converged
        chosen_P = above_P / zero_rounding(problem, diagonal.values).abs()
        found["diagonal"] = _way(chosen_P, sets, cap, above_P, diagonal)
    else:
        announce(on_progress, 1.0)
    mine = found[radii]
    defined = chosen_P[~chosen_P.isnan()].clamp(max=cap).cpu().double().numpy()
    shown = {"quantiles": quantiles(defined), "histogram": histogram(defined)} if len(defined) else {}
    return Record(
        value=mine["value"],
        stderr=mine["stderr"],
        sampling_stderr=0.0 if len(problem) >= problem.population else float("nan"),
        converged=converged,
        groups=mine["groups"],
        details={
            **{key: mine[key] for key in ("groups_stderr", "layers", "capped", "undefined")},
            "cap": cap,
            **shown,
            "ways": found,
        },
    )


def parabola_radii(problem: Problem, *, by: str = "layer", cap: float = CAP) -> dict[str, Radius]:
    """|theta_i / g_i| by group. Cost: 1 gradient-equivalent."""
    radii_P = flatten(problem.parameters).abs() / zero_rounding(problem, gradient(problem)).abs()
    groups = group_positions(problem.infos, group_parameters(problem.infos, by))
    return {group: _radius(radii_P[entries], cap) for group, entries in groups.items()}


def _way(
    radii_P: Tensor,
    sets: Mapping[str, Mapping[str, Tensor]],
    cap: float,
    above_P: Tensor | None = None,
    diagonal: Diagonal | None = None,
) -> dict[str, Any]:
    """One kind of radius, of all parameters and by group and layer; the errors where it comes from a diagonal."""
    found = {which: {name: _radius(radii_P[at], cap) for name, at in some.items()} for which, some in sets.items()}
    places = [at for some in sets.values() for at in some.values()]

    def medians(values: Tensor) -> np.ndarray:
        assert above_P is not None, "given with the diagonal"
        radii = above_P / values.abs()
        return np.array([_radius(radii[at], cap).median for at in places])

    errors = iter(np.zeros(len(places)) if diagonal is None else diagonal.error_of(medians))
    stderr = {which: {name: float(next(errors)) for name in some} for which, some in sets.items()}
    whole = found[""][""]
    return {
        "value": whole.median,
        "stderr": stderr[""][""],
        "capped": whole.capped,
        "undefined": whole.undefined,
        "groups": {name: radius.median for name, radius in found["groups"].items()},
        "groups_stderr": stderr["groups"],
        "layers": {
            name: {
                "median": radius.median,
                "stderr": stderr["layers"][name],
                "capped": radius.capped,
                "undefined": radius.undefined,
                "size": radius.size,
            }
            for name, radius in found["layers"].items()
        },
    }


def _radius(radii: Tensor, cap: float) -> Radius:
    own = radii.cpu().double().numpy()
    defined = own[~np.isnan(own)]
    median = float(np.median(np.minimum(defined, cap))) if len(defined) else float("nan")
    return Radius(median, int((defined > cap).sum()), len(own) - len(defined), len(own))
