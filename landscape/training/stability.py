"""The edge of stability: the curvature above which a step of the optimizer on a parabola diverges.

On L = (lambda/2) x^2 the iteration of gradient descent with rate eta and momentum mu stays bounded below

    lambda = 2 / eta                            without momentum
    lambda = 2 (1 + mu) / eta                   heavy ball: v <- mu v + g, x <- x - eta v
    lambda = 2 (1 + mu) / ((1 + 2 mu) eta)      Nesterov:  v <- mu v + g, x <- x - eta (g + mu v)

With a dampening d the heavy ball has v <- mu v + (1 - d) g, and so the edge at the rate (1 - d) eta.
The curvature is that of the loss; coupled decay adds its own lambda to it.

Reference: Cohen et al. 2021 (arXiv:2103.00065), section 1 and appendix B.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import optim

from landscape.errors import NotApplicableError


def edge_of_stability(optimizer: optim.Optimizer, rate: float | None = None) -> float:
    """The edge of `optimizer` as it is set now, at the learning rate `rate` (None: its own).

    Raises:
        NotApplicableError: it is not plain gradient descent with or without momentum: it scales its steps by tensor,
            by parameter or by a curvature, it climbs (`maximize`), or its groups differ in rate or momentum.
    """
    if type(optimizer) is not optim.SGD:
        raise NotApplicableError(
            f"{type(optimizer).__name__} does not step along the gradient itself, so no curvature is its edge of "
            "stability"
        )
    if any(group["maximize"] for group in optimizer.param_groups):
        raise NotApplicableError("SGD with maximize climbs, so no curvature is its edge of stability")
    kinds = {_kind(group, rate) for group in optimizer.param_groups}
    if len(kinds) > 1:
        raise NotApplicableError("groups of parameters with rates or momenta of their own have no common edge")
    eta, mu, nesterov = kinds.pop()
    if eta == 0.0:
        return float("inf")
    return 2 * (1 + mu) / ((1 + 2 * mu) * eta) if nesterov else 2 * (1 + mu) / eta


def _kind(group: Mapping[str, Any], rate: float | None) -> tuple[float, float, bool]:
    """The rate, the momentum and whether it is Nesterov's, of a group; dampening is a smaller rate."""
    eta, mu = float(group["lr"] if rate is None else rate), float(group["momentum"])
    # PyTorch knows no dampening without momentum.
    return (eta * (1.0 - float(group["dampening"])) if mu else eta), mu, bool(group["nesterov"])
