"""The measures: name -> function, what it shares with others, and what is said of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from landscape.catalog import CATALOG, About
from landscape.measures.average_sharpness import average_sharpness
from landscape.measures.connectivity import connectivity, connectivity_batch
from landscape.measures.curvature_radius import curvature_radius
from landscape.measures.density import spectral_density
from landscape.measures.eigenvalues import ggn_top_eigenvalues, top_eigenvalues
from landscape.measures.evaluation import Evaluation, evaluate
from landscape.measures.fisher_rao import fisher_rao
from landscape.measures.gauss_newton import ctk_trace, fisher_trace, ggn_trace
from landscape.measures.gauss_newton_norm import gauss_newton_norm
from landscape.measures.gradient_noise import gradient_noise_scale
from landscape.measures.hessian_diagonal import hessian_diagonal
from landscape.measures.jacobian import jacobian_norm
from landscape.measures.keskar_sharpness import keskar_sharpness
from landscape.measures.kfac_norm import kfac_gn_norm
from landscape.measures.krylov import DEFLATION_TOP, Spectrum, compute_spectrum, deflation_steps, eigenvalue_steps
from landscape.measures.layer_eigenvalues import layer_top_eigenvalues
from landscape.measures.learning_coefficient import local_learning_coefficient
from landscape.measures.margin import margin
from landscape.measures.normalized_curvature import normalized_curvature_trace
from landscape.measures.optimizer_state import effective_learning_rate, preconditioned_sharpness
from landscape.measures.pac_bayes import pac_bayes_sigma, pac_bayes_sigma_magnitude
from landscape.measures.path_norm import path_norm
from landscape.measures.relative_flatness import relative_flatness
from landscape.measures.sam_sharpness import asam_sharpness, sam_sharpness
from landscape.measures.trace import hessian_trace
from landscape.measures.weight_noise import weight_noise
from landscape.measures.weight_norms import frobenius_distance, spectral_norms
from landscape.measures.worst_sharpness import worst_sharpness
from landscape.records import Record

__all__ = [
    "DEFLATION_TOP",
    "MEASURES",
    "Evaluation",
    "Measure",
    "Spectrum",
    "asam_sharpness",
    "average_sharpness",
    "compute_spectrum",
    "connectivity",
    "connectivity_batch",
    "ctk_trace",
    "curvature_radius",
    "deflation_steps",
    "effective_learning_rate",
    "eigenvalue_steps",
    "evaluate",
    "fisher_rao",
    "fisher_trace",
    "frobenius_distance",
    "gauss_newton_norm",
    "ggn_top_eigenvalues",
    "ggn_trace",
    "gradient_noise_scale",
    "hessian_diagonal",
    "hessian_trace",
    "jacobian_norm",
    "keskar_sharpness",
    "kfac_gn_norm",
    "layer_top_eigenvalues",
    "local_learning_coefficient",
    "margin",
    "normalized_curvature_trace",
    "pac_bayes_sigma",
    "pac_bayes_sigma_magnitude",
    "path_norm",
    "preconditioned_sharpness",
    "relative_flatness",
    "sam_sharpness",
    "spectral_density",
    "spectral_norms",
    "top_eigenvalues",
    "weight_noise",
    "worst_sharpness",
]


@dataclass(frozen=True)
class Measure:
    """An entry of the registry.

    Attributes:
        function: (problem, **options) -> Record.
        options: the settings of an analysis that it takes as keywords, besides those that it alone has
            (`landscape.config.measure_options`).
        about: what is said of it.
        krylov: what it wants of the shared Krylov run: `eigenvalue`, that the first one is certain within the budget,
            `deflation`, that within fewer steps; None if it needs no Krylov run.
        needs: what it takes from `landscape.measures.sharing.Shared`, so that measures compute it once.
        engines: who can compute it.
    """

    function: Callable[..., Record]
    options: tuple[str, ...]
    about: About
    krylov: Literal["eigenvalue", "deflation"] | None = None
    needs: tuple[str, ...] = ()
    engines: tuple[str, ...] = field(default=("landscape",))


_BOTH = ("landscape", "pyhessian")

MEASURES: Mapping[str, Measure] = MappingProxyType(
    {
        m.about.name: m
        for m in (
            Measure(
                hessian_trace,
                ("rtol", "budget", "seed", "by", "engine", "hvp"),
                CATALOG["hessian_trace"],
                needs=("squares",),
                engines=_BOTH,
            ),
            Measure(
                top_eigenvalues,
                ("rtol", "budget", "top", "seed", "by", "engine", "hvp"),
                CATALOG["top_eigenvalues"],
                krylov="eigenvalue",
                engines=_BOTH,
            ),
            Measure(
                spectral_density,
                ("rtol", "budget", "seed", "hvp"),
                CATALOG["spectral_density"],
                krylov="deflation",
                needs=("squares",),
            ),
            Measure(fisher_rao, ("by",), CATALOG["fisher_rao"], needs=("theta products",)),
            Measure(connectivity, ("by",), CATALOG["connectivity"]),
            Measure(connectivity_batch, ("connectivity_batch", "by"), CATALOG["connectivity_batch"]),
            Measure(margin, ("seed",), CATALOG["margin"]),
            Measure(jacobian_norm, ("rtol", "budget", "seed"), CATALOG["jacobian_norm"]),
            Measure(sam_sharpness, ("rtol", "budget", "seed"), CATALOG["sam_sharpness"]),
            Measure(asam_sharpness, ("rtol", "budget", "seed"), CATALOG["asam_sharpness"]),
            Measure(average_sharpness, ("rtol", "budget", "seed"), CATALOG["average_sharpness"]),
            Measure(worst_sharpness, ("rtol", "budget", "seed"), CATALOG["worst_sharpness"]),
            Measure(keskar_sharpness, ("rtol", "budget", "seed"), CATALOG["keskar_sharpness"]),
            Measure(pac_bayes_sigma, ("rtol", "budget", "seed"), CATALOG["pac_bayes_sigma"]),
            Measure(pac_bayes_sigma_magnitude, ("rtol", "budget", "seed"), CATALOG["pac_bayes_sigma_magnitude"]),
            Measure(local_learning_coefficient, ("rtol", "budget", "seed"), CATALOG["local_learning_coefficient"]),
            Measure(ggn_trace, ("rtol", "budget", "seed", "by"), CATALOG["ggn_trace"], needs=("squares",)),
            Measure(ggn_top_eigenvalues, ("rtol", "budget", "top", "seed", "by"), CATALOG["ggn_top_eigenvalues"]),
            Measure(fisher_trace, ("rtol", "budget", "seed", "by"), CATALOG["fisher_trace"], needs=("squares",)),
            Measure(gauss_newton_norm, ("by",), CATALOG["gauss_newton_norm"], needs=("theta products",)),
            Measure(kfac_gn_norm, ("rtol", "budget", "seed", "by"), CATALOG["kfac_gn_norm"]),
            Measure(
                normalized_curvature_trace,
                ("rtol", "budget", "seed", "by"),
                CATALOG["normalized_curvature_trace"],
                needs=("squares",),
            ),
            Measure(ctk_trace, ("rtol", "budget", "seed", "by"), CATALOG["ctk_trace"], needs=("squares",)),
            Measure(
                hessian_diagonal,
                ("rtol", "budget", "seed", "by", "hvp"),
                CATALOG["hessian_diagonal"],
                needs=("squares", "diagonal"),
            ),
            Measure(
                curvature_radius,
                ("rtol", "budget", "seed", "by", "hvp"),
                CATALOG["curvature_radius"],
                needs=("squares", "diagonal"),
            ),
            Measure(layer_top_eigenvalues, ("rtol", "budget", "seed", "by", "hvp"), CATALOG["layer_top_eigenvalues"]),
            Measure(spectral_norms, (), CATALOG["spectral_norms"]),
            Measure(frobenius_distance, ("by",), CATALOG["frobenius_distance"]),
            Measure(path_norm, (), CATALOG["path_norm"]),
            Measure(relative_flatness, ("rtol", "budget", "seed", "hvp"), CATALOG["relative_flatness"]),
            Measure(weight_noise, (), CATALOG["weight_noise"]),
            Measure(effective_learning_rate, (), CATALOG["effective_learning_rate"]),
            Measure(preconditioned_sharpness, ("rtol", "budget", "seed", "hvp"), CATALOG["preconditioned_sharpness"]),
            Measure(gradient_noise_scale, ("seed", "by"), CATALOG["gradient_noise_scale"]),
        )
    }
)
