"""Every recipe can be run: full it names what there is, small it takes its first step."""

import json

import pytest
import torch

from landscape.config.paper_recipes import paper_recipes
from landscape.config.training import TrainRun
from landscape.data import DATASETS
from landscape.models import build_model, parse_model
from landscape.parameters import describe
from landscape.training.decay.plan import plan_decay
from landscape.training.events import StepDone
from landscape.training.schedules import SCHEDULES
from landscape.workflows.train import resolve, train

RECIPES = paper_recipes()


class FirstStepError(Exception):
    """Ends a run after one step."""


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def with_folders(recipe, small, folder):
    """What a user gives beside the recipe."""
    settings = recipe.small if small else recipe.settings
    given = {setting: str(folder) for setting in recipe.needs}
    data = settings["data"]
    if data not in DATASETS or DATASETS[data].needs_folder:
        given["data"] = f"{data}:{folder}"
    return given


@pytest.mark.parametrize("name", RECIPES)
def test_the_full_recipe_names_what_there_is(name, tmp_path):
    """Optimizer, decay and schedule are resolved, with their options, on a network of the recipe's kind."""
    config = RECIPES[name].config(small=False, **with_folders(RECIPES[name], False, tmp_path))
    if RECIPES[name].needs:
        config = config.model_copy(update=dict.fromkeys(RECIPES[name].needs))
    resolved = resolve(config)
    assert resolved.schedule in SCHEDULES
    if resolved.decay is not None or resolved.freeze is not None:
        # Only roles and names matter: no weight is made.
        with torch.device("meta"):
            network = build_model(parse_model(resolved.model), classes=10, channels=3, size=32)
        if resolved.decay is not None:
            assert plan_decay(resolved, describe(network)).layers is not None


def small_runs():
    """The recipes with a small variant of their own: one for each set of settings."""
    distinct = {}
    for recipe in RECIPES.values():
        distinct.setdefault(
            json.dumps([dict(recipe.small), dict(recipe.needs)], sort_keys=True, default=str), recipe.name
        )
    return list(distinct.values())


@pytest.mark.parametrize("name", small_runs())
def test_the_small_recipe_takes_its_first_step(name, tmp_path):
    recipe = RECIPES[name]
    given = {}
    for setting, other in recipe.needs.items():
        given[setting] = str(tmp_path / "other")
        epochs = recipe.small["epochs"]
        train(
            RECIPES[other].config(small=True, model="resnet8:width=0.125", batch_size=1000, epochs=epochs),
            TrainRun(out=tmp_path / "other"),
        )
        given["model"] = "resnet8:width=0.125"
    config = recipe.config(small=True, **given)
    assert not DATASETS[config.data].needs_folder

    def stop(event):
        if isinstance(event, StepDone):
            raise FirstStepError

    if config.epochs == 0:
        assert train(config, TrainRun(out=tmp_path / "run")).epochs == 0
    else:
        with pytest.raises(FirstStepError):
            train(config, TrainRun(out=tmp_path / "run"), stop)
