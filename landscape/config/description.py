"""What a checkpoint of `landscape train` says of itself."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue

Count = Annotated[int, Field(ge=1)]


class Scaling(BaseModel):
    """Mean and deviation of each channel, on pixels scaled to 0..1."""

    model_config = ConfigDict(extra="allow")

    mean: list[float] = Field(min_length=1)
    std: list[float] = Field(min_length=1)


class Description(BaseModel):
    """The fields that readers of a checkpoint rely on; any may be missing, none may be of another type.

    Attributes:
        model, data: specifications.
        classes, channels, size: of the data.
        normalization: of its pixels.
        config: the settings of the training, plain values.
        epoch, step: done.
        metrics: of the weights, by name.
    """

    model_config = ConfigDict(extra="allow", strict=True)

    model: str | None = None
    data: str | None = None
    classes: Count | None = None
    channels: Count | None = None
    size: Count | None = None
    normalization: Scaling | None = None
    config: dict[str, JsonValue] = Field(default_factory=dict)
    epoch: Annotated[int, Field(ge=0)] | None = None
    step: Annotated[int, Field(ge=0)] | None = None
    metrics: dict[str, float | None] = Field(default_factory=dict)
    versions: dict[str, Any] = Field(default_factory=dict)
