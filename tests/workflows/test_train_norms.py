"""Runs that record, rescale and transfer norms, in reduced precision, with smoothed labels: folders and resumption."""

import shutil

import pytest
import torch
import yaml

from landscape.checkpoint import read_training_state
from landscape.config.training import TrainConfig, TrainRun
from landscape.errors import OptionError
from landscape.training.events import StepDone
from landscape.training.history import read_history
from landscape.workflows.train import resolve, train

STEPS = 4  # of an epoch
NORMED = "resnet8:width=0.25"


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class StoppedError(Exception):
    pass


def config(**changes):
    return TrainConfig(**{"model": NORMED, "lr": 0.05, "batch_size": 400, "epochs": 2, **changes})


def stop_at(step):
    def stop(event):
        if isinstance(event, StepDone) and event.step == step:
            raise StoppedError

    return stop


def state_of(path):
    return read_training_state(path)["state_dict"]


def tables(folder):
    found = {name: folder / f"{name}.csv" for name in ("history", "norms", "ratios", "decay")}
    return {
        name: [{k: v for k, v in row.items() if k != "seconds"} for row in read_history(path)]
        for name, path in found.items()
        if path.exists()
    }


def assert_resumes(tmp_path, settings, stop_step):
    train(settings, TrainRun(out=tmp_path / "whole"))
    with pytest.raises(StoppedError):
        train(settings, TrainRun(out=tmp_path / "stopped"), stop_at(stop_step))
    train(settings, TrainRun(out=tmp_path / "stopped", resume=True))
    one, two = state_of(tmp_path / "whole" / "final.pt"), state_of(tmp_path / "stopped" / "final.pt")
    assert one.keys() == two.keys()
    assert all(torch.equal(tensor, two[name]) for name, tensor in one.items())
    assert tables(tmp_path / "whole") == tables(tmp_path / "stopped")


def norms_of(state):
    return {name: float(w.double().square().sum().sqrt()) for name, w in state.items() if "conv" in name}


def test_every_run_with_such_layers_records_their_norms(tmp_path):
    train(config(), TrainRun(out=tmp_path, checkpoint_every=1))
    rows = read_history(tmp_path / "norms.csv")
    assert [row["epoch"] for row in rows] == [0, 1, 2]
    for row in rows:
        expected = norms_of(state_of(tmp_path / "checkpoints" / f"epoch-{row['epoch']:04d}.pt"))
        assert list(row) == ["epoch", *expected]
        assert {name: row[name] for name in expected} == pytest.approx(expected, rel=1e-6)


def test_a_network_without_them_records_nothing(tmp_path):
    train(config(model="mlp:width=8,depth=2", epochs=1), TrainRun(out=tmp_path))
    assert not (tmp_path / "norms.csv").exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"rescale": "filter"},
        {"rescale": "layer", "rescale_target": "initial", "rescale_every": "epoch", "optimizer": "kfac-g"},
        {"rescale": "filter", "rescale_target": "initial", "optimizer": "sam:base=lamb", "decay": "adaptive-beta"},
        {"rescale": "filter", "ghost_batch_size": 50, "micro_batch_size": 100, "precision": "bf16"},
        {"label_smoothing": 0.1, "precision": "tf32", "discard": 0.2},
    ],
    ids=str,
)
@pytest.mark.parametrize("stop", [2, STEPS + 1])
def test_a_stopped_run_goes_on_to_the_same_bits(tmp_path, changes, stop):
    assert_resumes(tmp_path, config(**changes), stop)


def test_the_evaluated_weights_are_the_rescaled_ones(tmp_path):
    for every in ("step", "epoch"):
        folder = tmp_path / every
        train(config(rescale="layer", rescale_every=every), TrainRun(out=folder))
        assert norms_of(state_of(folder / "final.pt")) == pytest.approx(
            dict.fromkeys(norms_of(state_of(folder / "final.pt")), 1.0), rel=1e-6
        )
        assert all(value == pytest.approx(1) for value in list(read_history(folder / "norms.csv")[1].values())[1:])


def test_a_transfer_follows_the_recorded_run_and_goes_on(tmp_path):
    train(config(epochs=3, weight_decay=0.05), TrainRun(out=tmp_path / "decayed"))
    settings = config(weight_decay=0.0, norm_transfer=str(tmp_path / "decayed"))
    assert_resumes(tmp_path, settings, STEPS + 1)
    recorded, followed = (read_history(tmp_path / run / "norms.csv") for run in ("decayed", "whole"))
    for theirs, ours in zip(recorded, followed, strict=False):
        assert ours == pytest.approx(theirs, rel=1e-6)
    plain = tmp_path / "plain"
    train(config(weight_decay=0.0), TrainRun(out=plain))
    assert read_history(plain / "norms.csv")[-1] != pytest.approx(followed[-1], rel=1e-3)


def test_a_resumed_transfer_follows_the_same_norms_or_stops(tmp_path):
    recorded, moved, out = tmp_path / "recorded", tmp_path / "moved", tmp_path / "out"
    train(config(epochs=2), TrainRun(out=recorded))
    settings = config(norm_transfer=str(recorded))
    train(settings, TrainRun(out=tmp_path / "whole"))
    with pytest.raises(StoppedError):
        train(settings, TrainRun(out=out), stop_at(STEPS + 1))
    written = yaml.safe_load((out / "config.yaml").read_text())
    assert written["norm_transfer_hash"] == resolve(settings).norm_transfer_hash
    resumed = TrainConfig(**written)
    text = (recorded / "norms.csv").read_text()
    (recorded / "norms.csv").write_text(text.replace(text.split("\n")[-2].split(",")[1], "1.25"))
    with pytest.raises(OptionError, match="does not hold the norms that this run is to follow"):
        train(resumed, TrainRun(out=out, resume=True))
    with pytest.raises(OptionError, match=r"norm_transfer_hash: \w+ there, \w+ asked"):
        train(settings, TrainRun(out=out, resume=True))
    (recorded / "norms.csv").write_text(text)
    shutil.move(recorded, moved)
    with pytest.raises(OptionError, match="no run folder"):
        train(resumed, TrainRun(out=out, resume=True))
    train(resumed.model_copy(update={"norm_transfer": str(moved)}), TrainRun(out=out, resume=True))
    one, two = state_of(out / "final.pt"), state_of(tmp_path / "whole" / "final.pt")
    assert all(torch.equal(tensor, two[name]) for name, tensor in one.items())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model": "mlp:width=8", "rescale": "filter"}, "network mlp:width=8 has none"),
        ({"rescale_every": "epoch"}, "set rescale"),
        ({"norm_transfer": "nowhere"}, "no run folder"),
        ({"precision": "bf16", "dtype": "float64"}, "less than float32"),
    ],
)
def test_what_makes_no_sense_is_refused_and_leaves_nothing(tmp_path, changes, words):
    with pytest.raises(OptionError, match=words):
        train(config(**changes), TrainRun(out=tmp_path / "run"))
    assert list(tmp_path.iterdir()) == []


def test_other_layers_are_refused_and_leave_nothing(tmp_path):
    train(config(epochs=1), TrainRun(out=tmp_path / "recorded"))
    with pytest.raises(OptionError, match=r"other layers .*\(it lacks features\.") as refusal:
        train(
            config(model="vgg11-bn:width=0.125", epochs=1, norm_transfer=str(tmp_path / "recorded")),
            TrainRun(out=tmp_path / "run"),
        )
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "run").exists()


def test_every_step_has_the_ratio_that_its_decay_followed(tmp_path):
    train(config(decay="adaptive-beta", decay_threshold=0.005), TrainRun(out=tmp_path))
    ratios, decay = (read_history(tmp_path / f"{name}.csv") for name in ("ratios", "decay"))
    assert [row["step"] for row in ratios] == list(range(1, 2 * STEPS + 1))
    for row in ratios:
        held = [other for other in decay if other["step"] <= row["step"]][-1]
        layers = [name for name in row if name != "step"]
        assert len(layers) == 7
        assert {name: float(row[name] >= 0.005) for name in layers} == {name: held[name] for name in layers}
