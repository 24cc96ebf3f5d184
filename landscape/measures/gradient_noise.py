"""The gradient noise scale as a measure.

Legend: M blocks, S substructures.
"""

from __future__ import annotations

import math

import numpy as np

from landscape.curvature.noise_scale import NoiseScale, grouped_noise_scale, noise_norms
from landscape.errors import NotApplicableError
from landscape.measures.metering import Progress, announce, metered
from landscape.parameters import group_parameters
from landscape.problem import BN_GROUP, Problem
from landscape.records import Record


@metered
def gradient_noise_scale(
    problem: Problem, *, size: int = 32, seed: int = 0, by: str = "role", on_progress: Progress | None = None
) -> Record:
    """S / |G|^2, the batch size at which the noise of a gradient is as large as the gradient itself.

        S = Tr Cov(grad l_n),   G = E grad l_n

    from the gradients of disjoint blocks of samples in an order that the seed draws, with S and |G|^2 each estimated
    without bias before one is divided by the other (`landscape.curvature.noise_scale`).

    Args:
        problem: the problem; the samples that the network was trained on, where the number is to advise on batch sizes.
        size: of the blocks; three of them or more.
        seed: of the order.
        by: how parameters are grouped.
        on_progress: hears the expected cost.

    Returns:
        A record: `value` in samples, `stderr` by the jackknife over blocks; `noise` S and `signal` |G|^2 with
        `noise_stderr` and `signal_stderr`; `groups` of the substructures whose |G|^2 is above 0; `blocks`. `converged`
        says whether |G|^2 is above 0 by two standard errors: otherwise the value is little more than a lower bound.

    Cost: 2 gradient-equivalents.

    Raises:
        NotApplicableError: blocks that cut a group of statistics (bn="train"), fewer than three blocks, or |G|^2 is not
            above 0: the message says what the scale exceeds with 95% confidence.

    Reference: McCandlish et al. 2018, arXiv:1812.06162, equation 2.8 and appendix A.1.
    """
    if problem.bn == "train" and size % BN_GROUP:
        raise NotApplicableError(
            f"with --bn train blocks are groups of statistics; --set gradient_noise_scale.size={BN_GROUP}"
        )
    if len(problem) < 3 * size:
        raise NotApplicableError(
            f"the gradient noise scale needs three blocks of {size} samples or more, got {len(problem)} samples"
        )
    announce(on_progress, 2.0)
    theta = problem.parameters
    groups = group_parameters(problem.infos, by)
    norms = noise_norms(problem, size=size, seed=seed)
    whole = grouped_noise_scale(norms, theta, tuple(theta))
    if not math.isfinite(whole.scale):
        raise NotApplicableError(
            f"the noise hides the mean gradient on these samples: the scale is above {whole.at_least:.3g}"
        )
    parts = {group: grouped_noise_scale(norms, theta, tuple(names)) for group, names in groups.items()}
    return Record(
        value=whole.scale,
        stderr=_error(whole),
        converged=whole.resolved,
        sampling_stderr=0.0 if len(problem) >= problem.population else math.nan,
        groups={group: part.scale for group, part in parts.items() if np.isfinite(part.scale)},
        details={
            "noise": whole.noise,
            "noise_stderr": whole.noise_stderr,
            "signal": whole.signal,
            "signal_stderr": whole.signal_stderr,
            "groups_stderr": {group: _error(part) for group, part in parts.items() if np.isfinite(part.scale)},
            "blocks": len(norms.weights),
            "size": size,
        },
    )


def _error(found: NoiseScale) -> float:
    """The jackknife's error of the quotient, or where a block alone hides the signal that of first order."""
    if math.isfinite(found.scale_stderr):
        return found.scale_stderr
    return abs(found.scale) * math.hypot(found.noise_stderr / found.noise, found.signal_stderr / found.signal)
