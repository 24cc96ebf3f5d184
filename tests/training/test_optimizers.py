"""What the registry promises of every optimizer, and how the settings of a run choose one."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from landscape.config.training import TrainConfig
from landscape.errors import OptionError
from landscape.training.optimizers import OPTIMIZERS, WRAPPERS, build_optimizer, fill_options
from landscape.training.optimizers.family import SETTINGS
from landscape.training.passes import Logits, Passes, take_step

# Every optimizer, a wrapper around another base, and every option that chooses another way of computing.
NAMES = [*OPTIMIZERS, *WRAPPERS]
CHOICES = [
    *NAMES,
    "sgd:nesterov=true",
    "lamb:bias_correction=false",
    "mclr:statistic=medians",
    "cblr:interval=2,probes=2",
    "kfac-f:statistics=1,inverses=2,decoupled=false",
    "sam:base=lamb,rho=0.1",
    "asam:base=cblr,interval=1",
]


def network(dtype=torch.float64):
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return nn.Sequential(nn.Linear(5, 16), nn.BatchNorm1d(16), nn.Tanh(), nn.Linear(16, 3)).to(dtype)


def batch(dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(64, 5, generator=generator, dtype=dtype)
    return x, (x @ torch.randn(5, 3, generator=generator, dtype=dtype)).argmax(1)


def steps(model, optimizer, number, data):
    losses = []
    for _ in range(number):
        passes = Passes(
            model,
            loss=lambda: cross_entropy(model(data[0]), data[1]),
            outputs=lambda: iter([Logits(model(data[0]), 0, 64)]),
            all_outputs=lambda: (Logits(model(x), 32 * i, 64) for i, x in enumerate(data[0].split(32))),
        )
        losses.append(passes.gradient().item())
        take_step(optimizer, passes)
    return losses


def values(model):
    return [value.clone() for value in model.state_dict().values()]


@pytest.mark.parametrize("name", CHOICES)
def test_the_default_rate_trains_a_small_network(name):
    model = network()
    with torch.random.fork_rng():
        torch.manual_seed(1)
        losses = steps(model, build_optimizer(TrainConfig(optimizer=name), model.parameters()), 150, batch())
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize("name", CHOICES)
def test_state_goes_on_to_the_same_bits_after_a_round_trip(name, tmp_path):
    config, data = TrainConfig(optimizer=name), batch(torch.float32)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        whole = network(torch.float32)
        optimizer = build_optimizer(config, whole.parameters())
        steps(whole, optimizer, 3, data)
        torch.save([whole.state_dict(), optimizer.state_dict(), torch.get_rng_state()], tmp_path / "state.pt")
        steps(whole, optimizer, 4, data)
    again = network(torch.float32)
    second = build_optimizer(config, again.parameters())
    weights, state, rng = torch.load(tmp_path / "state.pt", weights_only=True)
    again.load_state_dict(weights)
    second.load_state_dict(state)
    with torch.random.fork_rng():
        torch.set_rng_state(rng)
        steps(again, second, 4, data)
    assert all(torch.equal(a, b) for a, b in zip(values(whole), values(again), strict=True))


@pytest.mark.parametrize("name", CHOICES)
def test_each_group_has_its_own_decay(name):
    """Where every gradient is 0, decay alone moves the weights, and only those of the group that decays."""
    if "rho" in name or name in WRAPPERS:
        name = f"{name}{',' if ':' in name else ':'}rho=1e-9" if "rho" not in name else name
    first, second = (nn.Parameter(torch.tensor([1.0, -2.0], dtype=torch.float64)) for _ in range(2))
    start = first.detach().clone()
    groups = [{"params": [first], "weight_decay": 0.1}, {"params": [second], "weight_decay": 0.0}]
    optimizer = build_optimizer(TrainConfig(optimizer=name, lr=0.01), groups)
    model = nn.ParameterList([first, second])
    for _ in range(2):
        passes = Passes(model, lambda: 0 * (first.square().sum() + second.square().sum()))
        passes.gradient()
        take_step(optimizer, passes)
    assert torch.equal(second, start)
    assert torch.all(first.abs() < start.abs())


@pytest.mark.parametrize("name", CHOICES)
def test_the_rate_of_a_group_is_read_at_every_step(name):
    model = network()
    optimizer = build_optimizer(TrainConfig(optimizer=name), model.parameters())
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    before = [parameter.detach().clone() for parameter in model.parameters()]
    with torch.random.fork_rng():
        steps(model, optimizer, 2, batch())
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


@pytest.mark.parametrize("name", CHOICES)
def test_running_statistics_are_those_of_one_pass_a_step(name):
    """Momentum 0.1 over one batch at the initial weights, whatever the optimizer asks for besides."""
    model, plain, data = network(), network(), batch()
    with torch.random.fork_rng():
        steps(model, build_optimizer(TrainConfig(optimizer=name), model.parameters()), 1, data)
    plain(data[0])
    assert torch.equal(model[1].running_mean, plain[1].running_mean)
    assert torch.equal(model[1].running_var, plain[1].running_var)
    assert model[1].num_batches_tracked == 1


@pytest.mark.parametrize("name", CHOICES)
def test_tensors_without_a_gradient_and_zero_tensors_are_no_trouble(name):
    """An unused parameter stays; a layer of zeros, whose statistics are 0 or infinite, leaves all values finite."""
    model = network()
    with torch.no_grad():
        model[3].weight.zero_()
    unused = nn.Parameter(torch.ones(2, dtype=torch.float64))
    optimizer = build_optimizer(TrainConfig(optimizer=name), [*model.parameters(), unused])
    with torch.random.fork_rng():
        steps(model, optimizer, 3, batch())
    assert torch.equal(unused, torch.ones(2, dtype=torch.float64))
    assert all(torch.isfinite(value).all() for value in values(model))
    assert model[3].weight.abs().min() > 0
    assert model[3].bias.abs().min() > 0


@pytest.mark.parametrize("name", NAMES)
def test_defaults_are_filled_in_and_settings_keep_theirs(name):
    filled = fill_options(TrainConfig(optimizer=name))
    family = OPTIMIZERS["sgd" if name in WRAPPERS else name]
    for setting in SETTINGS:
        field = family.options.model_fields.get(setting)
        assert getattr(filled, setting) == (None if field is None else field.default)
    assert filled.optimizer == name
    assert fill_options(filled) == filled
    assert fill_options(TrainConfig(optimizer=name, lr=0.25)).lr == 0.25


@pytest.mark.parametrize("name", NAMES)
def test_an_entry_says_what_it_is(name):
    family = {**OPTIMIZERS, **WRAPPERS}[name]
    assert family.name == name
    assert family.about
    assert family.reference
    assert set(SETTINGS) <= TrainConfig.model_fields.keys()


@pytest.mark.parametrize(
    ("given", "canonical"),
    [
        ("adam:beta1=0.9", "adam"),
        ("adam:eps=1e-6,beta1=0.80", "adam:beta1=0.8,eps=1e-06"),
        ("sgd:nesterov=True", "sgd:nesterov=true"),
        (" cblr: interval = 5 ", "cblr:interval=5"),
        ("sam:base=sgd,rho=0.05", "sam"),
        ("sam:rho=0.1,nesterov=true", "sam:nesterov=true,rho=0.1"),
        ("asam:beta2=0.99,base=lamb", "asam:base=lamb,beta2=0.99"),
    ],
)
def test_one_choice_has_one_spelling(given, canonical):
    filled = fill_options(TrainConfig(optimizer=given))
    assert filled.optimizer == canonical
    assert fill_options(filled) == filled


def test_a_wrapper_takes_the_defaults_of_its_base():
    filled = fill_options(TrainConfig(optimizer="sam:base=adamw"))
    assert (filled.lr, filled.momentum, filled.weight_decay) == (1e-3, None, 1e-2)


REFUSED = [
    ({"optimizer": "adamv"}, "Did you mean adam"),
    ({"optimizer": "percentdelta"}, "Did you mean percent-delta?"),
    ({"optimizer": "saam"}, "Did you mean sam, asam"),
    ({"optimizer": "adamw", "momentum": 0.9}, r"adamw takes no momentum; it takes lr, weight_decay\. .* choose sgd"),
    ({"optimizer": "sam:base=adam", "momentum": 0.9}, "adam takes no momentum"),
    ({"optimizer": "adam:beta3=0.9"}, "adam has no option 'beta3'. Did you mean beta"),
    ({"optimizer": "percent-delta:cap=3"}, "percent-delta has no option 'cap'. It has none."),
    ({"optimizer": "sam:base=lars,trus=1"}, "sam with base lars has no option 'trus'. Did you mean trust?"),
    ({"optimizer": "sgd:momentum=0.5"}, "give it as --momentum"),
    ({"optimizer": "sgd:weight_decay=0.5"}, "give it as --weight-decay"),
    ({"optimizer": "adam:"}, "expected options after the colon"),
    ({"optimizer": "adam:beta1"}, "expected key=value, got 'beta1'"),
    ({"optimizer": "adam:eps=1,eps=2"}, "'eps' is given twice"),
    ({"optimizer": "adam:beta1=1"}, "beta1: expected a value less than 1, got '1'"),
    ({"optimizer": "adam:beta1=nan"}, "beta1: expected a finite number"),
    ({"optimizer": "lamb:eps=small"}, "eps: expected a valid number.*got 'small'"),
    (
        {"optimizer": "sgd:nesterov=true", "momentum": 0.0},
        "nesterov: expected false where the momentum is 0, got 'true'",
    ),
    ({"optimizer": "mclr:statistic=ratio"}, "statistic: .*Did you mean ratios"),
    ({"optimizer": "cblr:interval=0"}, "interval: expected a value greater than or equal to 1, got '0'"),
    ({"optimizer": "sam:rho=0"}, "rho: expected a value greater than 0, got '0'"),
    ({"optimizer": "sam:base=asam"}, "unknown base optimizer 'asam'"),
    ({"optimizer": "sam:base=lam"}, "unknown base optimizer 'lam'. Did you mean lamb"),
]


@pytest.mark.parametrize(("settings", "words"), REFUSED)
def test_what_makes_no_sense_is_refused_in_one_line(settings, words):
    with pytest.raises(OptionError, match=words) as error:
        fill_options(TrainConfig(**settings))
    assert "\n" not in str(error.value)


def test_a_state_dict_is_plain():
    for name in CHOICES:
        model = network()
        optimizer = build_optimizer(TrainConfig(optimizer=name), model.parameters())
        with torch.random.fork_rng():
            steps(model, optimizer, 1, batch())
        state = copy.deepcopy(optimizer.state_dict())
        assert set(state) == {"state", "param_groups"}
        assert state["param_groups"][0]["lr"] == fill_options(TrainConfig(optimizer=name)).lr
