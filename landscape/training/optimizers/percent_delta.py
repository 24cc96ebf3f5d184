"""PercentDelta: each tensor changes by the same mean percentage a step.

    d = g + lambda theta
    theta_l <- theta_l - gamma (size_l / ||d_l / theta_l||_1) d_l

The factor is the harmonic mean of |theta / d| over the tensor, so that the mean of |change / theta| is gamma,
whatever the gradient. A tensor with a weight of exactly 0 has no such mean: see `layer_rates`.

Coupled decay, so that the mean percentage is gamma with decay too (*our reading*, as equation 22 is for MCLR).
"""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from landscape.training.optimizers.family import OptimizerFamily, Options, Parameters
from landscape.training.optimizers.layer_rates import LayerRateDescent


class PercentDeltaOptions(Options):
    """gamma = `lr`, lambda = `weight_decay`."""

    lr: float = Field(default=0.02, gt=0)
    weight_decay: float = Field(default=5e-4, ge=0)


def harmonic_mean_ratio(theta: Tensor, d: Tensor) -> Tensor:
    """size / ||d / theta||_1; not finite or 0 where d = 0 or a weight is 0."""
    return 1 / (d / theta).abs().mean()


def build_percent_delta(parameters: Parameters, options: PercentDeltaOptions) -> LayerRateDescent:
    """PercentDelta over `parameters`; no state."""
    return LayerRateDescent(parameters, harmonic_mean_ratio, cap=None, lr=options.lr, weight_decay=options.weight_decay)


PERCENT_DELTA = OptimizerFamily(
    name="percent-delta",
    options=PercentDeltaOptions,
    build=build_percent_delta,
    about="each tensor changes by the same mean percentage a step",
    reference="Abu-El-Haija, Proportionate gradient updates with PercentDelta, arXiv:1708.07227; "
    "arXiv:2012.08795, equation 24",
)
