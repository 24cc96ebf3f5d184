"""Analyses side by side: each measure and substructure, what differs, by how many standard errors. Loads no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from landscape.errors import OptionError
from landscape.records import Record
from landscape.study.difference import MARKED, combined_error, z_score
from landscape.workflows.evidence import METRICS, Evidence, differences, those_there

SCHEMA = "landscape.comparison/1"


@dataclass(frozen=True)
class Compared:
    """One measure (or its part in a substructure) of every network.

    Attributes:
        measure, group: what it is; the group is empty for the whole network.
        values: a network each; NaN where it was not measured.
        errors: the standard errors that the differences are held against, a network each; NaN where unknown.
        differences: value less that of the first network; that of the first is 0.
        difference_errors: combined standard errors of these.
        z: difference / combined error; infinite where exact values differ, NaN where unknown.
    """

    measure: str
    group: str
    values: Sequence[float]
    errors: Sequence[float]
    differences: Sequence[float]
    difference_errors: Sequence[float]
    z: Sequence[float]

    @property
    def marked(self) -> list[bool]:
        """Whether each network differs from the first by more than two combined standard errors."""
        return [abs(z) > MARKED for z in self.z]


@dataclass(frozen=True)
class Comparison:
    """All networks' measures.

    Attributes:
        names: of the networks; the first is what the others are held against.
        by: what the substructures are.
        same_samples: whether all were measured on the same samples, so that only the estimators' errors count.
        rows: in the order in which the analyses have the measures, each followed by its substructures.
        metrics: what is known of each network's training.
        notes: what the reader should know.
    """

    names: Sequence[str]
    by: str
    same_samples: bool
    rows: Sequence[Compared]
    metrics: Sequence[Mapping[str, float]]
    notes: Sequence[str]

    def table(self) -> pd.DataFrame:
        """A row a measure, substructure and network."""
        return pd.DataFrame(
            [
                {
                    "measure": row.measure,
                    "group": row.group,
                    "network": name,
                    "value": row.values[i],
                    "stderr": row.errors[i],
                    "difference": row.differences[i],
                    "difference_stderr": row.difference_errors[i],
                    "z": row.z[i],
                    "marked": row.marked[i],
                }
                for row in self.rows
                for i, name in enumerate(self.names)
            ]
        )

    def to_plain(self) -> dict[str, Any]:
        """All of it as plain JSON values; NaN and infinities are null."""
        rows = self.table().astype(object).to_dict("records")
        return {
            "schema": SCHEMA,
            "networks": [{"name": n, **_finite(m)} for n, m in zip(self.names, self.metrics, strict=True)],
            "by": self.by,
            "same_samples": self.same_samples,
            "rows": [_finite({str(k): v for k, v in row.items()}) for row in rows],
            "notes": list(self.notes),
        }


def compare(networks: Sequence[Evidence], *, measures: Sequence[str] = (), allow_different: bool = False) -> Comparison:
    """Hold networks against the first of them.

    On the same samples the standard errors are those of the estimators alone: the draw of the samples is common to all.
    On different ones that of the draw counts too, and is not known of a substructure.

    Args:
        networks: two or more; they may be of different architectures.
        measures: only these; all if empty.
        allow_different: compare although data or settings of the analyses differ.

    Raises:
        OptionError: fewer than two networks, a measure that none has, or data or settings that differ unallowed.
    """
    if len(networks) < 2:
        raise OptionError(f"a comparison wants two networks or more, got {len(networks)}.")
    different = differences(networks, network=False)
    if different and not allow_different:
        raise OptionError(
            f"these are analyses of different things ({'; '.join(different)}); analyze them alike, "
            "or give --allow-different."
        )
    known = list(dict.fromkeys(name for one in networks for name in one.analysis.measures))
    wanted = those_there(measures, known)
    same = not {words.partition(":")[0] for words in different} & {"data", "split", "samples"}
    rows: list[Compared] = []
    for name in wanted:
        records = [one.analysis.measures.get(name) for one in networks]
        groups = dict.fromkeys(group for record in records if record is not None for group in record.groups)
        rows += [_row(name, group, records, same=same) for group in ("", *groups)]
    notes = [f"different: {words}" for words in different]
    notes += [
        f"{name} of {one.name} was skipped: {record.skipped}"
        for one in networks
        for name, record in one.analysis.measures.items()
        if record.skipped is not None and name in wanted
    ]
    metrics = [{key: one.metrics[key] for key in METRICS if key in one.metrics} for one in networks]
    by = str(networks[0].analysis.settings.get("by", "role"))
    return Comparison([one.name for one in networks], by, same, rows, metrics, notes)


def _row(name: str, group: str, records: Sequence[Record | None], *, same: bool) -> Compared:
    values = [math.nan if record is None else _value(record, group) for record in records]
    errors = [math.nan if record is None else _error(record, group, same=same) for record in records]
    changes = [value - values[0] for value in values]
    combined = [0.0, *(combined_error(errors[0], error) for error in errors[1:])]
    z = [0.0, *(z_score(d, e) for d, e in zip(changes[1:], combined[1:], strict=True))]
    return Compared(name, group, values, errors, changes, combined, z)


def _value(record: Record, group: str) -> float:
    return record.groups.get(group, math.nan) if group else record.value


def _error(record: Record, group: str, *, same: bool) -> float:
    """The standard error that counts; a part of an exact value is exact."""
    if not group:
        return record.stderr if same else combined_error(record.stderr, record.sampling_stderr)
    known = record.details.get("groups_stderr", {}).get(group)
    own = float(known) if known is not None else 0.0 if record.stderr == 0 else math.nan
    if same:
        return own
    return own if record.sampling_stderr == 0 else math.nan


def _finite(row: Mapping[str, Any]) -> dict[str, Any]:
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}
