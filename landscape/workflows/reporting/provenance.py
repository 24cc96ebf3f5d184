"""The part on where a report comes from: files with their hashes, settings and versions behind the numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import landscape
from landscape.records import Analysis
from landscape.report.blocks import Block, Cell, Column, Fact, Facts, Part, Prose, Row, Table
from landscape.report.network import created
from landscape.workflows.reporting.sources import Origin

DIGITS = 24
"""Of a hash in the table; each part has its own in full where it is on one file."""

_SETTINGS = ("split", "samples", "seed", "rtol", "budget", "dtype", "bn", "by", "engine", "hvp")
_VERSIONS = ("landscape", "torch", "python")


def provenance_part(
    told: Sequence[tuple[Part, Sequence[Origin]]], analyses: Sequence[Analysis], *, key: str = "provenance"
) -> Part:
    """Where it comes from.

    Args:
        told: the parts of the report, each with the files that it was made of.
        analyses: those behind the parts.
        key: of the part.
    """
    rows: list[Fact] = []
    if analyses:
        rows += [
            Fact("Measured by", _common(_values(analyses, "provenance", _VERSIONS))),
            Fact("Made", _span(sorted(filter(None, (created(analysis) for analysis in analyses))))),
            Fact("Settings", _common(_values(analyses, "settings", _SETTINGS))),
        ]
    rows.append(Fact("This document", f"landscape {landscape.__version__}; the same files give the same bytes"))
    blocks: list[Block] = [Facts([row for row in rows if row.text])]
    used: dict[Origin, list[int]] = {}
    for place, (_, origins) in enumerate(told, start=1):
        for origin in origins:
            used.setdefault(origin, []).append(place)
    if used:
        lines: list[Row] = [
            [
                str(origin.path),
                origin.sha256[:DIGITS],
                Cell(", ".join(map(str, places)), link=told[places[0] - 1][0].key),
            ]
            for origin, places in used.items()
        ]
        columns = [Column("File", "mono", 1.0), Column(f"SHA-256 ({DIGITS} digits)", "mono"), Column("Part", "right")]
        blocks.append(Table(columns, lines, small=True))
    elif analyses:
        blocks.append(Prose("The analyses were made for this document; each part names its checkpoint.", "small"))
    return Part("Where this comes from", key, blocks, summary="files, hashes, settings, versions")


def origin_facts(origins: Sequence[Origin]) -> list[Fact]:
    """The files of one part, for its own facts."""
    rows = []
    for origin in origins:
        rows += [Fact("From", str(origin.path), mono=True), Fact("Its SHA-256", origin.sha256, mono=True)]
    return rows


def _values(analyses: Sequence[Analysis], where: str, names: Sequence[str]) -> dict[str, list[str]]:
    """name -> its different values among the analyses, in words."""
    tables: list[Mapping[str, Any]] = [getattr(analysis, where) for analysis in analyses]
    found = {}
    for name in names:
        values = list(dict.fromkeys(str(table[name]) for table in tables if table.get(name) is not None))
        if values:
            found[name] = values
    return found


def _common(values: Mapping[str, Sequence[str]]) -> str:
    """Names with their values; where several differ, all of them."""
    return ", ".join(f"{name} {' or '.join(several)}" for name, several in values.items())


def _span(times: Sequence[str]) -> str:
    if not times:
        return ""
    return times[0] if times[0] == times[-1] else f"{times[0]} to {times[-1]}"
