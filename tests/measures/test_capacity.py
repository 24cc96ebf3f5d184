"""Norms, paths, relative flatness, weight noise: closed forms, dense matrices, networks of which they are known."""

from __future__ import annotations

import copy
import itertools
import math

import numpy as np
import oracles
import pytest
import torch
import torch.nn.functional as F
from cases import N, case, labels, normal
from torch import Tensor, nn

from landscape import Problem
from landscape.errors import NotApplicableError, OptionError
from landscape.measures.path_norm import path_norm
from landscape.measures.relative_flatness import relative_flatness
from landscape.measures.weight_noise import weight_noise
from landscape.measures.weight_norms import frobenius_distance, spectral_norms
from landscape.models import build_model, parse_model
from landscape.problem.training_facts import TrainingFacts


def seeded(build):
    with torch.random.fork_rng():
        torch.manual_seed(5)
        return build()


def classify(model: nn.Module, *shape: int, classes: int = 3, **options) -> Problem:
    return seeded(
        lambda: Problem(model.double(), nn.CrossEntropyLoss(), (normal(N, *shape), labels(classes)), **options)
    )


# -- spectral norms and distance -------------------------------------------------------------------------------------


def test_spectral_norms_are_the_largest_singular_values() -> None:
    problem = case("batch_norm").problem()
    record = spectral_norms(problem)
    expected = {}
    for info in problem.infos:
        if info.role in ("conv.weight", "linear.weight"):
            matrix = problem.parameters[info.name].numpy()
            expected[info.layer] = np.linalg.svd(matrix.reshape(len(matrix), -1), compute_uv=False)
    assert record.groups == pytest.approx({layer: s[0] for layer, s in expected.items()}, rel=1e-12)
    assert record.value == pytest.approx(math.prod(s[0] for s in expected.values()) ** (1 / len(expected)), rel=1e-12)
    stable = {layer: (s**2).sum() / s[0] ** 2 for layer, s in expected.items()}
    assert record.details["stable_rank"] == pytest.approx(stable, rel=1e-12)


def test_distance_from_the_initial_weights() -> None:
    small = case("relu_without_bias")
    initial = {name: p.detach() + 0.5 for name, p in small.model.named_parameters()}
    problem = small.problem(training=TrainingFacts(initial=initial))
    record = frobenius_distance(problem, by="tensor")
    assert record.value == pytest.approx(0.5 * math.sqrt(problem.size), rel=1e-12)
    assert record.value**2 == pytest.approx(sum(v**2 for v in record.groups.values()), rel=1e-12)
    with pytest.raises(NotApplicableError, match="--initial"):
        frobenius_distance(small.problem())


# -- paths -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("power", [1, 2])
def test_path_norm_sums_over_every_path(power: int) -> None:
    """All paths of a network of three layers with biases, by loops."""
    sizes = (2, 3, 2, 2)
    model = seeded(
        lambda: nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 2))
    ).double()
    weights = [np.abs(model[i].weight.detach().numpy()) ** power for i in (0, 2, 4)]
    biases = [np.abs(model[i].bias.detach().numpy()) ** power for i in (0, 2, 4)]
    total = 0.0
    for start in range(4):  # paths that begin at the inputs, or at the bias of layer 1, 2, 3
        for units in itertools.product(*(range(sizes[layer]) for layer in range(start, 4))):
            if start == 0:
                factors = [weights[k][units[k + 1], units[k]] for k in range(3)]
            else:
                first = biases[start - 1][units[0]]
                factors = [first] + [weights[k][units[k - start + 1], units[k - start]] for k in range(start, 3)]
            total += math.prod(factors)
    record = path_norm(classify(model, 2, classes=2), power=power)
    assert record.value == pytest.approx(total ** (1 / power), rel=1e-12)
    assert record.details["log"] == pytest.approx(math.log(record.value), rel=1e-12)


@pytest.mark.parametrize("name", ["resnet20:width=2", "vgg11-bn:width=0.1", "alexnet:width=0.1"])
def test_a_network_of_positive_weights_says_its_path_norm_itself(name: str) -> None:
    """With weights >= 0 no ReLU acts on an input of ones, so sum f(1) is the sum over paths: that of |w|."""
    with torch.random.fork_rng():
        model = build_model(parse_model(name), classes=3, channels=3, size=32, seed=1).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.abs_()
    x = seeded(lambda: normal(2, 3, 32, 32))
    problem = Problem(model, nn.CrossEntropyLoss(), (x, torch.tensor([0, 1])))
    with torch.no_grad():
        expected = float(model(torch.ones(1, 3, 32, 32, dtype=torch.float64)).sum())
    assert path_norm(problem, power=1).value == pytest.approx(expected, rel=1e-10)


def test_path_norm_folds_batch_normalisation_and_ignores_rho() -> None:
    small = case("batch_norm")
    before = path_norm(small.problem()).value
    model = copy.deepcopy(small.model)
    norm, head = model[4], model[7]
    with torch.no_grad():  # the second normalisation's channel 1 times 5, its four places in the head by 1/5
        norm.weight[1] *= 5
        norm.bias[1] *= 5
        head.weight[:, 4:8] /= 5
    assert path_norm(Problem(model, small.loss, (small.inputs, small.targets))).value == pytest.approx(
        before, rel=1e-12
    )


def test_where_paths_are_not_defined_the_operation_is_named() -> None:
    with pytest.raises(NotApplicableError, match="tanh"):
        path_norm(case("frozen").problem())


# -- relative flatness -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "layer", "weight"), [("logistic_regression", None, "weight"), ("relu_without_bias", "2", "2.weight")]
)
def test_relative_flatness_against_the_dense_hessian(name: str, layer: str | None, weight: str) -> None:
    small = case(name)
    H = oracles.hessian(small.function)
    W = small.function.named[weight].numpy()
    d, m = W.shape
    at = small.function.columns([weight])
    blocks = H[np.ix_(at, at)].reshape(d, m, d, m)
    expected = sum((W[s] @ W[t]) * np.trace(blocks[s, :, t, :]) for s in range(d) for t in range(d))
    record = relative_flatness(small.problem(), layer=layer, rtol=0.02, budget=5000.0)
    assert record.converged
    assert abs(record.value - expected) < 4 * record.stderr
    assert record.stderr < 0.03 * abs(expected)


def test_a_layer_that_is_not_there_is_refused() -> None:
    with pytest.raises(OptionError, match="no linear layer '5'"):
        relative_flatness(case("relu_without_bias").problem(), layer="5")


# -- weight noise ----------------------------------------------------------------------------------------------------


def outside(weight: np.ndarray, rows: np.ndarray) -> float:
    """||w - w A^+ A||^2 by numpy's pseudo-inverse."""
    projector = np.linalg.pinv(rows, rcond=1e-9) @ rows
    return float(((weight - weight @ projector) ** 2).sum())


def deficient() -> tuple[nn.Module, Tensor]:
    """Inputs in a plane of R^5."""
    x = normal(N, 2) @ normal(2, 5)
    return nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3)).double(), x


def test_weight_noise_of_a_linear_layer() -> None:
    model, x = seeded(deficient)
    record = weight_noise(Problem(model, nn.CrossEntropyLoss(), (x, seeded(lambda: labels(3)))))
    weight = model[0].weight.detach().numpy()
    assert record.groups["0"] == pytest.approx(outside(weight, x.numpy()) / (weight**2).sum(), rel=1e-8)
    assert record.details["ranks"] == {"0": 2, "2": 4}
    assert record.groups["2"] == pytest.approx(0, abs=1e-20)


@pytest.mark.parametrize("groups", [1, 2])
def test_weight_noise_of_a_convolution(groups: int) -> None:
    """Channels of one sign pattern each: the patches span little. The oracle cuts patches by hand."""
    model = seeded(
        lambda: nn.Sequential(nn.Conv2d(2, 4, 3, padding=1, stride=2, groups=groups), nn.Flatten(), nn.Linear(16, 3))
    ).double()
    x = seeded(lambda: normal(N, 1, 1, 1) * normal(1, 2, 4, 4))
    record = weight_noise(Problem(model, nn.CrossEntropyLoss(), (x, seeded(lambda: labels(3)))))
    padded = F.pad(x, (1, 1, 1, 1)).numpy()
    weight = model[0].weight.detach().numpy()
    share = 2 // groups
    lost = 0.0
    for g in range(groups):
        channels = slice(g * share, (g + 1) * share)
        rows = [padded[n, channels, i : i + 3, j : j + 3].ravel() for n in range(N) for i in (0, 2) for j in (0, 2)]
        part = weight[g * 4 // groups : (g + 1) * 4 // groups]
        lost += outside(part.reshape(len(part), -1), np.stack(rows))
    assert record.groups["0"] == pytest.approx(lost / (weight**2).sum(), rel=1e-8)
    assert 0 < record.groups["0"] < 1


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_gradient_descent_moves_no_weight_outside_of_the_span(decay: float) -> None:
    """(I - P) w stays under plain SGD; decoupled decay shrinks it by 1 - eta lambda a step (METHODS)."""
    model, x = seeded(deficient)
    y = seeded(lambda: labels(3))
    problem = Problem(model, nn.CrossEntropyLoss(), (x, y))

    def noise() -> float:
        return weight_noise(problem).groups["0"] * float(model[0].weight.detach().square().sum())

    before, eta, steps = noise(), 0.2, 7
    optimizer = torch.optim.SGD(model.parameters(), lr=eta)
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(1 - eta * decay)
    shrunk = (1 - eta * decay) ** (2 * steps)
    assert noise() == pytest.approx(before * shrunk, rel=1e-8)
