"""Which measures an analysis has and what is said of each, also of one that the catalog does not know."""

from __future__ import annotations

from landscape.catalog import CATALOG, About
from landscape.records import Analysis, Record


def about(name: str) -> About:
    """The catalog's entry; of a measure of another version its name alone, with nothing said of it."""
    known = CATALOG.get(name)
    if known is not None:
        return known
    title = name.replace("_", " ").capitalize()
    return About(
        name=name, title=title, formula="", formula_text="", unit="", reading="", estimate="", cost="", invariances="",
        reference="",
    )  # fmt: skip


def ordered(analysis: Analysis) -> list[tuple[str, Record]]:
    """The measures in the order of the catalog; those that it does not know follow."""
    names = [name for name in CATALOG if name in analysis.measures]
    names += [name for name in analysis.measures if name not in CATALOG]
    return [(name, analysis.measures[name]) for name in names]
