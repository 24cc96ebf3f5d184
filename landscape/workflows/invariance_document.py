"""What an invariance study found: the measures of every variant of a network, and a verdict on each. Knows no torch.

The document has the schema name `landscape.invariance/1`:

    {"schema", "checkpoint", "problem", "settings",
     "structure": {"rho", "scale", "fold", "left_out": {LAYER: WHY}, "not_done": {TRANSFORM: WHY}},
     "original": {MEASURE: record},
     "variants": [{"transform", "c", "units", "of", "change", "size", "measures": {MEASURE: record}}],
     "findings": [{"measure", "transform", "found", "theory",
                   "changes": [{"c", "ratio", "ratio_stderr", "difference", "bound"}]}],
     "saved": {"path", "change"}, "provenance"}

Verdict, for each measure and transformation, over all c: with d the difference to the original value,

    bound = rounding |original| + 4 sqrt(stderr^2 + stderr'^2),   rounding = sqrt(precision of the dtype)

it `moved` if |d| > bound for a c; it is `unchanged` if no d is above its bound and no bound above 1% of the value; else
it is `unresolved`: the errors would hide a change. Four standard errors: of dozens of comparisons none should be above
by chance (6 in 100,000 are).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from landscape.catalog import CATALOG
from landscape.errors import OptionError
from landscape.records import Record

SCHEMA = "landscape.invariance/1"

STANDARD_ERRORS = 4.0
RESOLVED = 0.01
_PRECISION = {"float64": 2.0**-52, "float32": 2.0**-23}

Found = Literal["unchanged", "moved", "unresolved"]
Theory = Literal["unchanged", "moves", "unstated"]
Knows = Literal["function", "relative", "parameters", "unstated"]


@dataclass(frozen=True)
class Variant:
    """The network by other parameters.

    Attributes:
        transform: a name in `landscape.config.invariance.TRANSFORMS`.
        c: the factor; None where there is none.
        units: how many were multiplied (or normalisations folded), `of` so many.
        change, size: the largest change of an output on any sample, and the largest output.
        measures: their records; a measure that was not reached is not there.
    """

    transform: str
    c: float | None
    units: int
    of: int
    change: float
    size: float
    measures: Mapping[str, Record] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """What it is called: RHO, c = 2."""
        return self.transform if self.c is None else f"{self.transform}, c = {self.c:g}"


@dataclass(frozen=True)
class Change:
    """A measure of one variant beside the original.

    Attributes:
        c: the factor; None where there is none.
        ratio, ratio_stderr: the value over the original one, with the standard error that follows from the two.
        difference, bound: the value less the original one, and what decides whether it moved.
    """

    c: float | None
    ratio: float
    ratio_stderr: float
    difference: float
    bound: float

    @property
    def moved(self) -> bool:
        """Whether the difference is more than rounding and errors."""
        return not abs(self.difference) <= self.bound


@dataclass(frozen=True)
class Finding:
    """A measure under one transformation: what was found and what its definition says."""

    measure: str
    transform: str
    found: Found
    theory: Theory
    changes: tuple[Change, ...]

    @property
    def contradicts(self) -> bool:
        """Whether a measure moved that must not."""
        return self.found == "moved" and self.theory == "unchanged"


@dataclass(frozen=True)
class Invariance:
    """A study; `findings` follow from the records.

    Attributes:
        original: the records of the network as it is.
        variants: the same function by other parameters.
        problem, settings, checkpoint, provenance: as in an analysis, with the settings of the transformations.
        structure: how many units of each kind there are, and why other channels are none.
        saved: the file that the variant was written to, and how much an output changed by the rounding of its dtype.
    """

    original: Mapping[str, Record]
    variants: tuple[Variant, ...]
    problem: Mapping[str, Any]
    settings: Mapping[str, Any]
    structure: Mapping[str, Any]
    checkpoint: Mapping[str, Any] = field(default_factory=dict)
    saved: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def transforms(self) -> list[str]:
        """The transformations, in their order."""
        return list(dict.fromkeys(variant.transform for variant in self.variants))

    @property
    def measures(self) -> list[str]:
        """The measures that have a value, those first that know the function alone, then relative changes."""
        order = ("function", "relative", "parameters", "unstated")
        names = [name for name, record in self.original.items() if record.skipped is None]
        return sorted(names, key=lambda name: order.index(knows(name)))

    def findings(self) -> list[Finding]:
        """A verdict for each transformation and measure that every c of it has."""
        found = []
        for transform in self.transforms:
            variants = [variant for variant in self.variants if variant.transform == transform]
            for name in self.measures:
                records = [variant.measures.get(name) for variant in variants]
                known = [record for record in records if record is not None and record.skipped is None]
                if len(known) == len(variants):
                    changes = [
                        self._change(name, variant.c, record) for variant, record in zip(variants, known, strict=True)
                    ]
                    verdict = _verdict(self.original[name].value, changes)
                    found.append(Finding(name, transform, verdict, theory(name, transform), tuple(changes)))
        return found

    def unchanged_groups(self, measure: str, transform: str) -> list[str]:
        """Substructures whose exact value no variant of a transformation moved."""
        one = self.original[measure]
        others = [v.measures[measure] for v in self.variants if v.transform == transform and measure in v.measures]
        if any(record.stderr != 0 for record in (one, *others)):
            return []
        groups = [group for group in one.groups if all(group in record.groups for record in others)]
        return [
            group
            for group in groups
            if all(
                abs(record.groups[group] - one.groups[group]) <= self._rounding * abs(one.groups[group])
                for record in others
            )
        ]

    def to_plain(self) -> dict[str, Any]:
        """The document as plain JSON values."""
        return {
            "schema": SCHEMA,
            "checkpoint": dict(self.checkpoint),
            "problem": _finite(dict(self.problem)),
            "settings": dict(self.settings),
            "structure": dict(self.structure),
            "original": {name: record.to_dict() for name, record in self.original.items()},
            "variants": [
                {
                    **{k: v for k, v in vars(variant).items() if k != "measures"},
                    "measures": {name: record.to_dict() for name, record in variant.measures.items()},
                }
                for variant in self.variants
            ],
            "findings": [_finite(asdict(finding)) for finding in self.findings()],
            "saved": dict(self.saved),
            "provenance": dict(self.provenance),
        }

    def to_json(self) -> str:
        """The document as JSON text that ends with a newline."""
        return json.dumps(self.to_plain(), indent=2, allow_nan=False) + "\n"

    @classmethod
    def from_plain(cls, document: Mapping[str, Any]) -> Invariance:
        """Read what `to_plain` made.

        Raises:
            OptionError: it is of another schema.
        """
        if document.get("schema") != SCHEMA:
            raise OptionError(f"expected a document of schema {SCHEMA}, got {document.get('schema')!r}.")

        def records(values: Mapping[str, Any]) -> dict[str, Record]:
            return {name: Record.from_dict(record) for name, record in values.items()}

        return cls(
            original=records(document["original"]),
            variants=tuple(Variant(**{**v, "measures": records(v["measures"])}) for v in document["variants"]),
            **{key: document[key] for key in ("problem", "settings", "structure", "checkpoint", "saved", "provenance")},
        )

    @property
    def _rounding(self) -> float:
        return math.sqrt(_PRECISION[str(self.problem["dtype"])])

    def _change(self, name: str, c: float | None, record: Record) -> Change:
        one = self.original[name]
        errors = [r.stderr if math.isfinite(r.stderr) else 0.0 for r in (one, record)]
        ratio = record.value / one.value if one.value else math.nan
        relative = math.hypot(*(e / r.value if r.value else 0.0 for e, r in zip(errors, (one, record), strict=True)))
        bound = self._rounding * max(abs(one.value), abs(record.value)) + STANDARD_ERRORS * math.hypot(*errors)
        return Change(c, ratio, abs(ratio) * relative, record.value - one.value, bound)


def knows(measure: str) -> Knows:
    """What of the parameters a measure knows: the function that they make, their relative changes, or themselves."""
    if measure not in CATALOG:
        return "unstated"
    about = CATALOG[measure]
    return "function" if about.of_function else "relative" if about.rho_invariant else "parameters"


def theory(measure: str, transform: str) -> Theory:
    """What the definition of a measure says of a transformation that leaves the function as it is.

    The `function` knows nothing of it. `relative` changes of parameters do not see a rescaling, but see a folding,
    which takes parameters away. A measure of the `parameters` moves with them, but where it happens not to.
    """
    known = knows(measure)
    if known == "unstated":
        return "unstated"
    return "unchanged" if known == "function" or (known == "relative" and transform != "fold") else "moves"


def read_invariance(path: Path) -> Invariance:
    """Read a document from a file.

    Raises:
        OptionError: there is none, or it is no such document.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(document, dict):
            raise OptionError(f"{path}: expected a document of schema {SCHEMA}, got a {type(document).__name__}.")
        return Invariance.from_plain(document)
    except FileNotFoundError:
        raise OptionError(f"there is no document {path}.") from None
    except OptionError as error:
        raise OptionError(str(error) if str(error).startswith(str(path)) else f"{path}: {error}") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OptionError(f"{path} is no document of `landscape invariance --json`: {error}.") from error


def _verdict(value: float, changes: list[Change]) -> Found:
    if any(change.moved for change in changes):
        return "moved"
    return "unchanged" if all(change.bound <= RESOLVED * abs(value) for change in changes) else "unresolved"


def _finite(value: Any) -> Any:
    """NaN and infinities as null, tuples as lists."""
    if isinstance(value, Mapping):
        return {str(key): _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
