"""What is followed while a network trains, how often and on which samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field, field_validator

from landscape.config.settings import Settings
from landscape.errors import OptionError

DEFAULT_SAMPLES = 512


@dataclass(frozen=True)
class Every:
    """Moments that are `count` epochs or steps apart; the beginning and the end are moments too."""

    count: int
    unit: Literal["epochs", "steps"]

    @classmethod
    def parse(cls, text: str | int) -> Every:
        """Read `5` (epochs) or `100steps`.

        Raises:
            OptionError: it has another form, or is below 1.
        """
        words = str(text).strip()
        number = words.removesuffix("steps")
        if not (number.isascii() and number.isdigit()) or int(number) < 1:
            raise OptionError(f"expected a number of epochs such as 5, or of steps such as 100steps, got {words!r}.")
        return cls(int(number), "epochs" if number == words else "steps")

    def __str__(self) -> str:
        return f"{self.count}steps" if self.unit == "steps" else str(self.count)


class TrackSettings(Settings):
    """What a run follows; it decides no weight.

    Attributes:
        names: quantities of `landscape.workflows.tracking.QUANTITIES`; also as text, `norms,connectivity`.
        every: `5` epochs or `100steps`.
        samples: of the training split, as in an analysis; None: 512, or all of fewer.
        by: the substructures that a quantity is split into, as in an analysis.
        seed: of the drawn samples and probes.
    """

    names: tuple[str, ...] = Field(min_length=1)
    every: str = "1"
    samples: str | None = None
    by: str = "role"
    seed: int = Field(default=0, ge=0)

    @field_validator("names", mode="before")
    @classmethod
    def _names_from_text(cls, value: Any) -> Any:
        names = [part.strip() for part in value.split(",")] if isinstance(value, str) else list(value)
        return tuple(dict.fromkeys(names))

    @field_validator("every", mode="before")
    @classmethod
    def _every_form(cls, value: Any) -> str:
        try:
            return str(Every.parse(value))
        except OptionError as error:
            raise ValueError("expected epochs such as 5, or steps such as 100steps") from error

    @field_validator("samples", mode="before")
    @classmethod
    def _samples_form(cls, value: Any) -> str | None:
        text = None if value is None else str(value)
        number = (text or "").removeprefix("first:")
        if text is None or text == "all" or (number.isdigit() and int(number) > 0):
            return text
        raise ValueError("expected a positive count, first:N or all")
