"""Settings of the measures of curvature by layer and by parameter."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from pydantic import Field

from landscape.config.measure_options.base import MeasureOptions


class NormalizedCurvatureOptions(MeasureOptions):
    """Of `normalized_curvature_trace`."""

    kind: Literal["gauss-newton", "fisher"] = Field(
        "gauss-newton", description="The matrix whose traces are the value; the other one's stand beside it."
    )
    layers: Literal["normalized", "all"] = Field(
        "normalized", description="The layers that feed a batch normalisation, or all with weights."
    )


class CurvatureRadiusOptions(MeasureOptions):
    """Of `curvature_radius`."""

    radii: Literal["diagonal", "parabola"] = Field(
        "diagonal",
        description="(1 + g²)^(3/2)/|H_ii| by the Hessian's diagonal, or |θ/g|, which takes one gradient.",
    )
    cap: float = Field(1e6, gt=0, description="The largest radius; what exceeds it counts as this, and is counted.")


class LayerEigenvalueOptions(MeasureOptions):
    """Of `layer_top_eigenvalues`."""

    blocks: str = Field(
        "weights",
        min_length=1,
        description="A block for each weight tensor, or a grouping as for --by: layer, role, tensor, patterns.",
    )


OPTIONS: Mapping[str, type[MeasureOptions]] = MappingProxyType(
    {
        "normalized_curvature_trace": NormalizedCurvatureOptions,
        "curvature_radius": CurvatureRadiusOptions,
        "layer_top_eigenvalues": LayerEigenvalueOptions,
    }
)
