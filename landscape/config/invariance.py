"""The settings of an invariance study: which reparameterisations, by which factors, of which units."""

from __future__ import annotations

import math
from typing import Any, Literal

from pydantic import Field, field_validator

from landscape.config.settings import Settings
from landscape.errors import OptionError, near

Transform = Literal["rho", "scale", "fold"]

TRANSFORMS: dict[str, str] = {
    "rho": "units of layers: incoming weights and bias, or gamma and beta, times c, outgoing weights by c",
    "scale": "weights before a batch normalisation times c, its running mean times c, its variance times c²",
    "fold": "batch normalisation folded into the layer before it, as a weight and a bias",
}


class InvarianceSettings(Settings):
    """What is done to a network.

    Attributes:
        transforms: names in `TRANSFORMS`, in this order; empty: all that the network has a place for.
        factors: c of `rho` and `scale`.
        units: which are multiplied, as `landscape.reparameterisation.choice` reads it.
    """

    transforms: tuple[Transform, ...] = ()
    factors: tuple[float, ...] = Field(default=(0.5, 2.0, 10.0), min_length=1)
    units: str = "half"

    @field_validator("factors")
    @classmethod
    def _positive(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        for value in values:
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"expected factors above 0, got {value:g}")
        return tuple(dict.fromkeys(values))


def parse_transforms(text: str | None) -> tuple[str, ...]:
    """Read names of transformations, comma-separated; None: none are named.

    Raises:
        OptionError: a name is unknown; near names are offered.
    """
    if text is None:
        return ()
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in TRANSFORMS:
            raise OptionError(f"--transform: unknown transformation {name!r}.{near(name, TRANSFORMS)}")
    return tuple(dict.fromkeys(names))


def parse_factors(text: str) -> tuple[float, ...]:
    """Read factors, comma-separated.

    Raises:
        OptionError: one is no number above 0.
    """
    factors: list[Any] = []
    for word in text.split(","):
        try:
            factors.append(float(word))
        except ValueError:
            raise OptionError(f"--factors: expected numbers above 0, comma-separated, got {word.strip()!r}.") from None
        if not (math.isfinite(factors[-1]) and factors[-1] > 0):
            raise OptionError(f"--factors: expected numbers above 0, comma-separated, got {word.strip()!r}.")
    return tuple(factors)
