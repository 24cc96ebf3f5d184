"""What the sharpness measures by perturbation alone have."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from pydantic import Field

from landscape.config.measure_options.base import MeasureOptions

_GROUPS = "Consecutive samples that share a perturbation (m-sharpness); by default all."
_NOISE = "Consecutive samples that share their noise; null for all. It decides the error, not the expectation."


class _Ascent(MeasureOptions):
    restarts: int = Field(0, ge=0, description="Random starts of the ascent, beside the weights themselves.")
    m: int | None = Field(None, ge=1, description=_GROUPS)


class SamSharpness(_Ascent):
    """`sam_sharpness`."""

    rho: float = Field(0.05, gt=0, description="The radius, in the 2-norm of all parameters.")
    steps: int = Field(1, ge=1, description="Steps of the ascent; one is SAM's.")


class AsamSharpness(_Ascent):
    """`asam_sharpness`."""

    rho: float = Field(0.5, gt=0, description="The radius, relative to |weight| + eta.")
    eta: float = Field(0.01, ge=0, description="Added to |weight|.")
    steps: int = Field(1, ge=1, description="Steps of the ascent; one is ASAM's.")


class WorstSharpness(MeasureOptions):
    """`worst_sharpness`."""

    rho: float | None = Field(None, gt=0, description="The radius; by default 0.002 with norm inf, 0.5 with norm 2.")
    norm: Literal[2, "inf"] = Field("inf", description="Of the set of shifts: a box (inf) or a ball (2).")
    adaptive: bool = Field(True, description="Whether shifts are relative to |weight|.")
    steps: int = Field(20, ge=1, description="Steps of Auto-PGD from each start.")
    restarts: int = Field(1, ge=0, description="Random starts of the ascent, beside the weights themselves.")
    m: int | None = Field(None, ge=1, description=_GROUPS)


class AverageSharpness(MeasureOptions):
    """`average_sharpness`."""

    rho: float = Field(0.1, gt=0, description="The standard deviation of Gaussian noise, the bound of uniform noise.")
    norm: Literal[2, "inf"] = Field(2, description="Gaussian noise (2) or uniform noise in a box (inf).")
    adaptive: bool = Field(True, description="Whether the noise is relative to |weight|.")
    m: int | None = Field(128, ge=1, description=_NOISE)


class KeskarSharpness(MeasureOptions):
    """`keskar_sharpness`."""

    epsilon: float = Field(1e-3, gt=0, description="The box is |e| <= epsilon (|weight| + 1).")
    solver: Literal["l-bfgs-b", "apgd"] = Field("l-bfgs-b", description="What seeks the maximum.")
    steps: int = Field(10, ge=1, description="Iterations of the solver from each start.")
    restarts: int = Field(1, ge=0, description="Random starts of the solver, beside the weights themselves.")


class PacBayesSigma(MeasureOptions):
    """`pac_bayes_sigma`."""

    target: float = Field(0.1, gt=0, description="The mean drop of the accuracy, or increase of the loss.")
    of: Literal["accuracy", "loss"] = Field("accuracy", description="What the noise costs.")
    m: int | None = Field(128, ge=1, description=_NOISE)


class PacBayesSigmaMagnitude(PacBayesSigma):
    """`pac_bayes_sigma_magnitude`."""

    epsilon: float = Field(1e-3, ge=0, description="The noise's standard deviation on a weight of 0.")


class LocalLearningCoefficient(MeasureOptions):
    """`local_learning_coefficient`."""

    gamma: float = Field(100.0, gt=0, description="How strongly the chains are held at the weights.")
    nbeta: float | None = Field(None, gt=0, description="n beta; by default n/log n for n samples.")
    step_size: float | None = Field(None, gt=0, description="Of the chains; by default found by pilot chains.")
    chains: int = Field(4, ge=1, description="Independent chains; the standard error is that between them.")
    steps: int = Field(1000, ge=2, description="Steps of each chain; fewer where the budget is spent.")
    burn_in: float = Field(0.5, ge=0, lt=1, description="The share of the steps that is left out at the start.")
    m: int = Field(64, ge=1, description="Samples a mini-batch.")


OPTIONS: Mapping[str, type[MeasureOptions]] = MappingProxyType(
    {
        "sam_sharpness": SamSharpness,
        "asam_sharpness": AsamSharpness,
        "average_sharpness": AverageSharpness,
        "worst_sharpness": WorstSharpness,
        "keskar_sharpness": KeskarSharpness,
        "pac_bayes_sigma": PacBayesSigma,
        "pac_bayes_sigma_magnitude": PacBayesSigmaMagnitude,
        "local_learning_coefficient": LocalLearningCoefficient,
    }
)
