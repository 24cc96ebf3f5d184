"""What is said of each measure, in one place for the report, the command line and the documentation. Knows no torch.

Notation: theta the p parameters, L = (1/N) sum_n l_n the mean loss over the N chosen samples, g its gradient, H its
Hessian, f(x) the K logits, p(y|x) = softmax(f(x)), J_x = df/dx, J_theta = df/dtheta, `∘` the elementwise product.
rho is the reparameterization of Bias Decay Matters, eq. 9: multiply the incoming weights and the bias (or the
batch normalisation's gamma and beta) of one hidden unit by c > 0 and divide its outgoing weights by c, which leaves
f as it is where the activation is positively homogeneous.

Two sources are anonymous submissions to ICLR 2022 and cited by title: "Bias Decay Matters: Improving Large Batch
Optimization with Connectivity Sharpness" and "Achieving Small-Batch Accuracy with Large-Batch Scalability via Adaptive
Learning Rate Adjustment". Where a printed equation is damaged or wrong, the formula here is the corrected reading.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from landscape.catalog import (
    capacity,
    connectivity,
    curvature,
    fisher,
    gauss_newton,
    hessian,
    jacobian,
    margin,
    noise,
    optimizer_state,
    perturbation,
)
from landscape.catalog.about import About

__all__ = ["CATALOG", "PRESETS", "About", "expand"]

CATALOG: Mapping[str, About] = MappingProxyType(
    {
        about.name: about
        for family in (
            hessian,
            fisher,
            connectivity,
            margin,
            jacobian,
            perturbation,
            gauss_newton,
            curvature,
            capacity,
            optimizer_state,
            noise,
        )
        for about in family.ENTRIES
    }
)
"""The measures, in the order in which they are shown."""

PRESETS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        **{
            preset: tuple(name for name, about in CATALOG.items() if preset in about.presets)
            for preset in ("quick", "default", "paper")
        },
        "all": tuple(CATALOG),
    }
)
"""Lists of measures by name: `quick` (a gradient or so each), `default`, `paper` (those of the five papers), `all`."""


def expand(names: Iterable[str]) -> tuple[str, ...]:
    """The measures that `names` stand for: each its own, a preset its list, none the default ones; each once.

    A name that is neither is kept as it is, for the caller to refuse.
    """
    wanted = tuple(names) or ("default",)
    return tuple(dict.fromkeys(measure for name in wanted for measure in PRESETS.get(name, (name,))))
