"""The settings of a run: what belongs to its identity and what does not."""

import pytest
from pydantic import ValidationError

from landscape.config.training import TrainConfig


def test_the_data_folder_is_no_part_of_the_identity():
    here, there = TrainConfig(data="cifar10:/here"), TrainConfig(data="cifar10:/there")
    assert here.digest() == there.digest()
    assert here.digest() != TrainConfig(data="cifar100:/here").digest()


@pytest.mark.parametrize("name", [name for name in TrainConfig.model_fields if name != "data"])
def test_every_setting_changes_the_digest(name):
    other = {
        "model": "mlp",
        "optimizer": "adamw",
        "lr": 0.3,
        "momentum": 0.5,
        "weight_decay": 0.2,
        "batch_size": 7,
        "epochs": 7,
        "seed": 7,
        "dtype": "float64",
    }
    assert TrainConfig(**{name: other[name]}).digest() != TrainConfig().digest()


def test_settings_are_frozen():
    with pytest.raises(ValidationError, match="frozen"):
        TrainConfig().lr = 1.0
