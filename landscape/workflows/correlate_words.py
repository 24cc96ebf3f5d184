"""What a table of correlations cannot say, in sentences: refusals, dropped networks, warnings, margins."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from landscape.numbers import format_coefficient
from landscape.study.correlation import Correlation
from landscape.study.margins import MarginRegression, NoRegression
from landscape.workflows.correlate import Correlations

SHOWN = 8
"""Names in one sentence."""


@dataclass(frozen=True)
class Remark:
    """A sentence, and whether it warns of a result rather than tells of the networks."""

    text: str
    warns: bool = False


def remarks(result: Correlations) -> list[Remark]:
    """What is to know beside the table."""
    found = [Remark(note) for note in result.notes]
    refused: dict[str, list[str]] = {}
    dropped: dict[tuple[str, ...], list[str]] = {}
    for one in result.found:
        label = label_of(one)
        if one.refused is not None:
            refused.setdefault(one.refused, []).append(label)
        elif one.dropped:
            dropped.setdefault(tuple(f"{name} ({why})" for name, why in one.dropped.items()), []).append(label)
        if one.explained_by and not one.group:
            words = ", ".join(
                f"{name} (of Spearman's {two(one.coefficients.spearman)} it leaves {two(left)})"
                for name, left in one.explained_by.items()
            )
            found.append(Remark(f"warning: {label}: the order is explained by {words}", warns=True))
    found += [Remark(f"refused: {few(labels)}: {reason}") for reason, labels in refused.items()]
    every = len([one for one in result.found if one.refused is None])
    for reasons, labels in dropped.items():
        of = "all measures" if len(labels) == every else few(labels)
        found.append(Remark(f"dropped {len(reasons)} of {len(result.names)} from {of}: {few(reasons)}"))
    return found


def margin_words(margins: MarginRegression | NoRegression) -> str:
    """The margin regression in a sentence."""
    if isinstance(margins, NoRegression):
        return f"margin regression refused: {margins.reason}"
    kind = "logarithms of the margins'" if margins.log else "margins'"
    text = (
        f"regression on the {kind} {', '.join(margins.entries)}: R² {two(margins.r2)}, "
        f"adjusted {two(margins.adjusted_r2)}, {margins.folds} folds {two(margins.folds_r2)}, n {margins.n}"
    )
    text += "".join(f"; {entry} left out ({why})" for entry, why in margins.left_out.items())
    if margins.dropped:
        text += f"; dropped {len(margins.dropped)}: {few([f'{name} ({why})' for name, why in margins.dropped.items()])}"
    return text


def label_of(one: Correlation) -> str:
    """A measure, or its substructure, by name."""
    return f"{one.measure}, {one.group}" if one.group else one.measure


def few(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    rest = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {rest} more (--json has all)" if rest > 0 else "")


def two(value: float) -> str:
    """A coefficient with two decimals; a dash for NaN."""
    return format_coefficient(value)


def interval(low: float, high: float) -> str:
    """An interval with two decimals; nothing where there is none."""
    return "" if math.isnan(low) else f"[{two(low)}, {two(high)}]"
