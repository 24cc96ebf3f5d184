"""Recipes that repeat the experiments of the papers: a YAML file a table, a recipe a row, each full and small.

    title, paper, table, quantity    what is repeated, and what the numbers of `expects` are
    notes                            of all rows; `our reading` marks what the paper leaves open or its text lost
    common, parts                    settings that rows share: of all rows, and by name
    rows                             by name: parts, settings of its own, and what the paper found
    study                            what a reproduction of the table trains, measures and compares

Settings are those of `landscape train`. Those of a row are, each over the ones before it: `common`, its `parts` in
order, its own; for the small variant then the `small` settings in the same order. null takes a setting back to its
default.
The recipe of row `beta-decay` in `cs-table3.yaml` is `cs-table3-beta-decay`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Literal

from pydantic import Field

from landscape.config.recipe import parse_recipe, validate
from landscape.config.settings import Settings
from landscape.config.training import TrainConfig
from landscape.errors import OptionError, near

PAPERS: Mapping[str, str] = {
    "CS": "Bias Decay Matters: Improving Large Batch Optimization with Connectivity Sharpness (ICLR 2022 submission)",
    "TP": "Achieving Small-Batch Accuracy with Large-Batch Scalability via Adaptive Learning Rate Adjustment "
    "(ICLR 2022 submission)",
    "CB": "Study on the Large Batch Size Training of Neural Networks Based on the Second Order Gradient "
    "(arXiv:2012.08795)",
    "WD": "Three Mechanisms of Weight Decay Regularization (arXiv:1810.12281)",
    "WR": "The Implicit Biases of Stochastic Gradient Descent on Deep Neural Networks with Batch Normalization "
    "(arXiv:2102.03497)",
}

Expected = float | str | dict[str, float]


class Part(Settings):
    """Settings of `landscape train`, and those that replace them in the small variant."""

    settings: dict[str, Any] = Field(default_factory=dict)
    small: dict[str, Any] = Field(default_factory=dict)


class Row(Part):
    """One row of a paper's table.

    Attributes:
        row: what the paper calls it.
        parts: names in the table's `parts`.
        expects: what the paper found: a number, numbers by name, or words.
        within: the spread that the paper gives with it.
        notes: what is to be known of this row alone.
        needs: settings that are run folders of other rows: setting -> row.
    """

    row: str
    parts: tuple[str, ...] = ()
    expects: Expected
    within: float | None = None
    notes: str = ""
    needs: dict[str, str] = Field(default_factory=dict)


class Claim(Settings):
    """What a table shows: the row `more` has more `of` a quantity than the row `than`.

    Attributes:
        more: the row with the larger value in the paper.
        than: the row with the smaller one.
        of: `test_accuracy` or another column of `history.csv`, or MEASURE or MEASURE.GROUP of an analysis.
    """

    more: str
    than: str
    of: str = "test_accuracy"


class Study(Settings):
    """What a reproduction of the table does.

    Attributes:
        seeds: runs of each row in the small study.
        measures: of each trained network, beside the columns of its history.
        claims: what the table shows.
        curve: the column of the history that is drawn.
    """

    seeds: int = Field(default=3, ge=2)
    measures: tuple[str, ...] = ()
    claims: tuple[Claim, ...] = ()
    curve: str = "test_accuracy"


class Table(Settings):
    """One table or figure of a paper, as its YAML file has it."""

    title: str
    paper: Literal["CS", "TP", "CB", "WD", "WR"]
    table: str
    quantity: str
    notes: tuple[str, ...] = ()
    common: Part = Part()
    parts: dict[str, Part] = Field(default_factory=dict)
    rows: dict[str, Row] = Field(min_length=1)
    study: Study = Study()


@dataclass(frozen=True)
class PaperRecipe:
    """A recipe with all its settings.

    Attributes:
        name: TABLE-ROW.
        table: the name of the YAML file.
        about: what the file says of the table.
        row: what it says of the row.
        settings: at the paper's scale; `data` without a folder.
        small: of the small variant.
    """

    name: str
    table: str
    about: Table
    row: Row
    settings: Mapping[str, Any]
    small: Mapping[str, Any]

    @property
    def needs(self) -> Mapping[str, str]:
        """Settings that are run folders of other recipes: setting -> the recipe's name."""
        return {setting: f"{self.table}-{row}" for setting, row in self.row.needs.items()}

    @property
    def notes(self) -> tuple[str, ...]:
        """What is to be known of the settings."""
        return (*self.about.notes, *([self.row.notes] if self.row.notes else []))

    def config(self, *, small: bool, **over: Any) -> TrainConfig:
        """The settings of one of the two variants, with those of `over` in place of the recipe's.

        Raises:
            OptionError: a setting is unknown (near names are offered), of another type or out of range.
        """
        try:
            return validate(TrainConfig, {**(self.small if small else self.settings), **over})
        except OptionError as error:
            raise OptionError(f"recipe {self.name}: {error}") from error


@cache
def tables() -> Mapping[str, Table]:
    """All tables by the name of their file, in alphabetical order.

    Raises:
        OptionError: a file is no YAML or has an unknown or misspelt field (near names are offered).
    """
    folder = resources.files("landscape.recipes") / "papers"
    files = {file.name.removesuffix(".yaml"): file for file in folder.iterdir() if file.name.endswith(".yaml")}
    return {name: read_table(files[name].read_text(encoding="utf-8"), f"{name}.yaml") for name in sorted(files)}


def read_table(text: str, where: str) -> Table:
    """Read a table from YAML; `where` names the file in errors.

    Raises:
        OptionError: as `tables`; or a row or a claim names a part or a row that is not there.
    """
    try:
        table = validate(Table, parse_recipe(text, where))
    except OptionError as error:
        raise OptionError(f"{where}: {str(error).removeprefix(f'{where} ')}") from error
    for key, row in table.rows.items():
        for part in row.parts:
            if part not in table.parts:
                raise OptionError(f"{where}, row {key}: unknown part {part!r}.{near(part, table.parts)}")
    named = [name for claim in table.study.claims for name in (claim.more, claim.than)]
    named += [other for row in table.rows.values() for other in row.needs.values()]
    for name in named:
        if name not in table.rows:
            raise OptionError(f"{where}: unknown row {name!r}.{near(name, table.rows)}")
    return table


def recipes_of(name: str, table: Table) -> Iterator[PaperRecipe]:
    """The recipes of a table, a row each."""
    for key, row in table.rows.items():
        parts = (table.common, *(table.parts[part] for part in row.parts), row)
        settings = {setting: value for part in parts for setting, value in part.settings.items()}
        small = settings | {setting: value for part in parts for setting, value in part.small.items()}
        yield PaperRecipe(f"{name}-{key}", name, table, row, _given(settings), _given(small))


@cache
def paper_recipes() -> Mapping[str, PaperRecipe]:
    """All recipes by name.

    Raises:
        OptionError: as `tables`.
    """
    return {recipe.name: recipe for name, table in tables().items() for recipe in recipes_of(name, table)}


def paper_recipe(name: str) -> PaperRecipe:
    """The recipe `name`.

    Raises:
        OptionError: there is none; near names are offered.
    """
    known = paper_recipes()
    if name not in known:
        raise OptionError(f"unknown recipe {name!r}.{_near(name, known)} landscape recipes lists all.")
    return known[name]


def recipes_under(name: str) -> list[PaperRecipe]:
    """The recipe `name`, or those of the table `name`.

    Raises:
        OptionError: there is neither; near names are offered.
    """
    if name in tables():
        return [recipe for recipe in paper_recipes().values() if recipe.table == name]
    known = paper_recipes()
    if name not in known:
        near_names = _near(name, [*known, *tables()])
        raise OptionError(f"unknown recipe or table {name!r}.{near_names} landscape recipes lists all.")
    return [known[name]]


def command(recipe: PaperRecipe, *, small: bool = False) -> str:
    """What to type for a recipe; FOLDER and RUN are the reader's."""
    words = ["landscape train --recipe", recipe.name]
    settings = recipe.small if small else recipe.settings
    if small:
        words.append("--small")
    data = settings.get("data", "digits")
    if data != "digits":
        words.append(f"--data {data}:FOLDER")
    words += [f"--{setting.replace('_', '-')} RUN" for setting in recipe.needs]
    return " ".join(words)


def expected(row: Row) -> str:
    """What the paper found, in words."""
    if isinstance(row.expects, dict):
        return ", ".join(f"{name} {value:.3g}" for name, value in row.expects.items())
    if isinstance(row.expects, str):
        return row.expects
    return f"{row.expects:.4g}" + ("" if row.within is None else f" ± {row.within:g}")


def _given(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Without what was taken back."""
    return {name: value for name, value in settings.items() if value is not None}


def _near(name: str, known: Mapping[str, Any] | list[str]) -> str:
    """Near names; not all of them where none is near, for they are many."""
    offer = near(name, known)
    return "" if offer.startswith(" Known") else offer
