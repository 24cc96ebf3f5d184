"""Following a training: what is measured is right, nothing of the training changes, a stopped track goes on."""

import math

import pandas as pd
import pytest
import torch
from torch import nn

import landscape
from landscape.checkpoint import read_training_state
from landscape.config.recipe import validate
from landscape.config.tracking import Every, TrackSettings
from landscape.config.training import TrainConfig, TrainRun
from landscape.errors import OptionError
from landscape.training.events import NotTracked, StepDone, Tracked
from landscape.training.history import read_history
from landscape.workflows.tracking import QUANTITIES, Tracker
from landscape.workflows.train import train

STEPS = 4  # of an epoch
NORMED = "resnet8:width=0.25"
EVERYTHING = tuple(name for name in QUANTITIES if name != "spectral_density")  # which costs as much as all others


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


def track(names, **changes):
    return TrackSettings(**{"names": names, "samples": "64", **changes})


def table(folder):
    return pd.read_csv(folder / "track.csv", keep_default_na=False, na_values={"value": [""], "stderr": [""]})


def state_of(folder):
    return read_training_state(folder / "final.pt")["state_dict"]


def same_weights(one, two):
    one, two = state_of(one), state_of(two)
    return one.keys() == two.keys() and all(torch.equal(tensor, two[name]) for name, tensor in one.items())


# -- the training is left alone --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "every"),
    [({}, "1"), ({"optimizer": "sam:base=adamw", "lr": 0.01}, "3steps"), ({"ghost_batch_size": 50}, "3steps")],
)
def test_a_run_that_is_followed_ends_with_the_same_bits(tmp_path, changes, every):
    names = EVERYTHING if not changes else ("norms", "edge", "connectivity", "strides", "margin", "hessian_trace")
    changes = {"epochs": 1 if names is EVERYTHING else 2, **changes}
    train(config(**changes), TrainRun(out=tmp_path / "alone"))
    train(config(**changes), TrainRun(out=tmp_path / "followed", track=track(names, every=every, samples="32")))
    assert same_weights(tmp_path / "alone", tmp_path / "followed")
    histories = [read_history(tmp_path / name / "history.csv") for name in ("alone", "followed")]
    assert [row["test_loss"] for row in histories[0]] == [row["test_loss"] for row in histories[1]]
    assert len(set(table(tmp_path / "followed")["quantity"])) >= len(names)


def test_a_moment_touches_nothing_of_the_network_or_of_randomness():
    model = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3))
    x, y = torch.randn(40, 5), torch.randint(3, (40,))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    nn.functional.cross_entropy(model(x), y).backward()
    optimizer.step()
    model.train()
    model[3].eval()  # flags that differ
    problem = landscape.Problem(model, nn.CrossEntropyLoss(), (x, y))
    tracker = Tracker(problem, EVERYTHING, optimizer=optimizer)

    def everything():
        return [
            torch.get_rng_state(),
            *(t.clone() for t in model.state_dict().values()),
            *(p.grad.clone() for p in model.parameters()),
            *(s["momentum_buffer"].clone() for s in optimizer.state.values()),
        ], [module.training for module in model.modules()]

    before = everything()
    assert tracker.record()
    after = everything()
    assert all(torch.equal(a, b) for a, b in zip(before[0], after[0], strict=True))
    assert before[1] == after[1]
    assert all(not m._forward_hooks and not m._forward_pre_hooks for m in model.modules())


def test_the_track_is_no_part_of_the_configuration(tmp_path):
    train(config(epochs=1), TrainRun(out=tmp_path, track=track(("norms",))))
    assert "track" not in (tmp_path / "config.yaml").read_text()


# -- moments and resumption ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("every", "steps"),
    [("1", [0, 4, 8, 12]), ("2", [0, 8, 12]), ("3steps", [0, 3, 6, 9, 12]), ("5steps", [0, 5, 10, 12])],
)
def test_moments_are_as_asked_with_the_beginning_and_the_end(tmp_path, every, steps):
    train(config(epochs=3), TrainRun(out=tmp_path, track=track(("norms", "strides"), every=every)))
    rows = table(tmp_path)
    assert sorted(set(rows["step"])) == steps
    assert not rows.duplicated(["step", "quantity", "group"]).any()
    # A step that ends an epoch may be measured before the epoch is over, or after.
    assert ((rows["epoch"] * STEPS <= rows["step"]) & (rows["step"] <= (rows["epoch"] + 1) * STEPS)).all()


@pytest.mark.parametrize(
    ("every", "stop"), [("1", 1), ("1", STEPS + 2), ("2", 2 * STEPS + 3), ("3steps", STEPS), ("3steps", STEPS + 3)]
)
def test_a_stopped_track_goes_on_without_double_or_lost_rows(tmp_path, every, stop):
    settings = track(("norms", "strides", "effective_learning_rate"), every=every)

    def halt(event):
        if isinstance(event, StepDone) and event.step == stop:
            raise StoppedError

    train(config(epochs=3), TrainRun(out=tmp_path / "whole", track=settings))
    with pytest.raises(StoppedError):
        train(config(epochs=3), TrainRun(out=tmp_path / "stopped", track=settings), halt)
    train(config(epochs=3), TrainRun(out=tmp_path / "stopped", resume=True))  # what it follows is kept
    pd.testing.assert_frame_equal(table(tmp_path / "whole"), table(tmp_path / "stopped"))


def test_a_resumed_run_follows_what_it_followed(tmp_path):
    def halt(event):
        if isinstance(event, StepDone) and event.step == STEPS + 1:
            raise StoppedError

    with pytest.raises(StoppedError):
        train(config(), TrainRun(out=tmp_path, track=track(("norms",))), halt)
    with pytest.raises(OptionError, match=r"names: .*norms.* there, .*edge.* asked"):
        train(config(), TrainRun(out=tmp_path, resume=True, track=track(("edge",))))
    train(config(), TrainRun(out=tmp_path, resume=True, track=track(("norms",))))
    assert sorted(set(table(tmp_path)["step"])) == [0, 4, 8]


def test_a_run_may_begin_to_be_followed_when_it_is_resumed(tmp_path):
    def halt(event):
        if isinstance(event, StepDone) and event.step == STEPS + 1:
            raise StoppedError

    with pytest.raises(StoppedError):
        train(config(), TrainRun(out=tmp_path), halt)
    train(config(), TrainRun(out=tmp_path, resume=True, track=track(("norms",))))
    assert sorted(set(table(tmp_path)["step"])) == [8]


# -- what is measured ------------------------------------------------------------------------------------------------


def test_the_values_are_those_of_the_weights_and_of_an_analysis(tmp_path):
    names = ("norms", "effective_learning_rate", "edge", "margins", "connectivity", "hessian_trace")
    train(config(), TrainRun(out=tmp_path, track=track(names)))
    rows = table(tmp_path)
    last = rows[rows["step"] == 2 * STEPS].set_index(["quantity", "group"])
    state = {name: tensor.double() for name, tensor in state_of(tmp_path).items()}
    betas = [state[name] for name in state if "bn" in name and name.endswith(".bias")]
    norm = math.sqrt(sum(float(b.square().sum()) for b in betas))
    assert last["value"]["norm", "norm.beta"] == pytest.approx(norm, rel=1e-12)
    rate = 0.05 / float(state["conv1.weight"].square().sum())
    assert last["value"]["effective_learning_rate", "conv1"] == pytest.approx(rate, rel=1e-12)
    assert last["value"]["edge", ""] == pytest.approx(2 * 1.9 / 0.05)
    measures = ["top_eigenvalues", "margin", "connectivity", "hessian_trace"]
    analysis = landscape.analyze(landscape.load(tmp_path / "final.pt", samples="64"), measures)
    for name in measures:
        record = analysis.measures[name]
        assert last["value"][name, ""] == pytest.approx(record.value, rel=1e-5)
        assert last["stderr"][name, ""] == pytest.approx(record.stderr, rel=1e-3, abs=1e-9)
    middle = analysis.measures["margin"].details["middle_mean"]
    assert last["value"]["margin_middle_mean", ""] == pytest.approx(middle, rel=1e-5)
    groups = analysis.measures["connectivity"].groups
    assert last["value"]["connectivity", "norm.beta"] == pytest.approx(groups["norm.beta"], rel=1e-5)


@pytest.mark.parametrize("every", ["1", "2steps"])
def test_the_end_of_an_epoch_is_what_is_left_once_it_is_rescaled(tmp_path, every):
    settings = config(rescale="layer", rescale_every="epoch", lr=0.005)
    train(settings, TrainRun(out=tmp_path, track=track(("norms",), every=every, by="tensor")))
    rows = table(tmp_path)
    ends = rows[rows["step"].isin([STEPS, 2 * STEPS]) & (rows["group"] == "conv1.weight")]
    assert ends["value"].tolist() == pytest.approx([1.0, 1.0], rel=1e-6)
    assert ends["epoch"].tolist() == [1, 2]


def test_a_bias_that_the_normalisation_takes_out_does_not_count():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(108, 4)).double()
    x, y = torch.randn(20, 1, 8, 8, dtype=torch.float64), torch.randint(4, (20,))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    found = []
    for shift in (0.0, 3.0):
        with torch.no_grad():  # the function stays
            model[0].bias += shift
            model[1].running_mean += shift
        problem = landscape.Problem(model, nn.CrossEntropyLoss(), (x, y))
        tracker = Tracker(problem, "effective_learning_rate,normalized_curvature", optimizer=optimizer)
        tracker.record()
        found.append(tracker.table["value"].tolist())
    assert found[0][0] == pytest.approx(0.1 / float(model[0].weight.square().sum()), rel=1e-12)
    assert found[1] == pytest.approx(found[0], rel=1e-9)


def test_the_first_rates_are_those_of_the_first_step(tmp_path):
    settings = config(schedule="cosine", warmup=1, epochs=2)
    train(settings, TrainRun(out=tmp_path, track=track(("edge", "effective_learning_rate"))))
    rows = table(tmp_path)
    edges = rows[rows["quantity"] == "edge"].set_index("step")["value"]
    rates = [row["lr"] for row in read_history(tmp_path / "history.csv")]
    assert edges.tolist() == pytest.approx([2 * 1.9 / rate for rate in rates])


def test_strides_of_gradient_descent_are_the_mean_step(tmp_path):
    class Once(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.tensor([1.0, 2.0], dtype=torch.float64))

        def forward(self, x):
            return x * self.w

    model, x = Once(), torch.ones(4, 2, dtype=torch.float64)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    problem = landscape.Problem(model, nn.MSELoss(), (x, torch.zeros_like(x)))
    tracker = Tracker(problem, "strides", every="2steps", optimizer=optimizer, by="tensor")
    tracker.record()
    for _ in range(4):
        optimizer.zero_grad()
        nn.functional.mse_loss(model(x), torch.zeros_like(x)).backward()
        optimizer.step()
        tracker.step()
    # g = w, so w shrinks by 0.9 a step: steps of 0.1 w.
    w = torch.tensor([1.0, 2.0]) * 0.9 ** torch.arange(4)[:, None]
    rows = tracker.table.set_index(["step", "quantity", "group"])["value"]
    assert rows[2, "parameter_stride", ""] == pytest.approx(float(0.1 * w[:2].mean()))
    assert rows[4, "parameter_stride", ""] == pytest.approx(float(0.1 * w[2:].mean()))
    assert rows[4, "loss_stride", "w"] == pytest.approx(float(0.1 * w[2:].square().mean()))


def test_an_adaptive_optimizer_has_no_edge_and_that_is_told_once(tmp_path):
    heard = []
    settings = TrainRun(out=tmp_path, track=track(("edge",)))
    train(config(optimizer="adam", lr=0.001), settings, heard.append)
    (note,) = [event for event in heard if isinstance(event, NotTracked)]
    assert "Adam" in note.reason
    assert set(table(tmp_path)["quantity"]) == {"top_eigenvalues"}
    assert len([event for event in heard if isinstance(event, Tracked)]) == 3


def test_a_run_that_leaves_the_finite_numbers_is_stopped_by_its_loop_and_not_by_the_track(tmp_path):
    settings = TrainRun(out=tmp_path, track=track(("edge", "norms"), every="1steps"))
    with pytest.raises(landscape.LandscapeError, match="training diverged"):
        train(config(lr=1e30), settings)
    assert set(table(tmp_path)["step"]) >= {0, 1, 2}


# -- a tracker of one's own ------------------------------------------------------------------------------------------


def small_problem():
    return landscape.Problem(nn.Linear(3, 2), nn.CrossEntropyLoss(), (torch.randn(8, 3), torch.randint(2, (8,))))


def test_the_table_and_the_file_are_the_same(tmp_path):
    tracker = Tracker(small_problem(), ["norms", "fisher_rao"], path=tmp_path / "track.csv")
    tracker.record()
    assert not tracker.record()  # nothing happened since
    tracker.step()
    tracker.end_epoch()
    tracker.write(tmp_path / "again.csv")
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "track.csv").read_bytes()
    pd.testing.assert_frame_equal(table(tmp_path), tracker.table)
    assert list(tracker.table.columns) == ["epoch", "step", "quantity", "group", "value", "stderr"]


def test_a_file_is_not_overwritten_but_gone_on_with(tmp_path):
    first = Tracker(small_problem(), "norms", every="1steps", path=tmp_path / "track.csv")
    first.record()
    first.step()
    kept = first.state_dict()
    first.step()
    second = Tracker(small_problem(), "norms", every="1steps", path=tmp_path / "track.csv")
    with pytest.raises(OptionError, match="holds a track already"):
        second.step()
    second.load_state_dict(kept)
    second.step()
    assert sorted(set(table(tmp_path)["step"])) == [0, 1, 2]
    assert not table(tmp_path).duplicated(["step", "quantity", "group"]).any()


@pytest.mark.parametrize(
    ("names", "options", "words"),
    [
        ("norm", {}, "unknown quantity to track 'norm'. Did you mean norms"),
        ((), {}, "nothing to track"),
        ("norms", {"every": "3epochs"}, "expected a number of epochs such as 5"),
        ("norms", {"every": 0}, "expected a number of epochs"),
        ("norms", {"by": "rol"}, "neither role, layer or tensor"),
        ("edge", {}, "cannot track edge: it needs the optimizer"),
        ("normalized_curvature", {}, "cannot track normalized_curvature: no layer of this network feeds"),
    ],
)
def test_what_makes_no_sense_is_refused(names, options, words):
    with pytest.raises(OptionError, match=words):
        Tracker(small_problem(), names, **options)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"names": "norms", "every": "x"}, "every: expected epochs such as 5, or steps such as 100steps, got 'x'"),
        ({"names": "norms", "samples": "0"}, "samples: expected a positive count"),
        ({"names": []}, "names"),
        ({"names": "norms", "evry": "1"}, "Did you mean every"),
    ],
)
def test_settings_of_another_form_are_refused(values, words):
    with pytest.raises(OptionError, match=words):
        validate(TrackSettings, values)


def test_settings_are_read_from_text():
    settings = validate(TrackSettings, {"names": "norms, edge,norms", "every": 5, "samples": 64})
    assert settings.names == ("norms", "edge")
    assert (settings.every, settings.samples) == ("5", "64")
    assert Every.parse("100steps") == Every(100, "steps")
