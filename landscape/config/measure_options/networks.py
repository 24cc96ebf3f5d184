"""What measures of weights, margins, Jacobians and gradient noise alone have."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from pydantic import Field

from landscape.config.measure_options.base import MeasureOptions


class Margin(MeasureOptions):
    """`margin`."""

    layers: tuple[str, ...] = Field(
        (), description="Modules in whose outputs margins are measured too: [layer1, layer2]."
    )


class JacobianNorm(MeasureOptions):
    """`jacobian_norm`."""

    of: Literal["logits", "probabilities"] = Field("logits", description="Which outputs: logits, or their softmax.")


class PathNorm(MeasureOptions):
    """`path_norm`."""

    power: Literal[1, 2] = Field(2, description="The p of |weight|^p along a path.")


class RelativeFlatness(MeasureOptions):
    """`relative_flatness`."""

    layer: str | None = Field(None, description="The linear layer; by default the last one.")


class WeightNoise(MeasureOptions):
    """`weight_noise`."""

    tolerance: float = Field(1e-6, ge=1e-7, lt=1, description="Singular values below this share of the largest are 0.")
    largest: int = Field(4096, ge=1, description="Layers with more inputs a unit than this are left out.")


class GradientNoiseScale(MeasureOptions):
    """`gradient_noise_scale`."""

    size: int = Field(32, ge=1, description="Samples in a block; three blocks or more are needed.")


OPTIONS: Mapping[str, type[MeasureOptions]] = MappingProxyType(
    {
        "margin": Margin,
        "jacobian_norm": JacobianNorm,
        "path_norm": PathNorm,
        "relative_flatness": RelativeFlatness,
        "weight_noise": WeightNoise,
        "gradient_noise_scale": GradientNoiseScale,
    }
)
