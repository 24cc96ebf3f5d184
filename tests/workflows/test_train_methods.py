"""Runs with each decay policy: what the folder says of it, and that a stopped run goes on to the same bits."""

import pytest
import torch
import yaml

from landscape.checkpoint import read_training_state
from landscape.config.training import TrainConfig, TrainRun
from landscape.errors import LandscapeError, OptionError
from landscape.training.events import StepDone
from landscape.training.history import read_history
from landscape.training.schedules import SCHEDULES
from landscape.workflows.train import resolve, train

STEPS = 4  # of an epoch
MLP = "mlp:width=16,depth=2"
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


def state_of(folder):
    return read_training_state(folder / "final.pt")["state_dict"]


def tables(folder):
    history = [{k: v for k, v in row.items() if k != "seconds"} for row in read_history(folder / "history.csv")]
    return history, read_history(folder / "decay.csv") if (folder / "decay.csv").exists() else None


def assert_resumes(tmp_path, settings, stop_step):
    def stop(event):
        if isinstance(event, StepDone) and event.step == stop_step:
            raise StoppedError

    train(settings, TrainRun(out=tmp_path / "whole"))
    with pytest.raises(StoppedError):
        train(settings, TrainRun(out=tmp_path / "stopped"), stop)
    train(settings, TrainRun(out=tmp_path / "stopped", resume=True))
    one, two = state_of(tmp_path / "whole"), state_of(tmp_path / "stopped")
    assert one.keys() == two.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, two[name]), name
    assert tables(tmp_path / "whole") == tables(tmp_path / "stopped")


@pytest.mark.parametrize("policy", ["beta", "adaptive-beta"])
def test_a_stopped_run_with_a_policy_goes_on_to_the_same_bits(tmp_path, policy):
    # A threshold that some steps of some layers pass.
    options = {"decay_threshold": 0.005} if policy == "adaptive-beta" else {}
    assert_resumes(tmp_path, config(decay=policy, **options), STEPS + 2)


@pytest.mark.parametrize(
    ("mode", "optimizer"),
    [("coupled", "adamw"), ("decoupled", "sgd"), ("coupled", "sam:base=lamb"), (None, "cblr"), ("decoupled", "kfac-f")],
)
def test_a_stopped_run_with_a_mode_goes_on_to_the_same_bits(tmp_path, mode, optimizer):
    settings = config(decay="adaptive-beta", decay_threshold=0.005, decay_mode=mode, optimizer=optimizer)
    assert_resumes(tmp_path, settings, STEPS + 1)


def test_the_folder_says_which_layers_each_step_decayed(tmp_path):
    train(config(decay="adaptive-beta", decay_threshold=0.005), TrainRun(out=tmp_path))
    history, decay = tables(tmp_path)
    assert decay[0]["step"] == 1
    betas = [name for name in decay[0] if name.endswith("bn1.bias") or name.endswith("bn2.bias")]
    assert {row[name] for row in decay for name in betas} == {0.0, 1.0}
    assert all(row["conv1.weight"] == 0.0005 and row["bn1.weight"] == 0.0 for row in decay)
    assert history[0]["decayed"] is None
    # Unfold the table: the row of a step is the last one that is not after it.
    for epoch in (1, 2):
        steps = range((epoch - 1) * STEPS + 1, epoch * STEPS + 1)
        held = [[row for row in decay if row["step"] <= step][-1] for step in steps]
        norms = [name for name in decay[0] if "bn" in name and name.endswith("bias")]
        share = sum(row[name] > 0 for row in held for name in norms) / (STEPS * len(norms))
        assert history[epoch]["decayed"] == pytest.approx(share)


def test_without_a_policy_nothing_is_said_of_decay(tmp_path):
    train(config(epochs=1), TrainRun(out=tmp_path))
    assert not (tmp_path / "decay.csv").exists()
    assert "decay" not in yaml.safe_load((tmp_path / "config.yaml").read_text())


def test_all_by_the_optimizer_is_what_it_does_anyway(tmp_path):
    train(config(), TrainRun(out=tmp_path / "plain"))
    train(config(decay="all"), TrainRun(out=tmp_path / "all"))
    one, two = state_of(tmp_path / "plain"), state_of(tmp_path / "all")
    assert all(torch.equal(tensor, two[name]) for name, tensor in one.items())


def test_frozen_norms_stay_neutral_and_the_run_goes_on(tmp_path):
    settings = config(freeze="bn", decay="no-bias")
    assert_resumes(tmp_path, settings, STEPS + 1)
    state = state_of(tmp_path / "whole")
    assert (state["bn1.weight"] == 1).all()
    assert (state["bn1.bias"] == 0).all()


def test_defaults_of_a_policy_spelt_out_are_the_same_run():
    short, long = config(decay="adaptive-beta"), config(decay="adaptive-beta", decay_lambda=1.0, decay_threshold=0.1)
    assert resolve(short).digest() == resolve(long).digest()
    assert resolve(config(decay_mode="coupled")).decay == "all"


# -- schedules ------------------------------------------------------------------------------------------------------

SCHEDULED = {
    "cosine": {"warmup": 0.5},
    "polynomial": {},
    "step": {"lr_steps": (1, 2)},
    # Converges from epoch 4 on, and cuts the rate after epoch 8 (on the machine that this was written on).
    "two-phase": {"patience": 1, "extra_share": 0.0, "lr": 0.7, "epochs": 10, "batch_size": 100},
}


def test_every_schedule_is_resumed_below():
    assert SCHEDULED.keys() | {"constant"} == SCHEDULES.keys()


@pytest.mark.parametrize("name", SCHEDULED)
def test_a_stopped_run_with_a_schedule_goes_on_to_the_same_bits(tmp_path, name):
    settings = config(**{"model": MLP, "schedule": name, "epochs": 3, **SCHEDULED[name]})
    assert_resumes(tmp_path, settings, 2 * STEPS + 2)
    if name == "two-phase":
        steps = 15  # of an epoch
        assert_resumes(tmp_path / "converging", settings, 6 * steps + 1)
        assert_resumes(tmp_path / "after_the_cut", settings, 9 * steps + 1)


def test_the_history_shows_the_rate_the_phases_and_the_cuts(tmp_path):
    train(config(model=MLP, schedule="two-phase", **SCHEDULED["two-phase"]), TrainRun(out=tmp_path))
    rows, _ = tables(tmp_path)
    done = rows[1:]
    phases = [row["phase"] for row in done]
    assert phases == sorted(phases, key=["explore", "extra", "converge"].index)
    assert set(phases) == {"explore", "converge"}
    assert [row["plateau"] for row in done].count(1) == 1
    switch = phases.index("converge") - 1
    assert all((row["top_eigenvalue"] is not None) == (number >= switch) for number, row in enumerate(done))
    # The rule again from the written columns.
    rate, h, f = 0.7, done[switch]["top_eigenvalue"], done[switch]["batch_loss"]
    for row in done[switch + 1 :]:
        assert row["lr"] == rate
        cut = 0 < h < row["top_eigenvalue"] and f < row["batch_loss"]
        assert row["cut"] == int(cut)
        rate, h, f = (rate / 2, 0.0, f) if cut else (rate, row["top_eigenvalue"], row["batch_loss"])


def test_two_phases_go_with_decay_and_warm_up(tmp_path):
    settings = config(schedule="two-phase", warmup=1, decay="adaptive-beta", patience=1, epochs=3)
    result = train(settings, TrainRun(out=tmp_path))
    rows, decay = tables(result.folder)
    assert rows[0]["lr"] == pytest.approx(0.05 / STEPS)
    assert rows[1]["lr"] == pytest.approx(0.05)
    assert decay is not None


# -- batches --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"ghost_batch_size": 50, "micro_batch_size": 100},
        {"micro_batch_size": 150, "allow_microbatch_bn": True, "discard": 0.3, "discard_epochs": 1},
        {"model": MLP, "micro_batch_size": 100, "batch_schedule": "1:200@0.01"},
    ],
)
def test_a_stopped_run_in_parts_goes_on_to_the_same_bits(tmp_path, changes):
    stop = 10 if "batch_schedule" in changes else STEPS + 1  # in the second epoch
    assert_resumes(tmp_path, config(**changes), stop)


def test_everything_together(tmp_path):
    settings = config(
        decay="adaptive-beta",
        decay_mode="decoupled",
        schedule="polynomial",
        lr_scaling="sqrt",
        lr_batch=800,
        ghost_batch_size=25,
        micro_batch_size=200,
        discard=0.2,
        batch_schedule="1:200",
        optimizer="adamw",
    )
    assert_resumes(tmp_path, settings, 10)


def test_micro_batches_in_float64_are_the_run_in_big_batches(tmp_path):
    settings = config(ghost_batch_size=50, dtype="float64")
    train(settings, TrainRun(out=tmp_path / "big"))
    train(settings.model_copy(update={"micro_batch_size": 100}), TrainRun(out=tmp_path / "parts"))
    one, two = state_of(tmp_path / "big"), state_of(tmp_path / "parts")
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, two[name], rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model": MLP, "decay": "beta"}, "no trained beta"),
        ({"model": MLP, "freeze": "gamma"}, "no normalisation layer"),
        ({"schedule": "two_phase"}, "Did you mean two-phase"),
        ({"schedule": "step"}, "needs lr_steps"),
        ({"schedule": "cosine", "warmup": 5}, "longer than the run"),
        ({"micro_batch_size": 100}, "set a ghost_batch_size"),
        ({"ghost_batch_size": 32}, "does not divide the batch size 400"),
        ({"model": MLP, "ghost_batch_size": 50}, "no batch normalisation"),
        ({"batch_schedule": "1:2000"}, "batch_size is 2000, but digits has 1437"),
        ({"decay": "no_bias"}, "Did you mean no-bias"),
        ({"decay": "beta", "freeze": "beta"}, "once beta is frozen"),
    ],
)
def test_what_makes_no_sense_is_refused_and_leaves_nothing(tmp_path, changes, words):
    with pytest.raises(OptionError, match=words) as refusal:
        train(config(**changes), TrainRun(out=tmp_path / "run"))
    assert isinstance(refusal.value, LandscapeError)
    assert list(tmp_path.iterdir()) == []
