"""Sharpness and geometry of trained networks: measured with error bars, by substructure.

    import landscape

    problem = landscape.load("final.pt")
    print(landscape.hessian_trace(problem).value)
    print(landscape.analyze(problem, measures=["connectivity", "margin"]).to_json())

Names are loaded when they are first used, so that what needs no torch does not wait for it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_EXPORTS = {
    "Analysis": "landscape.records",
    "LandscapeError": "landscape.errors",
    "Problem": "landscape.problem",
    "Reading": "landscape.problem",
    "Record": "landscape.records",
    "Tracker": "landscape.workflows.tracking",
    "analyze": "landscape.workflows.analyze",
    "analyze_checkpoint": "landscape.workflows.analyze",
    "asam_sharpness": "landscape.measures",
    "average_sharpness": "landscape.measures",
    "connectivity": "landscape.measures",
    "connectivity_batch": "landscape.measures",
    "ctk_trace": "landscape.measures",
    "curvature_radius": "landscape.measures",
    "fisher_rao": "landscape.measures",
    "fisher_trace": "landscape.measures",
    "gauss_newton_norm": "landscape.measures",
    "ggn_top_eigenvalues": "landscape.measures",
    "ggn_trace": "landscape.measures",
    "hessian_diagonal": "landscape.measures",
    "hessian_trace": "landscape.measures",
    "jacobian_norm": "landscape.measures",
    "keskar_sharpness": "landscape.measures",
    "kfac_gn_norm": "landscape.measures",
    "layer_top_eigenvalues": "landscape.measures",
    "load": "landscape.problem.load",
    "load_tensors": "landscape.weight_loading",
    "local_learning_coefficient": "landscape.measures",
    "margin": "landscape.measures",
    "network": "landscape.problem.network",
    "normalized_curvature_trace": "landscape.measures",
    "pac_bayes_sigma": "landscape.measures",
    "pac_bayes_sigma_magnitude": "landscape.measures",
    "sam_sharpness": "landscape.measures",
    "spectral_density": "landscape.measures",
    "top_eigenvalues": "landscape.measures",
    "worst_sharpness": "landscape.measures",
    "write_report": "landscape.workflows.reporting",
}

__all__ = [
    "Analysis",
    "LandscapeError",
    "Problem",
    "Reading",
    "Record",
    "Tracker",
    "__version__",
    "analyze",
    "analyze_checkpoint",
    "asam_sharpness",
    "average_sharpness",
    "connectivity",
    "connectivity_batch",
    "ctk_trace",
    "curvature_radius",
    "fisher_rao",
    "fisher_trace",
    "gauss_newton_norm",
    "ggn_top_eigenvalues",
    "ggn_trace",
    "hessian_diagonal",
    "hessian_trace",
    "jacobian_norm",
    "keskar_sharpness",
    "kfac_gn_norm",
    "layer_top_eigenvalues",
    "load",
    "load_tensors",
    "local_learning_coefficient",
    "margin",
    "network",
    "normalized_curvature_trace",
    "pac_bayes_sigma",
    "pac_bayes_sigma_magnitude",
    "sam_sharpness",
    "spectral_density",
    "top_eigenvalues",
    "worst_sharpness",
    "write_report",
]

if TYPE_CHECKING:
    from landscape.errors import LandscapeError
    from landscape.measures import (
        asam_sharpness,
        average_sharpness,
        connectivity,
        connectivity_batch,
        ctk_trace,
        curvature_radius,
        fisher_rao,
        fisher_trace,
        gauss_newton_norm,
        ggn_top_eigenvalues,
        ggn_trace,
        hessian_diagonal,
        hessian_trace,
        jacobian_norm,
        keskar_sharpness,
        kfac_gn_norm,
        layer_top_eigenvalues,
        local_learning_coefficient,
        margin,
        normalized_curvature_trace,
        pac_bayes_sigma,
        pac_bayes_sigma_magnitude,
        sam_sharpness,
        spectral_density,
        top_eigenvalues,
        worst_sharpness,
    )
    from landscape.problem import Problem, Reading
    from landscape.problem.load import load
    from landscape.problem.network import network
    from landscape.records import Analysis, Record
    from landscape.weight_loading import load_tensors
    from landscape.workflows.analyze import analyze, analyze_checkpoint
    from landscape.workflows.reporting import write_report
    from landscape.workflows.tracking import Tracker


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module 'landscape' has no attribute {name!r}")
    return getattr(importlib.import_module(_EXPORTS[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
