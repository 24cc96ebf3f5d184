"""The settings of a run: what belongs to its identity and what does not."""

import pytest
from pydantic import ValidationError

from landscape.config.training import FIRST, TrainConfig


def test_the_data_folder_is_no_part_of_the_identity():
    here, there = TrainConfig(data="cifar10:/here"), TrainConfig(data="cifar10:/there")
    assert here.digest() == there.digest()
    assert here.digest() != TrainConfig(data="cifar100:/here").digest()


def test_the_folder_of_recorded_norms_is_no_part_of_it_once_they_are_known():
    here, there = (TrainConfig(norm_transfer=run, norm_transfer_hash="0" * 64) for run in ("/here", "/there"))
    assert here.digest() == there.digest()
    assert here.digest() != TrainConfig(norm_transfer="/here", norm_transfer_hash="1" * 64).digest()
    assert here.plain()["norm_transfer"] == "/here"


@pytest.mark.parametrize("name", [name for name in TrainConfig.model_fields if name != "data"])
def test_every_setting_changes_the_digest(name):
    other = {
        "model": "mlp",
        "optimizer": "adamw",
        "lr": 0.3,
        "momentum": 0.5,
        "weight_decay": 0.2,
        "decay": "beta",
        "decay_mode": "coupled",
        "decay_lambda": 0.2,
        "decay_threshold": 0.2,
        "freeze": "bn",
        "schedule": "cosine",
        "warmup": 2.0,
        "warmup_power": 2.0,
        "lr_start": 0.01,
        "lr_end": 0.01,
        "lr_power": 3.0,
        "lr_steps": (3,),
        "lr_factor": 0.2,
        "patience": 3,
        "extra_share": 0.5,
        "lr_scaling": "sqrt",
        "lr_batch": 256,
        "batch_schedule": "1:32",
        "micro_batch_size": 8,
        "ghost_batch_size": 8,
        "allow_microbatch_bn": True,
        "discard": 0.2,
        "discard_epochs": 2,
        "label_smoothing": 0.1,
        "rescale": "filter",
        "rescale_target": "initial",
        "rescale_every": "epoch",
        "norm_transfer": "runs/a",
        "norm_transfer_hash": "0" * 64,
        "precision": "bf16",
        "augment": "crop-flip",
        "batch_size": 7,
        "epochs": 7,
        "seed": 7,
        "dtype": "float64",
    }
    assert TrainConfig(**{name: other[name]}).digest() != TrainConfig().digest()


def test_later_settings_leave_the_digests_of_earlier_runs():
    """The digest that the first release gave to the default run."""
    assert TrainConfig().digest() == "6348dfff32044603572dc515a94d5590c3bc45cdf6d7137da7f1625a48bdb157"
    assert TrainConfig().plain().keys() == set(FIRST)
    assert TrainConfig(decay="beta").plain().keys() == {*FIRST, "decay"}


def test_settings_are_frozen():
    with pytest.raises(ValidationError, match="frozen"):
        TrainConfig().lr = 1.0
