"""MCLR: the rate of each tensor from the median of its approximate curvature radii.

    d = g + lambda theta,   R_m = median_i |theta_i / d_i|   (`ratios`)   or   |median_i theta_i / median_i d_i|
    theta_l <- theta_l - gamma min(R_m, cap) d_l             for each tensor l

|theta_i / d_i| approximates the radius of the loss curve along weight i by a parabola with its minimum at 0. *Our
reading*: the paper speaks both of "the median value of a group of R_i" (section 4.2) and of the ratio of medians
(below equation 20): the first is the default, `statistic=medians` the second. The cap is ours too: where the gradient
of most weights vanishes, R_m grows without bound (the paper's equation 19). Ratios 0/0 are left out of the median. A
tensor is the paper's group; one whose median is 0 or not finite: see `layer_rates`.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from landscape.training.optimizers.family import OptimizerFamily, Options, Parameters
from landscape.training.optimizers.layer_rates import LayerRateDescent, Statistic


class MclrOptions(Options):
    """gamma = `lr`, lambda = `weight_decay`; `statistic` and `cap` of R_m."""

    lr: float = Field(default=0.01, gt=0)
    weight_decay: float = Field(default=5e-4, ge=0)
    statistic: Literal["ratios", "medians"] = "ratios"
    cap: float = Field(default=100.0, gt=0)


def median_of_ratios(theta: Tensor, d: Tensor) -> Tensor:
    """median_i |theta_i / d_i| over the ratios other than 0/0; NaN where there is none."""
    return torch.nanmedian((theta / d).abs())


def ratio_of_medians(theta: Tensor, d: Tensor) -> Tensor:
    """|median_i theta_i / median_i d_i|."""
    return (theta.median() / d.median()).abs()


def build_mclr(parameters: Parameters, options: MclrOptions) -> LayerRateDescent:
    """MCLR over `parameters`; no state."""
    statistics: dict[str, Statistic] = {"ratios": median_of_ratios, "medians": ratio_of_medians}
    return LayerRateDescent(
        parameters,
        statistics[options.statistic],
        cap=options.cap,
        lr=options.lr,
        weight_decay=options.weight_decay,
    )


MCLR = OptimizerFamily(
    name="mclr",
    options=MclrOptions,
    build=build_mclr,
    about="each tensor's rate from the median of its approximate curvature radii",
    reference="arXiv:2012.08795, equations 20 to 22",
)
