"""Decay policies: which tensors, by how much and how, against NumPy, torch's own weight decay and the pure rules."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from landscape.config.training import TrainConfig
from landscape.errors import OptionError
from landscape.parameters import describe
from landscape.training.decay.adaptive_beta import chosen, connectivities, norm_layers, ratios
from landscape.training.decay.applying import Decay
from landscape.training.decay.freezing import freeze
from landscape.training.decay.log import decayed_share, only_changes
from landscape.training.decay.plan import fill_decay, plan_decay
from landscape.training.decay.policies import DECAYS
from landscape.training.optimizers import build_optimizer, fill_options
from landscape.training.passes import Passes, take_step

NORMS = {
    "batch": lambda: nn.BatchNorm2d(4),
    "group": lambda: nn.GroupNorm(2, 4),
    "layer": lambda: nn.LayerNorm([4, 3, 3]),
}


def network(norm="batch"):
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = nn.Sequential(
            nn.Conv2d(2, 4, 3, padding=1), NORMS[norm](), nn.ReLU(), nn.Flatten(), nn.Linear(36, 5), nn.Linear(5, 3)
        ).double()
        for name, parameter in model.named_parameters():
            if name.startswith("1."):
                nn.init.normal_(parameter)
    return model


def resolved(**options):
    return fill_decay(fill_options(TrainConfig(**options)))


def make(model, **options):
    config = resolved(**options)
    optimizer = build_optimizer(config, [p for p in model.parameters() if p.requires_grad])
    return optimizer, Decay(plan_decay(config, describe(model)), config.decay_mode, model, optimizer)


def gradients(model, step):
    generator = torch.Generator().manual_seed(step)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)


def steps(model, optimizer, decay=None, number=4, lr=0.05):
    for step in range(number):
        gradients(model, step)
        for group in optimizer.param_groups:
            group["lr"] = lr / (step + 1)
        if decay is None:
            optimizer.step()
        else:
            with decay.applied(lr / (step + 1)) as couple:
                couple()
                optimizer.step()


def assert_close(one, two, rtol=1e-12):
    for (name, first), second in zip(one.named_parameters(), two.parameters(), strict=True):
        torch.testing.assert_close(first, second, rtol=rtol, atol=1e-14, msg=lambda text, name=name: f"{name}: {text}")


# -- which tensors, and by how much --------------------------------------------------------------------------------

GAMMA, BETA = "1.weight", "1.bias"
REST = dict.fromkeys(("0.weight", "0.bias", "4.weight", "4.bias", "5.weight", "5.bias"), 0.3)
TABLE = {
    "all": dict.fromkeys(("0.weight", "0.bias", "1.weight", "1.bias", "4.weight", "4.bias", "5.weight", "5.bias"), 0.3),
    "no-bias": {"0.weight": 0.3, "4.weight": 0.3, "5.weight": 0.3},
    "bias": {"0.weight": 0.3, "4.weight": 0.3, "5.weight": 0.3}
    | {"0.bias": 1.0, "1.bias": 1.0, "4.bias": 1.0, "5.bias": 1.0},
    "gamma": dict.fromkeys(("0.weight", "0.bias", "4.weight", "4.bias", "5.weight", "5.bias"), 0.3)
    | {"1.weight": 0.01},
    "beta": REST | {"1.bias": 1.0},
    "adaptive-beta": REST,
    "conv": {"0.weight": 0.3, "0.bias": 0.3},
    "fc": {"5.weight": 0.3, "5.bias": 0.3},
    "none": {},
}


def test_the_table_has_every_policy():
    assert TABLE.keys() == DECAYS.keys()


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("policy", TABLE)
def test_what_each_policy_decays(policy, norm):
    given = {} if policy == "none" else {"weight_decay": 0.3}
    plan = plan_decay(resolved(decay=policy, **given), describe(network(norm)))
    assert plan.fixed == TABLE[policy]
    adaptive = [(layer.gamma, layer.beta) for layer in plan.layers]
    assert adaptive == ([("1.weight", "1.bias")] if policy == "adaptive-beta" else [])


def test_a_parameter_that_no_known_layer_owns_is_a_weight_unless_it_is_called_bias():
    attention = nn.MultiheadAttention(4, 2)
    plan = plan_decay(resolved(decay="no-bias", weight_decay=0.3), describe(attention))
    assert plan.fixed.keys() == {"in_proj_weight", "out_proj.weight"}


# -- how it enters --------------------------------------------------------------------------------------------------


def by_hand(model, lambdas, mode, momentum, number=4, lr=0.05):
    """SGD with momentum and decay in NumPy."""
    theta = {name: p.detach().numpy().copy() for name, p in model.named_parameters()}
    velocity = dict.fromkeys(theta, 0.0)
    for step in range(number):
        generator = torch.Generator().manual_seed(step)
        eta = lr / (step + 1)
        for name in theta:
            g = torch.randn(theta[name].shape, generator=generator, dtype=torch.float64).numpy()
            lam = lambdas.get(name, 0.0)
            velocity[name] = momentum * velocity[name] + g + (lam * theta[name] if mode == "coupled" else 0)
            theta[name] = theta[name] * (1 - (eta * lam if mode == "decoupled" else 0)) - eta * velocity[name]
    return theta


@pytest.mark.parametrize("mode", ["coupled", "decoupled"])
@pytest.mark.parametrize("policy", [name for name in TABLE if name not in ("none", "adaptive-beta")])
def test_several_steps_by_hand(policy, mode):
    model = network()
    expected = by_hand(model, TABLE[policy], mode, 0.9)
    optimizer, decay = make(model, decay=policy, decay_mode=mode, weight_decay=0.3)
    steps(model, optimizer, decay)
    for name, parameter in model.named_parameters():
        np.testing.assert_allclose(parameter.detach().numpy(), expected[name], rtol=1e-12, atol=1e-14, err_msg=name)


@pytest.mark.parametrize(
    ("optimizer", "own", "mode"),
    [
        ("sgd", lambda p: torch.optim.SGD(p, momentum=0.9, weight_decay=0.3), "coupled"),
        ("adamw", lambda p: torch.optim.AdamW(p, weight_decay=0.3), "decoupled"),
    ],
)
@pytest.mark.parametrize("way", ["by the loop", "by the optimizer"])
def test_all_is_torchs_own_weight_decay(optimizer, own, mode, way):
    ours, theirs = network(), network()
    mode = mode if way == "by the loop" else None
    steps(ours, *make(ours, optimizer=optimizer, decay="all", decay_mode=mode, weight_decay=0.3))
    steps(theirs, own(theirs.parameters()))
    assert_close(ours, theirs)


def test_coupled_adam_is_torchs_adam_not_adamw():
    ours, theirs = network(), network()
    steps(ours, *make(ours, optimizer="adamw", decay="all", decay_mode="coupled", weight_decay=0.3))
    steps(theirs, torch.optim.Adam(theirs.parameters(), weight_decay=0.3))
    assert_close(ours, theirs)


@pytest.mark.parametrize("policy", DECAYS)
@pytest.mark.parametrize(("optimizer", "mode"), [("sgd", "coupled"), ("adamw", "decoupled")])
def test_the_loops_way_and_the_optimizers_own_agree(policy, optimizer, mode):
    one, two = network(), network()
    options = {"optimizer": optimizer, "decay": policy, **({"weight_decay": 0.3} if policy != "none" else {})}
    steps(one, *make(one, **options))
    steps(two, *make(two, **options, **({"decay_mode": mode} if policy != "none" else {})))
    assert_close(one, two)


@pytest.mark.parametrize("policy", ["all", "adaptive-beta"])
def test_coupled_decay_around_sam_is_that_of_its_base(policy):
    """It enters the gradient that the base steps along, at the weights before the step, and not the perturbation."""
    data = torch.randn(9, 2, 3, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    labels = torch.arange(9) % 3
    models = []
    for mode in (None, "coupled"):
        model = network()
        optimizer, decay = make(
            model, optimizer="sam:base=sgd", decay=policy, decay_mode=mode, weight_decay=0.3, decay_threshold=None
        )
        for _ in range(4):
            passes = Passes(model, lambda model=model: cross_entropy(model(data), labels))
            passes.gradient()
            with decay.applied(0.1) as couple:
                take_step(optimizer, replace(passes, couple=couple))
        models.append(model)
    assert_close(*models)


def test_a_tensor_without_a_gradient_is_left_alone():
    for mode in ("coupled", "decoupled"):
        model = network()
        before = copy.deepcopy(model)
        optimizer, decay = make(model, decay="all", decay_mode=mode)
        with decay.applied(0.1) as couple:
            couple()
            optimizer.step()
        assert_close(model, before, rtol=0)


# -- adaptive beta --------------------------------------------------------------------------------------------------


def test_the_ratio_and_its_edges():
    c_beta = torch.tensor([1.0, 0.0, 2.0, 0.0, float("nan")])
    c_gamma = torch.tensor([4.0, 3.0, 0.0, 0.0, 1.0])
    assert ratios(c_beta, c_gamma)[:4].tolist() == [0.25, 0.0, float("inf"), 0.0]
    assert chosen(ratios(c_beta, c_gamma), 0.25).tolist() == [True, False, True, False, False]


def test_connectivity_is_the_sum_of_absolute_products():
    tensors, grads = [torch.tensor([1.0, -2.0]), torch.tensor([3.0])], [torch.tensor([0.5, 4.0]), torch.tensor([-2.0])]
    assert connectivities(tensors, grads).tolist() == [8.5, 6.0]


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("c", [0.01, 7.0])
def test_the_ratio_is_that_of_every_network_of_the_same_function(norm, c):
    """rho multiplies what goes into a unit by c and divides what leaves it by c: gamma and beta, then the weights."""
    model = network(norm)
    generator = torch.Generator().manual_seed(5)
    x, y = torch.randn(8, 2, 3, 3, generator=generator, dtype=torch.float64), torch.arange(8) % 3
    found = []
    for scaled in (False, True):
        if scaled:
            # Each c over a whole channel, of which layer normalisation has a gamma a place.
            with torch.no_grad():
                model[1].weight[1] *= c
                model[1].bias[1] *= c
                model[4].weight[:, 9:18] /= c
        optimizer, decay = make(model, decay="adaptive-beta")
        optimizer.zero_grad()
        logits = model(x)
        cross_entropy(logits, y).backward()
        with decay.applied(0.0):
            pass
        found.append((logits.detach(), decay.take_ratios(1)[0][BETA]))
    (logits, ratio), (same_logits, same_ratio) = found
    torch.testing.assert_close(same_logits, logits, rtol=1e-12, atol=1e-12)
    assert same_ratio == pytest.approx(ratio, rel=1e-10)
    assert 0 < ratio < float("inf")


def test_a_layer_needs_both_gamma_and_beta():
    model = nn.Sequential(nn.LayerNorm(3, bias=False), nn.BatchNorm1d(3), nn.GroupNorm(1, 3, affine=False))
    assert [layer.beta for layer in norm_layers(describe(model))] == ["1.bias"]


@pytest.mark.parametrize("mode", [None, "coupled", "decoupled"])
@pytest.mark.parametrize("norm", NORMS)
def test_adaptive_beta_by_hand(norm, mode):
    """NumPy over eight steps, with a threshold that some steps pass and some do not."""
    model, lr, strength, threshold = network(norm), 0.05, 0.7, 1.0
    theta = {name: p.detach().numpy().copy() for name, p in model.named_parameters()}
    velocity, expected = dict.fromkeys(theta, 0.0), []
    for step in range(8):
        generator = torch.Generator().manual_seed(step)
        g = {n: torch.randn(t.shape, generator=generator, dtype=torch.float64).numpy() for n, t in theta.items()}
        r = np.abs(theta[BETA] * g[BETA]).sum() / np.abs(theta[GAMMA] * g[GAMMA]).sum()
        expected.append(strength * float(r >= threshold))
        for name in theta:
            lam = expected[-1] if name == BETA else 0.0 if name == GAMMA else 0.3
            coupled = mode != "decoupled"
            velocity[name] = 0.9 * velocity[name] + g[name] + (lam * theta[name] if coupled else 0)
            shrunk = theta[name] * (1 if coupled else 1 - lr / (step + 1) * lam)
            theta[name] = shrunk - lr / (step + 1) * velocity[name]
    assert 0 < np.mean(np.array(expected) > 0) < 1
    options = {"decay_mode": mode} if mode else {}
    optimizer, decay = make(
        model, decay="adaptive-beta", weight_decay=0.3, decay_lambda=strength, decay_threshold=threshold, **options
    )
    steps(model, optimizer, decay, number=8)
    for name, parameter in model.named_parameters():
        np.testing.assert_allclose(parameter.detach().numpy(), theta[name], rtol=1e-12, atol=1e-14, err_msg=name)
    rows = decay.take_steps(11)
    assert [row["step"] for row in rows] == list(range(11, 19))
    assert [row[BETA] for row in rows] == expected
    assert all(row[GAMMA] == 0 and row["0.bias"] == 0.3 for row in rows)
    assert decayed_share(rows, [BETA]) == np.mean(np.array(expected) > 0)
    assert decay.take_steps(19) == []


def test_threshold_zero_is_beta_decay():
    one, two = network(), network()
    steps(one, *make(one, decay="adaptive-beta", decay_threshold=0.0))
    steps(two, *make(two, decay="beta"))
    assert_close(one, two, rtol=0)


# -- the log --------------------------------------------------------------------------------------------------------


def test_only_changes_are_kept():
    rows = [{"step": n, "a": value, "b": 1.0} for n, value in enumerate([0.0, 0.0, 1.0, 1.0, 0.0], start=1)]
    assert only_changes([], rows) == [rows[0], rows[2], rows[4]]
    assert only_changes(rows[:1], rows[1:3]) == [rows[0], rows[2]]


def test_a_fixed_policy_says_its_lambdas_once():
    model = network()
    _, decay = make(model, decay="beta", weight_decay=0.3)
    first, second = decay.take_steps(1), decay.take_steps(24)
    assert first == [{"step": 1, **{name: TABLE["beta"].get(name, 0.0) for name, _ in model.named_parameters()}}]
    assert only_changes(first, second) == first


# -- freezing -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(("what", "gamma", "beta"), [("bn", 1, 0), ("gamma", 1, None), ("beta", None, 0)])
def test_frozen_parameters_are_neutral_and_stay(norm, what, gamma, beta):
    model = network(norm)
    names = freeze(model, what)
    assert set(names) == {name for name, value in ((GAMMA, gamma), (BETA, beta)) if value is not None}
    optimizer, decay = make(model, decay="all", decay_mode="decoupled")
    steps(model, optimizer, decay)
    for name, value in ((GAMMA, gamma), (BETA, beta)):
        parameter = model.get_parameter(name)
        assert (value is None) == parameter.requires_grad
        assert value is None or (parameter == value).all()


# -- what is refused ------------------------------------------------------------------------------------------------


def bare():
    return nn.Sequential(nn.Linear(4, 3, bias=False))


def frozen(what):
    model = network()
    freeze(model, what)
    return model


@pytest.mark.parametrize(
    ("build", "options", "words"),
    [
        (bare, {"decay": "beta"}, "decay beta decays nothing here: .* no trained beta"),
        (bare, {"decay": "gamma"}, "no trained gamma"),
        (bare, {"decay": "adaptive-beta"}, "no normalisation layer with both gamma and beta"),
        (bare, {"decay": "bias"}, "no biases and no beta"),
        (bare, {"decay": "conv"}, "no convolutions"),
        (lambda: nn.Sequential(nn.Conv2d(1, 2, 3)), {"decay": "fc"}, "no linear layers"),
        (lambda: frozen("bn"), {"decay": "beta", "freeze": "bn"}, "no trained beta once bn is frozen"),
        (lambda: frozen("gamma"), {"decay": "adaptive-beta", "freeze": "gamma"}, "once gamma is frozen"),
        (bare, {"decay": "all", "weight_decay": 0.0}, "weight_decay 0 decays nothing"),
        (bare, {"decay": "adaptive-bet"}, "Did you mean adaptive-beta"),
        (bare, {"decay": "all", "decay_lambda": 0.1}, "decay all takes no decay_lambda; it takes no options.*choose"),
        (bare, {"decay": "beta", "decay_threshold": 0.1}, "takes no decay_threshold.*choose adaptive-beta"),
        (bare, {"decay_lambda": 0.1}, "choose decay as one of bias, gamma, beta, adaptive-beta"),
        (bare, {"decay": "none", "decay_mode": "coupled"}, "leaves nothing to enter"),
    ],
)
def test_what_decays_nothing_or_contradicts_itself_is_refused(build, options, words):
    with pytest.raises(OptionError, match=words):
        plan_decay(resolved(**options), describe(build()))


def test_freezing_what_is_not_there_is_refused():
    with pytest.raises(OptionError, match="no normalisation layer with a gamma or beta"):
        freeze(bare(), "bn")


def test_an_optimizer_without_decay_takes_no_policy():
    with pytest.raises(OptionError, match="has no weight decay"):
        fill_decay(TrainConfig(optimizer="sgd", decay="all"))


# -- going on -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", "lamb", "lars", "percent-delta", "mclr"])
@pytest.mark.parametrize("mode", [None, "coupled", "decoupled"])
def test_groups_by_lambda_come_back_with_the_state(optimizer, mode):
    options = {"optimizer": optimizer, "decay": "adaptive-beta", "decay_threshold": 0.8, "decay_mode": mode}
    whole = network()
    first, decay = make(whole, **options)
    steps(whole, first, decay, number=2)
    assert [row[BETA] > 0 for row in decay.take_steps(1)] == [True, True]
    again = copy.deepcopy(whole)
    second, other = make(again, **options)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    steps(whole, first, decay, number=6)
    steps(again, second, other, number=6)
    assert {row[BETA] > 0 for row in other.take_steps(3)} == {True, False}
    assert_close(whole, again, rtol=0)


def test_the_ratio_of_each_step_is_kept_until_it_is_taken():
    model = network()
    optimizer, decay = make(model, decay="adaptive-beta", decay_mode="coupled", lr=0.05)
    expected = []
    for step in range(3):
        gradients(model, step)
        gamma, beta = (model[1].weight, model[1].bias)
        sums = [float(np.abs((p.detach() * p.grad).numpy()).sum()) for p in (beta, gamma)]
        expected.append({"step": 5 + step, "1.bias": sums[0] / sums[1]})
        with decay.applied(0.05) as couple:
            couple()
            optimizer.step()
    rows = decay.take_ratios(5)
    assert [list(row) for row in rows] == [["step", "1.bias"]] * 3
    for got, wanted in zip(rows, expected, strict=True):
        assert got == pytest.approx(wanted, rel=1e-12)
    assert decay.take_ratios(8) == []
