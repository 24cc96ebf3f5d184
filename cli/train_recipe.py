"""`landscape train --recipe NAME [--small]`: the settings of a recipe, and what it asks of its user."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from landscape.errors import OptionError

if TYPE_CHECKING:
    from landscape.config.paper_recipes import PaperRecipe


@dataclass(frozen=True)
class RecipeBase:
    """The recipe that was asked for, in one of its variants."""

    recipe: PaperRecipe
    small: bool

    @property
    def settings(self) -> Mapping[str, Any]:
        """Its settings; those that options set go before them."""
        return self.recipe.small if self.small else self.recipe.settings

    def check(self, settings: Mapping[str, Any]) -> None:
        """Look whether the user gave what a recipe cannot hold: folders of this machine.

        Raises:
            OptionError: the folder of the data set, or of another recipe's run, is missing; the message says how to
                give it.
        """
        from landscape.data import DATASETS

        data = str(settings.get("data", "digits"))
        if data in DATASETS and DATASETS[data].needs_folder:
            small = "" if self.small else ", or take --small, which needs no files"
            raise OptionError(
                f"recipe {self.recipe.name} trains on {data}: give the folder that holds its files, "
                f"--data {data}:FOLDER{small}."
            )
        for setting, other in self.recipe.needs.items():
            if settings.get(setting) is None:
                words = f"--recipe {other}{' --small' if self.small else ''}"
                raise OptionError(
                    f"recipe {self.recipe.name} needs the run of another: landscape train {words} --out RUN, then "
                    f"--{setting.replace('_', '-')} RUN."
                )


def recipe_base(name: str | None, small: bool, config: Path | None) -> RecipeBase | None:
    """The recipe `name` as --recipe, --small and --config ask for it; None without --recipe.

    Raises:
        OptionError: the recipe is unknown (near names are offered), --small is given without one, or --config too.
    """
    if name is None:
        if small:
            raise OptionError(
                "--small is a variant of a recipe; name it: --recipe NAME (landscape recipes lists them)."
            )
        return None
    if config is not None:
        raise OptionError("expected --recipe or --config, got both; --set KEY=VALUE changes single settings.")
    # Loaded here: `landscape --help` must not wait for pydantic.
    from landscape.config.paper_recipes import paper_recipe

    return RecipeBase(paper_recipe(name), small)
