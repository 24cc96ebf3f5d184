"""Normalising pixels by channel: (x - mean) / std on pixels scaled to 0..1."""

from __future__ import annotations

import math
from dataclasses import dataclass

from landscape.errors import OptionError


@dataclass(frozen=True)
class Normalization:
    """A mean and a deviation for each channel, of pixels scaled to 0..1.

    `str(normalization)` is `MEAN,..:STD,..`; parsing it gives an equal one.

    Raises:
        OptionError: the two differ in length, a number is not finite or a deviation is not positive.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.mean or len(self.mean) != len(self.std):
            raise OptionError(
                f"normalisation {self}: expected as many deviations as means, "
                f"got {len(self.mean)} mean(s) and {len(self.std)} deviation(s)."
            )
        if not all(map(math.isfinite, (*self.mean, *self.std))) or min(self.std) <= 0:
            raise OptionError(f"normalisation {self}: expected finite means and deviations above 0.")

    def __str__(self) -> str:
        return ":".join(",".join(map(str, values)) for values in (self.mean, self.std))

    @classmethod
    def parse(cls, text: str) -> Normalization:
        """Read `MEAN,..:STD,..`, one number for each channel.

        Raises:
            OptionError: the text has another form.
        """
        parts = text.split(":")
        try:
            numbers = [tuple(float(number) for number in part.split(",")) for part in parts]
        except ValueError:
            numbers = []
        if len(numbers) != 2:
            raise OptionError(
                "expected MEAN,..:STD,.. with a number for each channel, as in 0.49,0.48,0.45:0.25,0.24,0.26, "
                f"got {text!r}."
            )
        return cls(numbers[0], numbers[1])
