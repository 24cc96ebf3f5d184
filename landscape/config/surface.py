"""The settings of a surface, and how their texts are read."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from landscape.config.settings import Settings
from landscape.errors import OptionError, near

KINDS = ("random", "eigen", "line", "bezier", "pca")
IGNORABLE = ("bias", "bn")
MOST_POINTS = 4_000_000
_ARGUMENTS = {"line": "OTHER.pt", "bezier": "OTHER.pt", "pca": "RUN"}


class SurfaceSettings(Settings):
    """What decides the values of a surface.

    Attributes:
        directions: `random`, `eigen`, `line:FILE`, `bezier:FILE` or `pca:FOLDER`.
        normalize, ignore: of random directions, see `landscape.surfaces.random_directions`; None: filter; bias,bn.
        points: `51` or `51x31`, x times y.
        x_range, y_range: `LOW:HIGH` in units of the direction; None: what suits the directions.
        bn: `eval` takes the running statistics as saved, `recalibrate` those of the samples at each point.
        split, samples, seed, dtype: as in an analysis; the seed decides random directions too.
        curve_steps, curve_rate: of training a Bezier curve.
    """

    directions: str = "random"
    normalize: Literal["filter", "layer", "none"] | None = None
    ignore: str | None = None
    points: str = "51x51"
    x_range: str | None = None
    y_range: str | None = None
    bn: Literal["eval", "recalibrate"] = "eval"
    split: str = "train"
    samples: str | None = None
    seed: int = Field(0, ge=0)
    dtype: Literal["float32", "float64"] = "float32"
    curve_steps: int = Field(300, ge=1)
    curve_rate: float = Field(0.001, gt=0)

    @property
    def kind(self) -> str:
        """The kind of the directions."""
        return self.directions.partition(":")[0]

    @property
    def other(self) -> Path | None:
        """The file or the folder that the directions name."""
        name = self.directions.partition(":")[2]
        return Path(name) if name else None

    @property
    def counts(self) -> tuple[int, ...]:
        """The places along each direction."""
        return parse_points(self.points)

    @property
    def ranges(self) -> tuple[tuple[float, float] | None, tuple[float, float] | None]:
        """The ranges along x and y, where they were given."""
        return (
            None if self.x_range is None else parse_range(self.x_range, "--x-range"),
            None if self.y_range is None else parse_range(self.y_range, "--y-range"),
        )

    @property
    def ignored(self) -> tuple[str, ...]:
        """The kinds of parameters that random directions leave where they are."""
        return parse_ignored("bias,bn" if self.ignore is None else self.ignore)

    def check(self) -> None:
        """Check what the fields say together.

        Raises:
            OptionError: a text is not of its form, or settings exclude each other.
        """
        parse_directions(self.directions)
        _, y_range = self.ranges
        if self.kind == "line" and len(self.counts) == 2:
            raise OptionError(f"--directions line is one direction: give one count, --points {self.counts[0]}.")
        if y_range is not None and len(self.counts) == 1:
            raise OptionError(f"--y-range has no direction with --points {self.points}; give two counts, as in 51x51.")
        if self.kind != "random" and (self.normalize is not None or self.ignore is not None):
            raise OptionError(f"--normalize and --ignore are of random directions; leave them out with {self.kind}.")
        assert self.ignored is not None

    def identity(self) -> dict[str, Any]:
        """The settings that decide the values, resolved and without the name of the other file."""
        plain: dict[str, Any] = self.model_dump()
        plain |= {"directions": self.kind, "points": list(self.counts)}
        x_range, y_range = self.ranges
        plain |= {"x_range": x_range and list(x_range), "y_range": y_range and list(y_range)}
        random, curved = self.kind == "random", self.kind == "bezier"
        plain["normalize"] = (self.normalize or "filter") if random else None
        plain["ignore"] = list(self.ignored) if random else None
        plain |= {} if curved else {"curve_steps": None, "curve_rate": None}
        return plain


def parse_directions(text: str) -> tuple[str, str]:
    """`line:OTHER.pt` -> ("line", "OTHER.pt").

    Raises:
        OptionError: an unknown kind, or a file or folder is missing or too much.
    """
    kind, colon, argument = text.partition(":")
    if kind not in KINDS:
        raise OptionError(
            "--directions: expected random, eigen, line:OTHER.pt, bezier:OTHER.pt or pca:RUN, "
            f"got {text!r}.{near(kind, KINDS)}"
        )
    if kind in _ARGUMENTS and not argument:
        raise OptionError(f"--directions {kind} needs its other end: {kind}:{_ARGUMENTS[kind]}.")
    if kind not in _ARGUMENTS and colon:
        raise OptionError(f"--directions {kind} takes nothing after it, got {text!r}.")
    return kind, argument


def parse_ignored(text: str) -> tuple[str, ...]:
    """The kinds of parameters that stay where they are: `bias`, `bn`, both, or `none`.

    Raises:
        OptionError: another name.
    """
    if text == "none":
        return ()
    names = tuple(sorted({name.strip() for name in text.split(",")}))
    for name in names:
        if name not in IGNORABLE:
            raise OptionError(f"--ignore: expected bias, bn, bias,bn or none, got {name!r}.{near(name, IGNORABLE)}")
    return names


def parse_points(text: str) -> tuple[int, ...]:
    """`51` -> (51,), `51x31` -> (51, 31): 51 places along x, 31 along y.

    Raises:
        OptionError: another form, fewer than 2 places or too many points.
    """
    match = re.fullmatch(r"([0-9]{1,7})(?:x([0-9]{1,7}))?", text)
    if match is None:
        raise OptionError(f"--points: expected a count (51) or two (51x31, x times y), got {text!r}.")
    counts = tuple(int(count) for count in match.groups() if count is not None)
    if min(counts) < 2 or math.prod(counts) > MOST_POINTS:
        raise OptionError(
            f"--points: expected 2 or more places a direction and at most {MOST_POINTS:,} points, got {text}."
        )
    return counts


def parse_range(text: str, option: str) -> tuple[float, float]:
    """`-1:0.5` -> (-1.0, 0.5).

    Raises:
        OptionError: another form, or the end is not above the start.
    """
    try:
        low, high = map(float, text.split(":"))
    except ValueError:
        raise OptionError(f"{option}: expected LOW:HIGH, two numbers as in -1:1, got {text!r}.") from None
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise OptionError(f"{option}: expected a finite LOW below HIGH, got {text!r}.")
    return low, high
