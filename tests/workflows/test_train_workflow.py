"""A run from settings to files: what the folder holds, that a stopped run goes on exactly, and what is refused."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from torch.nn.functional import cross_entropy

from landscape.checkpoint import read_checkpoint, read_training_state
from landscape.config.training import TrainConfig, TrainRun
from landscape.data import Normalization, load_images, parse_data, prepare
from landscape.errors import (
    DataError,
    DeviceError,
    DivergedError,
    LandscapeError,
    ModelError,
    OptionError,
    WriteError,
)
from landscape.models import build_model, parse_model
from landscape.training.events import AlreadyFinished, EpochFinished, StepDone, TrainingStarted
from landscape.training.history import read_history
from landscape.training.optimizers import OPTIMIZERS, WRAPPERS
from landscape.workflows import train as workflow
from landscape.workflows.train import resolve, train

QUICK = {"model": "mlp:width=16,depth=2", "batch_size": 200, "epochs": 3}  # 8 steps an epoch, the last of 37 samples
STEPS = 8


@pytest.fixture(autouse=True)
def _one_thread():
    """Bit for bit holds for one number of threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def quick(**changes):
    return TrainConfig(**{**QUICK, **changes})


def state_of(path):
    return read_training_state(path)["state_dict"]


def timeless(folder):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in read_history(folder / "history.csv")]


def assert_same_run(one, two):
    first, second = state_of(one / "final.pt"), state_of(two / "final.pt")
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name
    assert timeless(one) == timeless(two)


class StoppedError(Exception):
    pass


# -- what a run leaves ---------------------------------------------------------------------------------------------


def test_a_run_folder_holds_config_history_and_checkpoints(tmp_path):
    events = []
    result = train(quick(seed=4), TrainRun(out=tmp_path / "run", checkpoint_every=2), events.append)
    files = {str(path.relative_to(result.folder)) for path in result.folder.rglob("*") if path.is_file()}
    assert files == {
        "config.yaml",
        "history.csv",
        "final.pt",
        "checkpoints/epoch-0000.pt",
        "checkpoints/epoch-0002.pt",
    }
    written = yaml.safe_load((result.folder / "config.yaml").read_text())
    assert written == {
        **QUICK,
        "model": "mlp:depth=2,width=16",
        "data": "digits",
        "optimizer": "sgd",
        "lr": 0.1,
        "momentum": 0.9,
        "weight_decay": 0.0005,
        "seed": 4,
        "dtype": "float32",
    }
    rows = read_history(result.folder / "history.csv")
    assert [row["epoch"] for row in rows] == [0, 1, 2, 3]
    assert [row["step"] for row in rows] == [0, STEPS, 2 * STEPS, 3 * STEPS]
    assert (result.epochs, result.checkpoint) == (3, result.folder / "final.pt")
    assert isinstance(events[0], TrainingStarted)
    assert events[0].parameters == 64 * 16 + 16 + 16 * 10 + 10
    assert [event.step for event in events if isinstance(event, StepDone)] == list(range(1, 3 * STEPS + 1))
    assert [event.row["epoch"] for event in events if isinstance(event, EpochFinished)] == [0, 1, 2, 3]


def test_epoch_zero_is_the_untrained_network(tmp_path):
    result = train(quick(seed=4, epochs=1), TrainRun(out=tmp_path))
    fresh = build_model(parse_model(QUICK["model"]), classes=10, channels=1, size=8, seed=4)
    saved = state_of(tmp_path / "checkpoints" / "epoch-0000.pt")
    assert all(torch.equal(tensor, saved[name]) for name, tensor in fresh.state_dict().items())
    assert any(not torch.equal(tensor, saved[name]) for name, tensor in state_of(result.checkpoint).items())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_checkpoint_describes_itself(tmp_path, dtype):
    result = train(quick(dtype=dtype), TrainRun(out=tmp_path))
    payload = torch.load(result.checkpoint, weights_only=True)
    known = payload["description"]
    assert known["versions"]["torch"] == torch.__version__
    assert (known["epoch"], known["step"]) == (3, 3 * STEPS)
    assert TrainConfig(**known["config"]).digest() == known["config_hash"]
    assert {"optimizer", "rng"} <= payload.keys()

    # From the file alone: rebuild the network and its data, and find the recorded metrics again.
    model = build_model(
        parse_model(known["model"]), classes=known["classes"], channels=known["channels"], size=known["size"]
    ).to(getattr(torch, dtype))
    model.load_state_dict(payload["state_dict"])
    normalization = Normalization(tuple(known["normalization"]["mean"]), tuple(known["normalization"]["std"]))
    for split in ("train", "test"):
        images = load_images(parse_data(known["data"]), split)
        inputs, labels = prepare(images, normalization, size=known["size"], dtype=getattr(torch, dtype))
        with torch.no_grad():
            logits = model.eval()(inputs)
        assert known["metrics"][f"{split}_loss"] == pytest.approx(cross_entropy(logits, labels).item(), rel=1e-5)
        assert known["metrics"][f"{split}_accuracy"] == pytest.approx(
            (logits.argmax(1) == labels).double().mean().item()
        )
    last = read_history(tmp_path / "history.csv")[-1]
    assert known["metrics"] == {name: last[name] for name in known["metrics"]} == dict(result.metrics)
    assert read_checkpoint(result.checkpoint).description == known


def test_small_images_are_enlarged_for_networks_that_need_it(tmp_path):
    result = train(TrainConfig(model="vgg11:width=0.0625", epochs=0), TrainRun(out=tmp_path))
    known = read_checkpoint(result.checkpoint).description
    assert (known["size"], known["channels"], known["classes"]) == (32, 1, 10)


def test_the_default_learns_quickly(tmp_path):
    # The whole default takes 15 epochs; its accuracy is above what 2 of them give.
    result = train(TrainConfig(epochs=2), TrainRun(out=tmp_path))
    assert result.metrics["test_accuracy"] > 0.9


# -- one trajectory ------------------------------------------------------------------------------------------------


def test_the_callers_random_state_neither_matters_nor_changes(tmp_path):
    for name, seed in (("one", 1), ("two", 2)):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        train(quick(), TrainRun(out=tmp_path / name))
        assert torch.equal(torch.get_rng_state(), before)
    assert_same_run(tmp_path / "one", tmp_path / "two")


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", [*OPTIMIZERS, *WRAPPERS, "sgd:nesterov=true", "sam:base=lamb"])
@pytest.mark.parametrize("seed", [0, 1])
def test_every_optimizer_trains_the_default_network_at_its_default_rate(tmp_path, optimizer, seed):
    metrics = train(TrainConfig(optimizer=optimizer, seed=seed), TrainRun(out=tmp_path)).metrics
    assert metrics["test_accuracy"] > 0.95


def test_another_seed_is_another_trajectory(tmp_path):
    rows = [train(quick(seed=seed), TrainRun(out=tmp_path / str(seed))).metrics for seed in (0, 1)]
    assert rows[0]["train_loss"] != rows[1]["train_loss"]


@pytest.mark.parametrize("optimizer", [*OPTIMIZERS, *WRAPPERS, "asam:base=cblr,interval=3"])
@pytest.mark.parametrize("stop_step", [3, STEPS, STEPS + 5, 3 * STEPS])
def test_a_stopped_run_goes_on_to_the_same_bits(tmp_path, optimizer, stop_step):
    def stop(event):
        if isinstance(event, StepDone) and event.step == stop_step:
            raise StoppedError

    config = quick(optimizer=optimizer)
    train(config, TrainRun(out=tmp_path / "whole"))
    with pytest.raises(StoppedError):
        train(config, TrainRun(out=tmp_path / "stopped"), stop)
    assert not (tmp_path / "stopped" / "final.pt").exists()
    events = []
    train(config, TrainRun(out=tmp_path / "stopped", resume=True), events.append)
    assert events[0].first_epoch == (stop_step - 1) // STEPS
    assert_same_run(tmp_path / "whole", tmp_path / "stopped")


def test_a_run_killed_in_the_middle_of_an_epoch_goes_on_to_the_same_bits(tmp_path):
    """A real process, a network with batch normalisation, and no chance to tidy up."""
    program = """
import os, signal, sys
import torch
from landscape.config.training import TrainConfig, TrainRun
from landscape.training.events import StepDone
from landscape.workflows.train import train
torch.set_num_threads(1)
def die(event):
    if isinstance(event, StepDone) and event.step == 9:
        os.kill(os.getpid(), signal.SIGKILL)
train(TrainConfig(epochs=2, batch_size=256), TrainRun(out=sys.argv[1]), die)
"""
    killed = tmp_path / "killed"
    ended = subprocess.run([sys.executable, "-c", program, str(killed)], check=False, env={**os.environ})
    assert ended.returncode == -signal.SIGKILL
    assert [row["epoch"] for row in read_history(killed / "history.csv")] == [0, 1]
    config = TrainConfig(epochs=2, batch_size=256)
    train(config, TrainRun(out=killed, resume=True))
    train(config, TrainRun(out=tmp_path / "whole"))
    assert_same_run(tmp_path / "whole", killed)


@pytest.mark.parametrize("write", [1, 2, 3, 4, 5])
def test_a_run_stopped_at_any_checkpoint_goes_on_to_the_same_bits(tmp_path, monkeypatch, write):
    """Between the history and the checkpoint of an epoch, or between two checkpoints of it."""
    train(quick(), TrainRun(out=tmp_path / "whole"))
    count = 0

    def stop(path, payload):
        nonlocal count
        count += 1
        if count == write:
            raise KeyboardInterrupt
        original(path, payload)

    original = workflow.write_checkpoint
    monkeypatch.setattr(workflow, "write_checkpoint", stop)
    with pytest.raises(KeyboardInterrupt):
        train(quick(), TrainRun(out=tmp_path / "stopped"))
    monkeypatch.undo()
    train(quick(), TrainRun(out=tmp_path / "stopped", resume=True))
    assert_same_run(tmp_path / "whole", tmp_path / "stopped")
    assert (tmp_path / "stopped" / "checkpoints" / "epoch-0000.pt").exists()
    assert not (tmp_path / "stopped" / "checkpoints" / "last.pt").exists()


def test_a_finished_run_is_left_alone(tmp_path):
    first = train(quick(), TrainRun(out=tmp_path))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    events = []
    again = train(quick(), TrainRun(out=tmp_path, resume=True), events.append)
    assert events == [AlreadyFinished(tmp_path, 3)]
    assert again == first
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_run_that_was_killed_as_it_finished_is_tidied_when_it_is_called_again(tmp_path):
    """Between the last checkpoint and the removal of the one before, or in the middle of a write."""
    train(quick(), TrainRun(out=tmp_path))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for name in ("checkpoints/last.pt", "checkpoints/.last.pt.0a1b2c3d", ".history.csv.0a1b2c3d"):
        (tmp_path / name).write_bytes(b"half")
    events = []
    train(quick(), TrainRun(out=tmp_path, resume=True), events.append)
    assert events == [AlreadyFinished(tmp_path, 3)]
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


# -- what is refused -----------------------------------------------------------------------------------------------


def test_a_folder_with_a_run_is_not_overwritten(tmp_path):
    train(quick(), TrainRun(out=tmp_path))
    with pytest.raises(OptionError, match="already holds a finished run"):
        train(quick(seed=1), TrainRun(out=tmp_path))
    with pytest.raises(OptionError, match=r"another configuration .*seed: 0 there, 1 asked"):
        train(quick(seed=1), TrainRun(out=tmp_path, resume=True))


def test_a_default_spelt_out_is_the_same_configuration(tmp_path):
    train(quick(), TrainRun(out=tmp_path))
    train(quick(lr=0.1, model="mlp:depth=2,width=16"), TrainRun(out=tmp_path, resume=True))
    assert resolve(quick()).digest() == resolve(quick(lr=0.1, model="mlp:depth=2,width=16")).digest()


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"model": "resnet9"}, OptionError, "Did you mean"),
        ({"data": "digit"}, OptionError, "Did you mean digits"),
        ({"optimizer": "sdg"}, OptionError, "Did you mean sgd"),
        ({"optimizer": "adamw", "momentum": 0.9}, OptionError, "adamw takes no momentum"),
        ({"batch_size": 5000}, OptionError, "batch_size is 5000, but digits has 1437"),
        ({"data": "cifar10:nowhere"}, DataError, "nowhere"),
        ({"model": "mlp:classes=5"}, ModelError, "classes"),
        ({"model": "mlp:channels=3"}, ModelError, "channels"),
    ],
)
def test_what_cannot_be_trained_is_refused_and_leaves_nothing(tmp_path, changes, error, words):
    with pytest.raises(error, match=words) as refusal:
        train(quick(**changes), TrainRun(out=tmp_path / "run"))
    assert isinstance(refusal.value, LandscapeError)
    assert refusal.value.exit_code == 2
    assert list(tmp_path.iterdir()) == []


def test_a_users_network_that_does_not_fit_the_data_is_refused(tmp_path, monkeypatch):
    (tmp_path / "own_networks.py").write_text(
        "from torch import nn\n"
        "def narrow(): return nn.Sequential(nn.Flatten(), nn.Linear(64, 4))\n"
        "def wide(): return nn.Sequential(nn.Flatten(), nn.Linear(100, 10))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(DataError, match="has 4 outputs, but digits has labels 0 to 9"):
        train(quick(model="own_networks:narrow"), TrainRun(out=tmp_path / "run"))
    with pytest.raises(ModelError, match=r"does not take the images of digits \(1x8x8\)"):
        train(quick(model="own_networks:wide"), TrainRun(out=tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_a_device_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(DeviceError, match="cuda:99"):
        train(quick(), TrainRun(out=tmp_path / "run", device="cuda:99"))
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match=str(tmp_path / "file")):
        train(quick(), TrainRun(out=tmp_path / "file" / "run"))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_divergence_keeps_the_last_good_checkpoint(tmp_path):
    with pytest.raises(DivergedError, match=r"at step \d+ \(epoch 1\), learning rate 1e\+30\..*last\.pt") as error:
        train(quick(lr=1e30), TrainRun(out=tmp_path))
    assert error.value.exit_code == 3
    kept = state_of(tmp_path / "checkpoints" / "last.pt")
    assert all(torch.isfinite(tensor).all() for tensor in kept.values())
    assert [row["epoch"] for row in read_history(tmp_path / "history.csv")] == [0]
    assert not (tmp_path / "final.pt").exists()


def test_a_damaged_state_is_refused(tmp_path):
    def stop(event):
        if isinstance(event, EpochFinished) and event.row["epoch"] == 1:
            raise StoppedError

    with pytest.raises(StoppedError):
        train(quick(), TrainRun(out=tmp_path), stop)
    last = tmp_path / "checkpoints" / "last.pt"
    last.write_bytes(last.read_bytes()[:1000])
    with pytest.raises(LandscapeError, match=r"last\.pt"):
        train(quick(), TrainRun(out=tmp_path, resume=True))


def test_the_default_folder_is_below_the_current_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = train(quick(epochs=0))
    assert result.folder.parent == Path("runs")
    assert (tmp_path / result.checkpoint).exists()
