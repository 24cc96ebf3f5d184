"""The further loggers of a run, with stand-ins for their packages; TensorBoard itself where it is installed."""

import sys
from types import SimpleNamespace
from typing import ClassVar

import pytest

from landscape.config.training import TrainConfig
from landscape.errors import OptionError
from landscape.training.events import EpochFinished, StepDone, Tracked, TrainingStarted
from landscape.training.loggers import LOGGERS, Log
from landscape.training.run_folder import RunFolder
from landscape.training.track_file import TrackRow

ROW = {"epoch": 2, "step": 8, "train_loss": 0.5, "phase": "explore", "top_eigenvalue": None, "lr": float("nan")}
TRACKED = Tracked((TrackRow(2, 8, "norm", "", 3.0, 0.0), TrackRow(2, 8, "norm", "norm.beta", 1.0, 0.0)))


def started(folder, first_step):
    return TrainingStarted(folder, parameters=1, samples=1, first_epoch=0, epochs=2, first_step=first_step, steps=9)


class Writer:
    made: ClassVar[list] = []

    def __init__(self, log_dir, purge_step):
        self.log_dir, self.purge_step, self.scalars, self.closed = log_dir, purge_step, [], False
        Writer.made.append(self)

    def add_scalar(self, name, value, step):
        self.scalars.append((name, value, step))

    def flush(self):
        pass

    def close(self):
        self.closed = True


@pytest.fixture
def writers(monkeypatch):
    Writer.made = []
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", SimpleNamespace(SummaryWriter=Writer))
    return Writer.made


@pytest.fixture
def wandb(monkeypatch):
    calls = SimpleNamespace(inits=[], logged=[], finished=0)

    def init(**options):
        calls.inits.append(options)

        def finish():
            calls.finished += 1

        return SimpleNamespace(log=lambda values, step: calls.logged.append((step, values)), finish=finish)

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init))
    return calls


def run(log, folder, first_step=0):
    heard = []
    with log.open(heard.append) as tell:
        for event in (started(folder, first_step), StepDone(2, 8), TRACKED, EpochFinished(ROW)):
            tell(event)
    return heard


def test_tensorboard_gets_history_and_track_and_every_event_passes_on(tmp_path, writers):
    heard = run(Log(["csv", "tensorboard", "tensorboard"], RunFolder(tmp_path), TrainConfig()), tmp_path)
    assert [type(event).__name__ for event in heard] == ["TrainingStarted", "StepDone", "Tracked", "EpochFinished"]
    (writer,) = writers
    assert writer.scalars == [
        ("track/norm", 3.0, 8),
        ("track/norm/norm.beta", 1.0, 8),
        ("history/epoch", 2.0, 8),
        ("history/train_loss", 0.5, 8),
    ]
    assert writer.closed
    assert (writer.log_dir, writer.purge_step) == (str(tmp_path / "tensorboard"), None)


def test_tensorboard_hides_what_a_resumed_run_logs_again(tmp_path, writers):
    run(Log(["tensorboard"], RunFolder(tmp_path), TrainConfig()), tmp_path, first_step=4)
    assert writers[0].purge_step == 5


def test_a_logger_is_closed_where_the_training_fails(tmp_path, writers):
    def fail():
        with Log(["tensorboard"], RunFolder(tmp_path), TrainConfig()).open(lambda e: None) as tell:
            tell(started(tmp_path, 0))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert writers[0].closed


def test_wandb_goes_on_in_the_same_run(tmp_path, wandb):
    run(Log(["wandb"], RunFolder(tmp_path), TrainConfig(lr=0.5)), tmp_path)
    run(Log(["wandb"], RunFolder(tmp_path), TrainConfig(lr=0.5)), tmp_path, first_step=4)
    run(Log(["wandb"], RunFolder(tmp_path), TrainConfig(lr=0.5)), tmp_path)  # begun anew
    first, second, third = wandb.inits
    assert first["config"]["lr"] == 0.5
    assert first["id"] == second["id"] != third["id"]
    assert wandb.logged[0] == (8, {"track/norm": 3.0, "track/norm/norm.beta": 1.0})
    assert wandb.finished == 3


@pytest.mark.parametrize("name", LOGGERS)
def test_what_is_not_installed_is_named_with_how_to_install_it(tmp_path, monkeypatch, name):
    for module in ("torch.utils.tensorboard", "tensorboard", "wandb"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(OptionError, match=rf"pip install 'landscape-diagnostics\[{name}\]'"):
        Log([name], RunFolder(tmp_path), TrainConfig())


def test_tensorboard_itself(tmp_path):
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    run(Log(["tensorboard"], RunFolder(tmp_path), TrainConfig()), tmp_path)
    read = accumulators.EventAccumulator(str(tmp_path / "tensorboard"))
    read.Reload()
    assert [(e.step, e.value) for e in read.Scalars("track/norm/norm.beta")] == [(8, 1.0)]
