"""What a study of gradients against batch size found. Knows no torch.

The document has the schema name `landscape.batch-scaling/1`:

    {"schema", "checkpoint", "problem", "settings", "sizes": [n], "rates": [eta(n)],
     "groups": {GROUP: {"parameters", "scatter",
                        "points": [{"size", "batches", "gradient", "gradient_stderr", "parameter_stride", ...,
                                    "loss_stride", ...}],
                        "exponents": {QUANTITY: {"exponent", "stderr", "low", "high", "intercept", "expected"}},
                        "noise_scale": {"noise", "noise_stderr", "signal", ..., "scale", ..., "at_least", "resolved"}}},
     "cost", "seconds", "provenance"}

The first group is `all parameters`. `scatter` is E_i sigma_i, the mean standard deviation of one sample's gradient;
`expected` is the exponent where the noise dominates and the rate grows as the settings say.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from landscape.errors import OptionError

SCHEMA = "landscape.batch-scaling/1"
WHOLE = "all parameters"

QUANTITIES: dict[str, str] = {
    "gradient": "mean gradient E|g_i|",
    "parameter_stride": "parameter stride η E|g_i|",
    "loss_stride": "loss stride η E g_i²",
}
NOISE_DOMINATED = {"gradient": -0.5, "parameter_stride": -0.5, "loss_stride": -1.0}
RATE_GROWS = {None: 0.0, "sqrt": 0.5, "linear": 1.0}


@dataclass(frozen=True)
class Point:
    """Values at one batch size, means over the batches, with their standard errors."""

    size: int
    batches: int
    gradient: float
    gradient_stderr: float
    parameter_stride: float
    parameter_stride_stderr: float
    loss_stride: float
    loss_stride_stderr: float

    def value(self, quantity: str) -> tuple[float, float]:
        """A quantity and its standard error."""
        plain = asdict(self)
        return plain[quantity], plain[f"{quantity}_stderr"]


@dataclass(frozen=True)
class Exponent:
    """A fitted exponent with its 95% interval, and the one of a noise-dominated gradient."""

    exponent: float
    stderr: float
    low: float
    high: float
    intercept: float
    expected: float

    @property
    def as_expected(self) -> bool:
        """Whether the interval holds the exponent of a noise-dominated gradient."""
        return self.low <= self.expected <= self.high


@dataclass(frozen=True)
class Noise:
    """S, |G|^2 and S/|G|^2 with standard errors; see `landscape.curvature.noise_scale`."""

    noise: float
    noise_stderr: float
    signal: float
    signal_stderr: float
    scale: float
    scale_stderr: float
    at_least: float
    resolved: bool


@dataclass(frozen=True)
class GroupScaling:
    """The parameters of one substructure, or all of them."""

    parameters: int
    scatter: float
    points: tuple[Point, ...]
    exponents: Mapping[str, Exponent]
    noise_scale: Noise


@dataclass(frozen=True)
class BatchScaling:
    """A study; see the module."""

    sizes: Sequence[int]
    rates: Sequence[float]
    groups: Mapping[str, GroupScaling]
    problem: Mapping[str, Any]
    settings: Mapping[str, Any]
    cost: float
    seconds: float
    checkpoint: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def whole(self) -> GroupScaling:
        """All parameters."""
        return self.groups[WHOLE]

    def to_plain(self) -> dict[str, Any]:
        """The document as plain JSON values; what is not finite is null."""
        plain: dict[str, Any] = _finite({"schema": SCHEMA, **asdict(self)})
        return plain

    def to_json(self) -> str:
        """The document as JSON text that ends with a newline."""
        return json.dumps(self.to_plain(), indent=2, allow_nan=False) + "\n"

    @classmethod
    def from_plain(cls, document: Mapping[str, Any]) -> BatchScaling:
        """Read what `to_plain` made.

        Raises:
            OptionError: it is of another schema.
        """
        if document.get("schema") != SCHEMA:
            raise OptionError(f"expected a document of schema {SCHEMA}, got {document.get('schema')!r}.")
        values = {key: value for key, value in document.items() if key != "schema"}
        groups = {
            name: GroupScaling(
                group["parameters"],
                _number(group["scatter"]),
                tuple(Point(**_numbers(point)) for point in group["points"]),
                {name: Exponent(**_numbers(exponent)) for name, exponent in group["exponents"].items()},
                Noise(**_numbers(group["noise_scale"])),
            )
            for name, group in values.pop("groups").items()
        }
        return cls(groups=groups, **values)


def read_batch_scaling(path: Path) -> BatchScaling:
    """Read a document from a file.

    Raises:
        OptionError: there is none, or it is no such document.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(document, dict):
            raise OptionError(f"expected a document of schema {SCHEMA}, got a {type(document).__name__}.")
        return BatchScaling.from_plain(document)
    except FileNotFoundError:
        raise OptionError(f"there is no document {path}.") from None
    except OptionError as error:
        raise OptionError(f"{path}: {error}") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise OptionError(f"{path} is no document of `landscape batch-scaling --json`: {error}.") from error


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _numbers(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _number(value) for key, value in values.items()}


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    if isinstance(value, Path):
        return str(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value
