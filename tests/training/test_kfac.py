"""K-FAC against dense curvature matrices, closed forms and its own schedule of factors."""

import math

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss

from landscape.config.training import TrainConfig
from landscape.errors import ModelError
from landscape.training.optimizers import build_optimizer
from landscape.training.optimizers.cotangents import Noise, cotangents
from landscape.training.optimizers.kfac import clip_factor, damped_inverses
from landscape.training.optimizers.kronecker import (
    Factors,
    cotangent_factors,
    factored_layers,
    input_moment,
    located_gradients,
    located_inputs,
    recording,
)
from landscape.training.passes import Logits, Passes, take_step

F64 = torch.float64


@pytest.fixture(autouse=True)
def _seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def with_gradients(model):
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    return model


LAYERS = [
    (nn.Linear(4, 3), (2, 4)),
    (nn.Linear(4, 3, bias=False), (2, 5, 4)),
    (nn.Conv2d(2, 3, 3), (2, 2, 6, 5)),
    (nn.Conv2d(2, 3, (3, 2), padding=(2, 1), stride=(2, 1), dilation=(1, 2)), (2, 2, 6, 7)),
    (nn.Conv2d(2, 3, 4, padding="same", bias=False), (2, 2, 5, 5)),
]


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize(("layer", "shape"), LAYERS)
def test_inputs_and_gradients_multiply_to_the_gradient_of_the_weights(layer, shape):
    """sum_t s_t a_t' of a sample is its gradient: the patches are those that the layer sees, in its order."""
    layer, x, bias = layer.to(F64), torch.randn(shape, dtype=F64), layer.bias is not None
    out = layer(x)
    cotangent = torch.randn_like(out)
    out.backward(cotangent)
    a_BTI, s_BTO = located_inputs(layer, x, bias), located_gradients(layer, cotangent)
    G_OI = torch.einsum("bto,bti->oi", s_BTO, a_BTI)
    expected = layer.weight.grad.flatten(1)
    if bias:
        expected = torch.cat([expected, layer.bias.grad.unsqueeze(1)], 1)
    torch.testing.assert_close(G_OI, expected, rtol=1e-12, atol=1e-12)
    layer.zero_grad()


CONVOLUTIONS = [
    (nn.Conv2d(2, 3, 3, padding=1), (3, 2, 6, 5)),
    (nn.Conv2d(2, 3, (3, 2), padding=(2, 1), stride=(1, 2), dilation=(1, 2)), (2, 2, 6, 8)),
    (nn.Conv2d(3, 2, 1, bias=False), (2, 3, 4, 5)),
    (nn.Conv2d(2, 2, 4, padding="same"), (2, 2, 3, 3)),
    (nn.Conv2d(2, 2, (5, 1)), (2, 2, 5, 3)),
    (nn.Conv2d(2, 3, 3, padding=1, stride=2), (3, 2, 6, 5)),
]


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("layer", "shape"), CONVOLUTIONS)
def test_the_moment_of_the_inputs_is_that_of_the_patches_written_out(layer, shape, bias):
    """The patches one by one: a filter of zeros with a single 1 gives its element of every patch."""
    x = torch.randn(shape, dtype=F64)
    size = layer.weight[0].numel()
    picks = torch.eye(size, dtype=F64).view(size, *layer.weight.shape[1:])
    a = nn.functional.conv2d(x, picks, None, layer.stride, layer.padding, layer.dilation)
    a = a.transpose(0, 1).flatten(1)
    if bias:
        a = torch.cat([a, torch.ones_like(a[:1])])
    torch.testing.assert_close(input_moment(layer, x, bias), a @ a.T / a.shape[1], rtol=1e-12, atol=1e-12)


def deep_linear():
    return nn.Sequential(*(nn.Linear(a, b, bias=False, dtype=F64) for a, b in ((5, 4), (4, 6), (6, 3))))


def exact_blocks(model, x):
    """The diagonal blocks of (1/N) sum_n J_n' J_n, dense, from one Jacobian a sample."""
    weights = dict(model.named_parameters())
    blocks = dict.fromkeys(weights, 0)
    for sample in x:
        J = torch.func.jacrev(lambda w, s=sample: torch.func.functional_call(model, w, (s,)))(weights)
        for name, j in J.items():
            j = j.flatten(1)
            blocks[name] = blocks[name] + j.T @ j / len(x)
    return blocks


def test_on_a_deep_linear_network_the_step_is_the_exact_block_diagonal_gauss_newton_step():
    model, x = deep_linear(), torch.randn(12, 5, dtype=F64)
    target = torch.randn(12, 3, dtype=F64)
    mse_loss(model(x), target).backward()
    layers = factored_layers(model)
    with recording(layers) as recorder:
        logits = model(x)
        # In place of Gaussian vectors those whose second moment is the identity exactly.
        signs = math.sqrt(3) * torch.eye(3, dtype=F64).repeat(4, 1)
        factors = cotangent_factors(recorder, logits, signs, dict.fromkeys(layers, False))
    for (name, block), layer in zip(exact_blocks(model, x).items(), layers, strict=True):
        A, S, T = factors[layer].A, factors[layer].S, factors[layer].locations
        torch.testing.assert_close(T * torch.kron(S, A), block, rtol=1e-10, atol=1e-12, msg=name)
        A_inverse, S_inverse = damped_inverses(factors[layer], 1e-22)
        # The deep layers' blocks are singular: compare where they are not.
        step = S_inverse @ layer.weight.grad @ A_inverse
        back = (block @ step.flatten()).reshape_as(step)
        torch.testing.assert_close(back, layer.weight.grad, rtol=1e-5, atol=1e-7, msg=name)


@pytest.mark.parametrize("locations", [1, 6])
def test_damping_is_that_of_the_dense_product(locations):
    A, S = (m @ m.T for m in (torch.randn(4, 4, dtype=F64), torch.randn(3, 3, dtype=F64)))
    A_inverse, S_inverse = damped_inverses(Factors(A, S, locations), 0.1)
    pi, root = math.sqrt((A.trace() / 4) / (S.trace() / 3)), math.sqrt(0.1 / locations)
    dense = locations * torch.kron(S + root / pi * torch.eye(3, dtype=F64), A + pi * root * torch.eye(4, dtype=F64))
    torch.testing.assert_close(torch.kron(S_inverse, A_inverse), torch.linalg.inv(dense), rtol=1e-9, atol=1e-12)
    # The split keeps the product of the two shifts, times T, the damping itself.
    assert math.isclose(locations * (root / pi) * (pi * root), 0.1, rel_tol=1e-12)


def test_the_effective_damping_grows_with_the_square_of_the_weights():
    """Weights c times as large before a batch normalisation have s / c: c times the step of damping c^2 delta."""
    A, S = (m @ m.T for m in (torch.randn(4, 4, dtype=F64), torch.randn(3, 3, dtype=F64)))
    G, c = torch.randn(3, 4, dtype=F64), 5.0

    def step(S, G, damping):
        A_inverse, S_inverse = damped_inverses(Factors(A, S, 2), damping)
        return S_inverse @ G @ A_inverse

    torch.testing.assert_close(step(S / c**2, G / c, 1e-2), c * step(S, G, c**2 * 1e-2), rtol=1e-10, atol=0)


def test_factors_of_zero_are_damped_alone():
    A_inverse, S_inverse = damped_inverses(Factors(torch.zeros(2, 2), torch.zeros(3, 3), 1), 0.25)
    torch.testing.assert_close(A_inverse, 2 * torch.eye(2))
    torch.testing.assert_close(S_inverse, 2 * torch.eye(3))


@pytest.mark.parametrize(("change", "nu"), [(4e-3, 0.5), (1e-4, 1.0), (0.0, 1.0)])
def test_the_clip_bounds_the_change(change, nu):
    assert math.isclose(clip_factor(torch.tensor(change), 1e-3).item(), nu, rel_tol=1e-6)


def test_cotangents_have_the_second_moments_of_the_curvatures():
    logits, draws = torch.tensor([0.5, -1.0, 0.2], dtype=F64), 20000
    p = torch.softmax(logits, 0)
    for kind, expected in (("fisher", p.diag() - torch.outer(p, p)), ("gauss-newton", torch.eye(3, dtype=F64))):
        many = logits.expand(draws, 3)
        s = cotangents(many, kind, Noise(kind, 0, draws).rows(0, many))
        products = torch.einsum("ni,nj->nij", s, s)
        error = (products.mean(0) - expected).abs()
        assert torch.all(error < 4 * products.std(0) / math.sqrt(draws) + 1e-12)


class OfBatch:
    """A linear softmax regression with its passes: the batch is the first `size` of 20 samples."""

    def __init__(self, size=8, **options):
        self.model = nn.Linear(4, 3, dtype=F64)
        self.x, self.y = torch.randn(20, 4, dtype=F64), torch.randint(3, (20,))
        self.size = size
        spec = ",".join(f"{key}={value}" for key, value in options.items())
        self.optimizer = build_optimizer(TrainConfig(optimizer=f"kfac-g:{spec}", lr=0.01), self.model.parameters())

    def step(self):
        passes = Passes(
            self.model,
            loss=lambda: cross_entropy(self.model(self.x[: self.size]), self.y[: self.size]),
            outputs=lambda: iter([Logits(self.model(self.x[: self.size]), 0, self.size)]),
            all_outputs=lambda: (Logits(self.model(self.x[i : i + 6]), i, 20) for i in range(0, 20, 6)),
        )
        passes.gradient()
        take_step(self.optimizer, passes)

    @property
    def state(self):
        return self.optimizer.state[self.model.weight]


def moment(x):
    x = torch.cat([x, torch.ones(len(x), 1, dtype=F64)], 1)
    return x.T @ x / len(x)


def test_factors_start_over_all_samples_and_are_averaged_at_their_intervals():
    run = OfBatch(statistics=2, inverses=3)
    A, inverses = moment(run.x), []
    for step in range(7):
        if step in (2, 4, 6):
            A = 0.95 * A + 0.05 * moment(run.x[:8])
        run.step()
        torch.testing.assert_close(run.state["A"], A, rtol=1e-12, atol=1e-12)
        inverses.append(run.state["A_inverse"].clone())
    changed = [step for step in range(1, 7) if not torch.equal(inverses[step - 1], inverses[step])]
    assert changed == [3, 6]


@pytest.mark.parametrize("decoupled", [True, False])
def test_two_steps_of_a_regression_by_hand(decoupled):
    run = OfBatch(decoupled=str(decoupled).lower(), clip=1e-6)
    theta = torch.cat([run.model.weight, run.model.bias.unsqueeze(1)], 1).detach().clone()
    velocity = torch.zeros_like(theta)
    x = torch.cat([run.x[:8], torch.ones(8, 1, dtype=F64)], 1)
    for _ in range(2):
        run.step()
        error = torch.softmax(x @ theta.T, 1) - torch.eye(3, dtype=F64)[run.y[:8]]
        G = error.T @ x / 8 + (0 if decoupled else 5e-4) * theta
        natural = run.state["S_inverse"] @ G @ run.state["A_inverse"]
        nu = min(1.0, math.sqrt(1e-6 / (0.01**2 * (G * natural).sum().item())))
        assert nu < 1
        velocity = 0.9 * velocity + nu * natural
        theta = theta * (1 - 0.01 * 5e-4 if decoupled else 1) - 0.01 * velocity
        got = torch.cat([run.model.weight, run.model.bias.unsqueeze(1)], 1)
        torch.testing.assert_close(got, theta, rtol=1e-10, atol=1e-12)


def test_parameters_without_factors_take_plain_momentum_steps():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)).to(F64)
    x, y = torch.randn(10, 3, dtype=F64), torch.randint(2, (10,))
    optimizer = build_optimizer(TrainConfig(optimizer="kfac-f", lr=0.1, weight_decay=0.0), model.parameters())
    gamma, velocity = model[1].weight.detach().clone(), torch.zeros(4, dtype=F64)
    for _ in range(3):
        passes = Passes(
            model,
            loss=lambda: cross_entropy(model(x), y),
            outputs=lambda: iter([Logits(model(x), 0, 10)]),
            all_outputs=lambda: iter([Logits(model(x), 0, 10)]),
        )
        passes.gradient()
        velocity = 0.9 * velocity + model[1].weight.grad
        gamma = gamma - 0.1 * velocity
        take_step(optimizer, passes)
        torch.testing.assert_close(model[1].weight.detach(), gamma, rtol=1e-12, atol=0)


def test_what_writes_into_a_layers_output_changes_no_factor():
    def S(inplace):
        torch.manual_seed(1)
        model = with_gradients(nn.Sequential(nn.Linear(3, 4), nn.ReLU(inplace=inplace), nn.Linear(4, 2)).to(F64))
        layers = factored_layers(model)
        with recording(layers) as recorder:
            logits = model(torch.randn(6, 3, dtype=F64))
            return cotangent_factors(recorder, logits, torch.ones_like(logits), dict.fromkeys(layers, True))[
                layers[0]
            ].S

    assert torch.equal(S(True), S(False))


def test_a_layer_that_runs_twice_is_refused():
    layer = with_gradients(nn.Linear(3, 3))
    with recording([layer]), pytest.raises(ModelError, match="runs more than once in a pass"):
        layer(layer(torch.zeros(1, 3)))
    layer(layer(torch.zeros(1, 3)))  # no hook is left behind
