"""What a measure returns and what an analysis is, as plain values with a versioned JSON form. Knows no torch.

An analysis document has the schema name `landscape.analysis/1`:

    {"schema", "checkpoint": {...}, "problem": {...}, "settings": {...},
     "measures": {NAME: {"value", "stderr", "sampling_stderr", "converged", "cost", "seconds", "peak_memory", "groups",
                         ...}},
     "total": {"cost", "seconds", "cached"}, "provenance": {...}}

NaN and infinities are null in it: JSON has no other way to say them. A measure that was known from an earlier analysis
stands as it was measured then, with what it took then: whether it is new is no property of the measure. `total` is what
this analysis took, and its `cached` names the measures that it did not compute.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from landscape.errors import OptionError
from landscape.files import write_atomically

SCHEMA = "landscape.analysis/1"


@dataclass(frozen=True)
class Record:
    """One measure's result.

    Attributes:
        value: the estimate; NaN where it is undefined.
        stderr: the estimator's own standard error on the chosen samples: 0 where the value is exact,
            the error bound where it is an eigenvalue, NaN where undefined.
        sampling_stderr: the standard error of the chosen samples as a draw from the split: 0 where all
            are used, NaN where undefined.
        converged: whether the asked relative error was reached within the budget.
        cost: gradient-equivalents (see `landscape.work`).
        seconds: wall-clock seconds.
        groups: value by substructure, empty where the measure has none.
        details: further named values of the measure (lists, numbers, tables); keys of their own in the JSON.
        skipped: the reason why the measure does not apply, else None.
        peak_memory: the most memory in use while it ran, in bytes (see `landscape.memory`); None where unknown.
    """

    value: float
    stderr: float = math.nan
    sampling_stderr: float = math.nan
    converged: bool = True
    cost: float = 0.0
    seconds: float = 0.0
    groups: Mapping[str, float] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)
    skipped: str | None = None
    peak_memory: int | None = None

    @classmethod
    def skip(cls, reason: str) -> Record:
        """The record of a measure that does not apply."""
        return cls(value=math.nan, converged=False, skipped=reason)

    def to_dict(self) -> dict[str, Any]:
        """The record as plain JSON values; `details` are merged into the top level."""
        if self.skipped is not None:
            return {"value": None, "skipped": self.skipped}
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        details = fields.pop("details")
        clash = fields.keys() & details.keys()
        assert not clash, f"details must not shadow the fields {sorted(clash)}"
        del fields["skipped"]
        return {**_plain(fields), **_plain(details)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Record:
        """Read what `to_dict` wrote; null becomes NaN in the numeric fields.

        Raises:
            OptionError: a field is of another type.
        """
        _must_be_mapping(values, "a measure")
        if "skipped" in values:
            return cls.skip(str(values["skipped"]))
        names = {f.name for f in dataclasses.fields(cls)} - {"details", "skipped"}
        known = {k: v for k, v in values.items() if k in names}
        for name in ("value", "stderr", "sampling_stderr", "cost", "seconds"):
            known[name] = _number(known.get(name), name)
        groups = _must_be_mapping(known.get("groups", {}), "groups")
        known["groups"] = {k: _number(v, f"groups.{k}") for k, v in groups.items()}
        return cls(**known, details={k: v for k, v in values.items() if k not in names})


@dataclass(frozen=True)
class Analysis:
    """All measures of one checkpoint, with what was measured and how; `to_json` is the stable document."""

    measures: Mapping[str, Record]
    problem: Mapping[str, Any]
    settings: Mapping[str, Any]
    checkpoint: Mapping[str, Any] = field(default_factory=dict)
    total: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The document as plain JSON values."""
        return {
            "schema": SCHEMA,
            "checkpoint": _plain(self.checkpoint),
            "problem": _plain(self.problem),
            "settings": _plain(self.settings),
            "measures": {name: record.to_dict() for name, record in self.measures.items()},
            "total": _plain(self.total),
            "provenance": _plain(self.provenance),
        }

    def to_json(self) -> str:
        """The document as JSON text that ends with a newline."""
        return json.dumps(self.to_dict(), indent=2, allow_nan=False) + "\n"

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Analysis:
        """Read a document of this schema; raises `OptionError` for any other, and where a part is of another type."""
        if document.get("schema") != SCHEMA:
            raise OptionError(
                f"expected a document of schema {SCHEMA}, got {document.get('schema')!r}; "
                "make it again with `landscape analyze --json`."
            )
        parts = {
            key: _must_be_mapping(document.get(key, {}), key)
            for key in ("measures", "problem", "settings", "checkpoint", "total", "provenance")
        }
        for key in ("config", "metrics"):
            _must_be_mapping(parts["checkpoint"].get(key) or {}, f"checkpoint.{key}")
        return cls(measures={name: Record.from_dict(r) for name, r in parts.pop("measures").items()}, **parts)

    def write(self, path: Path) -> None:
        """Write the document to `path`, whole or not at all."""
        write_atomically(path, self.to_json().encode())


def _must_be_mapping(value: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise OptionError(f"a damaged analysis: {what} is a {type(value).__name__}; make it again.")
    return value


def _number(value: Any, what: str) -> float:
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise OptionError(f"a damaged analysis: {what} is a {type(value).__name__}; make it again.")
    try:
        return float(value)
    except OverflowError:
        raise OptionError(f"a damaged analysis: {what} is too large; make it again.") from None


def _plain(value: Any) -> Any:
    """Reduce to what JSON can say: NaN and infinities to None, mappings and sequences recursively."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"a record holds plain values only, got {type(value).__name__}")
