"""Runs with weight rescaling: against a bare loop that does it by hand, and with every optimizer, decay and batch."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from landscape.config.training import TrainConfig
from landscape.errors import OptionError
from landscape.parameters import describe
from landscape.problem.fed_layers import fed_layers
from landscape.training.batches import Batching, ghost_norms
from landscape.training.decay.applying import Decay
from landscape.training.decay.plan import fill_decay, plan_decay
from landscape.training.loop import fit
from landscape.training.norm_transfer import norm_rule
from landscape.training.optimizers import OPTIMIZERS, WRAPPERS, build_optimizer, fill_options
from landscape.training.rescaling import fill_rescaling
from landscape.training.samples import Split
from landscape.training.schedules import constant
from landscape.training.state import TrainingState

CPU = torch.device("cpu")
SAMPLES, BATCH = 24, 8


def network():
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return nn.Sequential(
            nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(),
            nn.Conv2d(4, 3, 3, bias=False), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 3),
        ).double()  # fmt: skip


def split(samples=SAMPLES):
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(samples, 2, 4, 4, generator=generator, dtype=torch.float64)
    return Split(inputs, torch.randint(3, (samples,), generator=generator))


def run(model, epochs=2, after_epoch=None, **options):
    """Train `model` as the workflow does; `after_epoch` is called with each row."""
    config = TrainConfig(**{"lr": 0.05, "batch_size": BATCH, "epochs": epochs, **options})
    config = fill_rescaling(fill_decay(fill_options(config)))
    state = TrainingState(model, build_optimizer(config, model.parameters()), torch.Generator().manual_seed(5), CPU)
    decay = None
    if config.decay is not None:
        decay = Decay(plan_decay(config, describe(model)), config.decay_mode, model, state.optimizer)
    rule = norm_rule(config, fed_layers(model, split().inputs[:2]))
    how = Batching(micro=config.micro_batch_size, ghosts=ghost_norms(config, model))
    with torch.random.fork_rng(), how.ghosts.installed() if how.ghosts else torch.no_grad():
        torch.manual_seed(9)
        with torch.enable_grad():
            schedule = constant(config.lr)
            sizes = {"schedule": schedule, "batch_size": BATCH, "epochs": epochs}
            for row in fit(state, split(), split(10), batching=how, decay=decay, norms=rule, **sizes):
                if after_epoch is not None:
                    after_epoch(row)
    return state


def norms(weight, by):
    flat = weight.detach().flatten(1) if by == "filter" else weight.detach().flatten().unsqueeze(0)
    return flat.square().sum(1).sqrt()


@pytest.mark.parametrize("by", ["filter", "layer"])
@pytest.mark.parametrize("target", ["unit", "initial"])
@pytest.mark.parametrize("every", ["step", "epoch"])
def test_a_run_is_a_bare_loop_that_rescales_by_hand(by, target, every):
    bare, data = network(), split()
    initial = {place: norms(bare[place].weight, by) for place in (0, 3)}
    optimizer = torch.optim.SGD(bare.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    order = torch.Generator().manual_seed(5)
    bare.train()

    @torch.no_grad()
    def by_hand():
        for place in (0, 3):
            conv, norm = bare[place], bare[place + 1]
            now = norms(conv.weight, by)
            wanted = initial[place] if target == "initial" else torch.ones_like(now)
            for i in range(len(conv.weight)):
                c = float((wanted / now)[i if by == "filter" else 0])
                conv.weight[i] *= c
                norm.running_mean[i] *= c
                norm.running_var[i] *= c**2
                if conv.bias is not None:
                    conv.bias[i] *= c

    for _ in range(3):
        for chosen in torch.randperm(SAMPLES, generator=order).split(BATCH):
            optimizer.zero_grad()
            cross_entropy(bare(data.inputs[chosen]), data.labels[chosen]).backward()
            optimizer.step()
            if every == "step":
                by_hand()
        if every == "epoch":
            by_hand()
    ours = network()
    run(ours, epochs=3, rescale=by, rescale_target=target, rescale_every=every)
    for (name, expected), got in zip(bare.state_dict().items(), ours.state_dict().values(), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-12, msg=name)


WITH = [
    *({"optimizer": name} for name in OPTIMIZERS),
    *({"optimizer": f"{name}:base=lamb"} for name in WRAPPERS),
    {"decay": "beta", "decay_mode": "coupled"},
    {"decay": "adaptive-beta", "decay_mode": "decoupled"},
    {"decay": "conv"},
    {"decay": "none"},
    {"ghost_batch_size": 4},
    {"ghost_batch_size": 4, "micro_batch_size": 4},
]


@pytest.mark.parametrize("options", WITH, ids=str)
@pytest.mark.parametrize("by", ["filter", "layer"])
def test_the_norms_are_the_targets_with_every_method(options, by):
    model = network()
    before = {place: norms(model[place].weight, by) for place in (0, 3)}

    def check(row):
        if row["epoch"] > 0:
            for place in (0, 3):
                got = norms(model[place].weight, by)
                torch.testing.assert_close(got, before[place], rtol=1e-12, atol=0)

    run(model, after_epoch=check, rescale=by, rescale_target="initial", **options)
    assert all(torch.isfinite(tensor).all() for tensor in model.state_dict().values())


def test_one_step_touches_what_feeds_a_norm_and_nothing_else():
    model, data = network(), split()
    config = fill_rescaling(fill_options(TrainConfig(lr=0.05, rescale="filter")))
    optimizer = build_optimizer(config, model.parameters())
    rule = norm_rule(config, fed_layers(model, data.inputs[:2]))
    cross_entropy(model(data.inputs), data.labels).backward()
    optimizer.step()
    stepped, velocities = copy.deepcopy(model.state_dict()), copy.deepcopy(optimizer.state_dict())
    rule.after_epoch(1)  # not its turn
    assert all(torch.equal(stepped[name], tensor) for name, tensor in model.state_dict().items())
    rule.after_step()
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(stepped[name], tensor)}
    statistics = {f"{place}.running_{which}" for place in (1, 4) for which in ("mean", "var")}
    assert changed == {"0.weight", "0.bias", "3.weight"} | statistics
    after = optimizer.state_dict()["state"]
    for place, state in velocities["state"].items():
        assert torch.equal(
            state["velocity"] if "velocity" in state else state["momentum_buffer"], velocity(after, place)
        )


def velocity(state, place):
    return state[place].get("velocity", state[place].get("momentum_buffer"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rescale_target": "unit"}, "set rescale to filter or layer"),
        ({"rescale_every": "epoch"}, "set rescale to filter or layer"),
        ({"rescale": "layer", "norm_transfer": "runs/a"}, "both decide the norms"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(changes, words):
    with pytest.raises(OptionError, match=words):
        fill_rescaling(TrainConfig(**changes))


def test_a_network_without_such_layers_is_refused():
    with pytest.raises(OptionError, match="network mlp has none"):
        norm_rule(TrainConfig(model="mlp", rescale="filter"), ())


def test_the_defaults_spelt_out_are_the_same_run():
    short, long = (
        TrainConfig(rescale="filter"),
        TrainConfig(rescale="filter", rescale_target="unit", rescale_every="step"),
    )
    assert fill_rescaling(short) == fill_rescaling(long)
