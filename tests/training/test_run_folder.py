"""What a run folder says of the run that it holds."""

from pathlib import Path

import pytest

from landscape.config.training import TrainConfig
from landscape.errors import OptionError
from landscape.training.run_folder import RunFolder, default_folder


def test_the_config_comes_back(tmp_path):
    folder, config = RunFolder(tmp_path / "a" / "run"), TrainConfig(lr=1e-3, model="resnet20:width=2")
    assert not folder.holds_run
    folder.write_config(config)
    assert folder.holds_run
    assert not folder.finished
    assert folder.read_config() == config


def test_another_configuration_is_refused_with_the_differences(tmp_path):
    folder = RunFolder(tmp_path)
    folder.write_config(TrainConfig(lr=0.1, seed=1))
    folder.must_hold(TrainConfig(lr=0.1, seed=1))
    with pytest.raises(OptionError) as error:
        folder.must_hold(TrainConfig(lr=0.2, seed=2))
    assert "lr: 0.1 there, 0.2 asked; seed: 1 there, 2 asked" in str(error.value)
    assert "momentum" not in str(error.value)


def test_data_that_moved_are_the_same_data(tmp_path):
    folder = RunFolder(tmp_path)
    folder.write_config(TrainConfig(data="cifar10:/old"))
    folder.must_hold(TrainConfig(data="cifar10:/new"))


def test_nothing_to_resume_is_said(tmp_path):
    with pytest.raises(OptionError, match="no run to resume"):
        RunFolder(tmp_path).must_hold(TrainConfig())


def test_the_default_folder_is_one_a_configuration():
    config = TrainConfig(model="resnet20:shortcut=projection,width=2", data="cifar10:/some/where")
    folder = default_folder(config)
    assert folder.parent == Path("runs")
    assert folder.name == f"resnet20-shortcut-projection-width-2-cifar10-{config.digest()[:8]}"
    assert default_folder(config.model_copy(update={"seed": 1})) != folder


def test_what_a_killed_process_left_is_told_from_everything_else(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    left = [
        tmp_path / name
        for name in (
            ".final.pt.0a1b2c3d",
            ".history.csv.x_y1z2w3",
            ".config.yaml.abcdefgh",
            "checkpoints/.last.pt.12345678",
        )
    ]
    others = [
        tmp_path / name for name in (".lock", ".notes", ".final.pt.bak", "checkpoints/last.pt", "notes.pt.12345678")
    ]
    for path in (*left, *others):
        path.touch()
    assert set(folder.leftovers()) == set(left)
    folder.tidy()
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == set(others)
    folder.final.touch()
    assert folder.leftovers() == [folder.last]
