"""Recorded norms: read, hashed, refused where they are not those of this run, and followed epoch by epoch."""

import hashlib
import json

import pytest
import torch
from torch import nn

from landscape.config.training import TrainConfig
from landscape.errors import CheckpointError, OptionError
from landscape.problem.fed_layers import fed_layers
from landscape.training.norm_transfer import fill_norm_transfer, norm_rule, norms_row, recorded_norms

HEADER = "epoch,0.weight,3.weight\n"
ROWS = "0,9.0,9.0\n1,2.0,0.5\n2,3.0,0.25\n3,4.0,0.125\n"


def network():
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return nn.Sequential(
            nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 3, 1), nn.BatchNorm2d(3), nn.Flatten()
        ).double()


def layers(model):
    return fed_layers(model, torch.randn(2, 2, 4, 4, dtype=torch.float64))


def recorded(folder, text=HEADER + ROWS):
    folder.mkdir(exist_ok=True)
    (folder / "norms.csv").write_text(text)
    return str(folder)


def config(run, **changes):
    return TrainConfig(**{"epochs": 2, "norm_transfer": run, **changes})


def test_each_epoch_has_the_recorded_norm_of_its_layer(tmp_path):
    model = network()
    fed = layers(model)
    rule = norm_rule(config(recorded(tmp_path / "run")), fed)
    for epoch, expected in ((1, [2.0, 0.5]), (2, [3.0, 0.25])):
        with torch.no_grad():
            for place in (0, 3):
                model[place].weight += 0.1
        rule.after_step()
        before = [model[place].weight.detach().clone() for place in (0, 3)]
        rule.after_epoch(epoch)
        for place, w, wanted in zip((0, 3), before, expected, strict=True):
            torch.testing.assert_close(model[place].weight.detach(), w * wanted / w.square().sum().sqrt())
        row = norms_row(epoch, fed)
        assert list(row) == ["epoch", "0.weight", "3.weight"]
        assert list(row.values()) == pytest.approx([epoch, *expected], rel=1e-14)


def test_the_hash_is_that_of_the_norms_of_the_runs_epochs_alone(tmp_path):
    filled = fill_norm_transfer(config(recorded(tmp_path / "one")))
    text = json.dumps({"0.weight": [2.0, 3.0], "3.weight": [0.5, 0.25]}, sort_keys=True, separators=(",", ":"))
    assert filled.norm_transfer_hash == hashlib.sha256(text.encode()).hexdigest()
    assert filled.norm_transfer == str((tmp_path / "one").resolve())
    # Elsewhere, with other norms before any step and after this run's end: the same run.
    other = recorded(tmp_path / "two", (HEADER + ROWS).replace("9.0", "8.0").replace("4.0", "5.0"))
    assert fill_norm_transfer(config(other)).digest() == filled.digest()
    changed = recorded(tmp_path / "three", (HEADER + ROWS).replace("3.0", "3.5"))
    assert fill_norm_transfer(config(changed)).digest() != filled.digest()


def test_changed_norms_are_refused_by_the_hash(tmp_path):
    run = recorded(tmp_path / "run")
    filled = fill_norm_transfer(config(run))
    assert recorded_norms(filled) == {"0.weight": [2.0, 3.0], "3.weight": [0.5, 0.25]}
    recorded(tmp_path / "run", (HEADER + ROWS).replace("3.0", "3.5"))
    with pytest.raises(OptionError, match="does not hold the norms that this run is to follow"):
        norm_rule(fill_norm_transfer(filled), layers(network()))


@pytest.mark.parametrize(
    ("text", "changes", "words"),
    [
        (HEADER + ROWS, {"epochs": 4}, "4 epochs, and .* has no norms of epoch 4"),
        (HEADER + "0,9.0,9.0\n2,3.0,0.25\n", {}, "no norms of epoch 1"),
        (HEADER + "1,2.0,0.5\n2,nan,0.25\n", {}, "holds nan as a norm of 0.weight"),
        (HEADER + "1,2.0,0.5\n2,,0.25\n", {}, "holds None as a norm"),
        (HEADER + "1,2.0,0.0\n2,2.0,0.25\n", {}, "holds 0.0 as a norm of 3.weight"),
        ("epoch,0.weight,conv.weight\n1,1.0,1.0\n2,1.0,1.0\n", {}, "it lacks 3.weight; only it has conv.weight"),
        ("epoch,0.weight\n1,1.0\n2,1.0\n", {}, r"it lacks 3.weight\)"),
    ],
)
def test_norms_that_are_not_this_runs_are_refused(tmp_path, text, changes, words):
    with pytest.raises(OptionError, match=words):
        norm_rule(config(recorded(tmp_path / "run", text), **changes), layers(network()))


def test_a_run_that_is_not_there_or_recorded_none_is_refused(tmp_path):
    with pytest.raises(OptionError, match="no run folder"):
        fill_norm_transfer(config(str(tmp_path / "none")))
    with pytest.raises(OptionError, match="has no recorded norms"):
        fill_norm_transfer(config(str(tmp_path)))
    with pytest.raises(OptionError, match="set norm_transfer, the run that has them"):
        fill_norm_transfer(TrainConfig(norm_transfer_hash="0" * 64))
    with pytest.raises(OptionError, match="norm_transfer is for weights that feed"):
        norm_rule(config(recorded(tmp_path / "run")), ())
    with pytest.raises(CheckpointError, match="does not fit its header"):
        fill_norm_transfer(config(recorded(tmp_path / "torn", HEADER + "1,2.0\n")))
