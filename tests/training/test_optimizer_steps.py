"""Each optimizer's steps against its formula in NumPy float64, and against closed forms."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from landscape.config.training import TrainConfig
from landscape.training.optimizers import build_optimizer
from landscape.training.optimizers.cblr import curvature_radius, estimate_diagonal
from landscape.training.optimizers.lamb import lamb_update
from landscape.training.optimizers.lars import lars_update
from landscape.training.optimizers.layer_rates import complete
from landscape.training.optimizers.mclr import median_of_ratios, ratio_of_medians
from landscape.training.optimizers.percent_delta import harmonic_mean_ratio
from landscape.training.optimizers.sam import asam_perturbation, sam_perturbation
from landscape.training.passes import Passes, take_step

# Three tensors: an ordinary one, one that starts at 0, one whose first gradients are 0.
START = [np.array([[1.0, -2.0], [0.5, 0.25], [-0.75, 3.0]]), np.zeros(2), np.array([0.4, -0.3, 0.2])]
GRADIENTS = [
    [np.array([[0.3, -0.1], [2.0, 1e-3], [0.2, -0.4]]), np.array([0.5, -0.25]), np.zeros(3)],
    [np.array([[-0.7, 0.4], [0.0, 1e-3], [0.1, 0.6]]), np.array([0.0, 0.0]), np.zeros(3)],
    [np.array([[0.1, 0.1], [-5.0, 1e-3], [-0.3, 0.2]]), np.array([0.1, 0.7]), np.array([0.2, 0.0, -0.1])],
    [np.array([[0.2, -0.6], [0.3, -2.0], [0.8, -0.1]]), np.array([-0.2, 0.3]), np.array([0.1, 0.4, 0.3])],
]


def norm(x):
    return math.sqrt(float((x * x).sum()))


def lower_median(x):
    return np.sort(x, axis=None)[(x.size - 1) // 2]


def each(step):
    """A trajectory of each tensor by itself, from `step(theta, g, t, memory) -> theta`."""

    def run(**options):
        thetas, memories = [theta.copy() for theta in START], [{} for _ in START]
        for t, gradients in enumerate(GRADIENTS, start=1):
            thetas = [
                step(theta, g, t, memory, **options)
                for theta, g, memory in zip(thetas, gradients, memories, strict=True)
            ]
        return thetas

    return run


@each
def sgd(theta, g, t, memory, lr, momentum, weight_decay, nesterov=False):
    d = g + weight_decay * theta
    memory["v"] = momentum * memory.get("v", 0) + d
    return theta - lr * (d + momentum * memory["v"] if nesterov else memory["v"])


def adam_moments(g, t, memory, beta1, beta2, correct=True):
    memory["m"] = beta1 * memory.get("m", 0) + (1 - beta1) * g
    memory["v"] = beta2 * memory.get("v", 0) + (1 - beta2) * g**2
    if not correct:
        return memory["m"], memory["v"]
    return memory["m"] / (1 - beta1**t), memory["v"] / (1 - beta2**t)


@each
def adam(theta, g, t, memory, lr, weight_decay, beta1=0.9, beta2=0.999, eps=1e-8):
    m, v = adam_moments(g + weight_decay * theta, t, memory, beta1, beta2)
    return theta - lr * m / (np.sqrt(v) + eps)


@each
def adamw(theta, g, t, memory, lr, weight_decay, beta1=0.9, beta2=0.999, eps=1e-8):
    m, v = adam_moments(g, t, memory, beta1, beta2)
    return theta * (1 - lr * weight_decay) - lr * m / (np.sqrt(v) + eps)


@each
def lamb(theta, g, t, memory, lr, weight_decay, beta1=0.9, beta2=0.999, eps=1e-6, bias_correction=True):
    m, v = adam_moments(g, t, memory, beta1, beta2, bias_correction)
    u = m / (np.sqrt(v) + eps) + weight_decay * theta
    ratio = norm(theta) / norm(u) if norm(theta) > 0 and norm(u) > 0 else 1.0
    return theta - lr * ratio * u


@each
def lars(theta, g, t, memory, lr, momentum, weight_decay, trust=1e-3):
    local = 1.0
    if norm(theta) > 0 and norm(g) > 0:
        local = trust * norm(theta) / (norm(g) + weight_decay * norm(theta))
    memory["v"] = momentum * memory.get("v", 0) + lr * local * (g + weight_decay * theta)
    return theta - memory["v"]


def by_layer(statistic):
    """A trajectory of all tensors together: a statistic that is 0 or not finite takes the others' median."""

    def run(lr, weight_decay, cap=math.inf, **kind):
        thetas = [theta.copy() for theta in START]
        for gradients in GRADIENTS:
            ds = [g + weight_decay * theta for theta, g in zip(thetas, gradients, strict=True)]
            with np.errstate(divide="ignore", invalid="ignore"):
                s = [float(statistic(theta, d, **kind)) for theta, d in zip(thetas, ds, strict=True)]
            good = [value for value in s if 0 < value < math.inf]
            other = lower_median(np.array(good)) if good else 1.0
            rates = [min(value if 0 < value < math.inf else other, cap) for value in s]
            thetas = [theta - lr * rate * d for theta, rate, d in zip(thetas, rates, ds, strict=True)]
        return thetas

    return run


@by_layer
def percent_delta(theta, d):
    return theta.size / np.abs(d / theta).sum()


@by_layer
def mclr(theta, d, statistic="ratios"):
    if statistic == "medians":
        return abs(lower_median(theta) / lower_median(d))
    ratios = np.abs(theta / d)
    ratios = ratios[~np.isnan(ratios)]
    return lower_median(ratios) if ratios.size else math.nan


CASES = [
    (sgd, {"lr": 0.2, "momentum": 0.8, "weight_decay": 0.1}, {}),
    (sgd, {"lr": 0.2, "momentum": 0.0, "weight_decay": 0.0}, {}),
    (sgd, {"lr": 0.2, "momentum": 0.8, "weight_decay": 0.1}, {"nesterov": True}),
    (adam, {"lr": 0.05, "weight_decay": 0.3}, {}),
    (adam, {"lr": 0.05, "weight_decay": 0.0}, {"beta1": 0.7, "beta2": 0.9, "eps": 1e-3}),
    (adamw, {"lr": 0.05, "weight_decay": 0.3}, {}),
    (adamw, {"lr": 0.05, "weight_decay": 0.3}, {"beta1": 0.7, "beta2": 0.9, "eps": 1e-3}),
    (lamb, {"lr": 0.05, "weight_decay": 0.3}, {}),
    (lamb, {"lr": 0.05, "weight_decay": 0.0}, {"beta1": 0.7, "beta2": 0.9, "eps": 1e-3}),
    (lamb, {"lr": 0.05, "weight_decay": 0.3}, {"bias_correction": False}),
    (lars, {"lr": 0.5, "momentum": 0.8, "weight_decay": 0.1}, {}),
    (lars, {"lr": 0.5, "momentum": 0.0, "weight_decay": 0.0}, {"trust": 0.02}),
    (percent_delta, {"lr": 0.1, "weight_decay": 0.0}, {}),
    (percent_delta, {"lr": 0.1, "weight_decay": 0.3}, {}),
    (mclr, {"lr": 0.1, "weight_decay": 0.0}, {"cap": 100.0}),
    (mclr, {"lr": 0.1, "weight_decay": 0.3}, {"cap": 0.5}),
    (mclr, {"lr": 0.1, "weight_decay": 0.3}, {"cap": 100.0, "statistic": "medians"}),
]


@pytest.mark.parametrize(("by_hand", "settings", "options"), CASES)
def test_four_steps_by_hand(by_hand, settings, options):
    name = next(name for name, value in globals().items() if value is by_hand).replace("_", "-")
    spec = ",".join(f"{key}={value}" for key, value in options.items())
    config = TrainConfig(optimizer=f"{name}:{spec}" if spec else name, **settings)
    thetas = [nn.Parameter(torch.tensor(theta)) for theta in START]
    optimizer = build_optimizer(config, thetas)
    for gradients in GRADIENTS:
        for theta, gradient in zip(thetas, gradients, strict=True):
            theta.grad = torch.tensor(gradient)
        optimizer.step()
    for theta, expected in zip(thetas, by_hand(**settings, **options), strict=True):
        np.testing.assert_allclose(theta.detach().numpy(), expected, rtol=1e-12, atol=1e-15)


# -- the pure functions: closed forms and the cases with a norm of 0 -------------------------------------------------


def vector(*values):
    return torch.tensor(values, dtype=torch.float64)


def test_lamb_moves_a_tensor_by_its_norm():
    theta, m, v = vector(3.0, 4.0), vector(0.2, -0.1), vector(0.3, 0.5)
    update = lamb_update(theta, m, v, weight_decay=0.1, eps=1e-6)
    assert math.isclose(torch.linalg.vector_norm(update).item(), 5.0, rel_tol=1e-12)


def test_a_shift_of_zero_moves_under_lamb():
    torch.testing.assert_close(
        lamb_update(vector(0.0, 0.0), vector(1.0, -2.0), vector(1.0, 4.0), weight_decay=0.1, eps=0.0),
        vector(1.0, -1.0),
    )
    assert torch.equal(lamb_update(vector(1.0), vector(0.0), vector(0.0), weight_decay=0.0, eps=1e-6), vector(0.0))


def test_lars_moves_a_tensor_by_the_trust_coefficient_times_its_norm():
    update = lars_update(vector(3.0, 4.0), vector(0.1, -7.0), weight_decay=0.0, trust=0.02)
    assert math.isclose(torch.linalg.vector_norm(update).item(), 0.02 * 5, rel_tol=1e-12)


@pytest.mark.parametrize(("theta", "g"), [((0.0, 0.0), (1.0, 2.0)), ((1.0, 2.0), (0.0, 0.0)), ((0.0,), (0.0,))])
def test_lars_without_a_norm_is_plain(theta, g):
    theta, g = vector(*theta), vector(*g)
    assert torch.equal(lars_update(theta, g, weight_decay=0.1, trust=0.02), g + 0.1 * theta)


def test_percent_delta_changes_each_tensor_by_gamma_on_the_mean():
    generator = torch.Generator().manual_seed(0)
    for scale in (1e-3, 1.0, 1e4):
        theta = torch.randn(7, 5, generator=generator, dtype=torch.float64)
        parameter = nn.Parameter(theta.clone())
        optimizer = build_optimizer(TrainConfig(optimizer="percent-delta", lr=0.03), [parameter])
        parameter.grad = scale * torch.randn(7, 5, generator=generator, dtype=torch.float64)
        optimizer.step()
        change = ((parameter.detach() - theta) / theta).abs().mean().item()
        assert math.isclose(change, 0.03, rel_tol=1e-12)


def test_statistics_of_single_tensors():
    theta, d = vector(1.0, -2.0, 3.0, 0.0), vector(0.5, 4.0, -1.0, 0.0)
    assert math.isclose(harmonic_mean_ratio(theta[:3], d[:3]).item(), 3 / (0.5 + 2 + 1 / 3), rel_tol=1e-12)
    assert median_of_ratios(theta, d).item() == 2.0  # of 2, 0.5, 3; 0/0 left out
    assert ratio_of_medians(vector(1.0, -2.0, 3.0), vector(0.5, 4.0, -1.0)).item() == 2.0
    assert ratio_of_medians(vector(1.0, 2.0), vector(0.0, 1.0)).item() == math.inf
    assert median_of_ratios(vector(0.0), vector(0.0)).isnan()


@pytest.mark.parametrize(
    ("given", "completed"),
    [
        ((1.0, 0.0, 4.0, math.inf, 3.0), (1.0, 3.0, 4.0, 3.0, 3.0)),
        ((1.0, math.nan, 4.0), (1.0, 1.0, 4.0)),  # of two the lower
        ((0.0, math.nan), (1.0, 1.0)),
    ],
)
def test_a_tensor_without_a_statistic_takes_the_median_of_the_others(given, completed):
    assert torch.equal(complete(vector(*given)), vector(*completed))


# -- CBLR ------------------------------------------------------------------------------------------------------------

SEPARATE = [vector(2.0, -0.5, 8.0), vector(0.25)]  # second derivatives of a loss whose Hessian is diagonal


def separate_problem():
    """A quadratic with a diagonal Hessian: one probe is exact there, so that NumPy can follow every step."""
    model = nn.ParameterList([nn.Parameter(vector(1.0, 0.3, -2.0)), nn.Parameter(vector(0.0))])
    centre = [vector(0.2, -1.0, 0.5), vector(0.7)]

    def loss():
        return sum((h * (w - c) ** 2).sum() / 2 for h, w, c in zip(SEPARATE, model, centre, strict=True))

    return model, centre, loss


@pytest.mark.parametrize("probes", [1, 3])
def test_the_diagonal_of_a_diagonal_hessian_is_exact(probes):
    model, _, loss = separate_problem()
    with torch.random.fork_rng():
        estimate = estimate_diagonal(Passes(model, loss), list(model), probes)
    for got, expected in zip(estimate, SEPARATE, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-14, atol=0)


def test_the_estimated_diagonal_is_unbiased():
    generator = torch.Generator().manual_seed(1)
    A = torch.randn(4, 4, generator=generator, dtype=torch.float64)
    H = A + A.T
    model = nn.ParameterList([nn.Parameter(vector(0.1, 0.2, 0.3, 0.4))])
    probes = 4000
    with torch.random.fork_rng():
        torch.manual_seed(2)
        estimate = estimate_diagonal(Passes(model, lambda: model[0] @ H @ model[0] / 2), list(model), probes)[0]
    stderr = ((H.square().sum(1) - H.diagonal().square()) / probes).sqrt()
    assert torch.all((estimate - H.diagonal()).abs() < 4 * stderr)


@pytest.mark.parametrize(("weight_decay", "cap", "beta"), [(0.0, 100.0, 0.9), (0.2, 3.0, 0.0)])
def test_cblr_by_hand_on_a_diagonal_hessian(weight_decay, cap, beta):
    model, centre, loss = separate_problem()
    config = TrainConfig(optimizer=f"cblr:interval=2,cap={cap},beta={beta}", lr=0.1, weight_decay=weight_decay)
    optimizer = build_optimizer(config, model.parameters())
    weights = [w.detach().numpy().copy() for w in model]
    with torch.random.fork_rng():
        for _ in range(5):
            passes = Passes(model, loss)
            passes.gradient()
            take_step(optimizer, passes)
    for _ in range(5):
        for i, (h, c) in enumerate(zip(SEPARATE, centre, strict=True)):
            d = h.numpy() * (weights[i] - c.numpy()) + weight_decay * weights[i]
            radius = np.minimum((1 + d**2) ** 1.5 / np.abs(h.numpy() + weight_decay), cap)
            weights[i] = weights[i] - 0.1 * radius * d
    for got, expected in zip(model, weights, strict=True):
        np.testing.assert_allclose(got.detach().numpy(), expected, rtol=1e-12)


def test_the_diagonal_is_estimated_every_interval_and_averaged():
    """The second derivative of w^4 / 12 is w^2: each estimate is known from the weights where it was made."""
    model = nn.ParameterList([nn.Parameter(vector(2.0))])
    optimizer = build_optimizer(TrainConfig(optimizer="cblr:interval=3,beta=0.5", weight_decay=0.0), model.parameters())
    w, running, estimates = 2.0, 0.0, 0
    with torch.random.fork_rng():
        for step in range(7):
            if step % 3 == 0:
                running, estimates = 0.5 * running + 0.5 * w**2, estimates + 1
            d = w**3 / 3
            w -= 0.01 * (1 + d**2) ** 1.5 / (running / (1 - 0.5**estimates)) * d
            passes = Passes(model, lambda: (model[0] ** 4 / 12).sum())
            passes.gradient()
            take_step(optimizer, passes)
            assert math.isclose(model[0].item(), w, rel_tol=1e-12)


def test_radius_of_a_circle():
    """The lower half of a circle of radius 5 has this radius of curvature everywhere."""
    x = vector(-3.0, 0.0, 4.0)
    y = -(25 - x**2).sqrt()
    torch.testing.assert_close(curvature_radius(-x / y, -25 / y**3), torch.full((3,), 5.0, dtype=torch.float64))


def test_a_tensor_without_curvature_takes_the_radius_of_the_others():
    model = nn.ParameterList([nn.Parameter(vector(1.0, 2.0, 3.0)), nn.Parameter(vector(1.0, 1.0))])
    optimizer = build_optimizer(TrainConfig(optimizer="cblr", lr=0.1, weight_decay=0.0), model.parameters())
    passes = Passes(model, lambda: (model[0] ** 2).sum() + 0.5 * model[1].sum())
    with torch.random.fork_rng():
        passes.gradient()
        take_step(optimizer, passes)
    median = (1 + 4**2) ** 1.5 / 2  # of the first tensor, with d = 2, 4, 6 and h = 2
    torch.testing.assert_close(model[1].detach(), torch.full((2,), 1 - 0.1 * median * 0.5, dtype=torch.float64))


# -- SAM and ASAM ----------------------------------------------------------------------------------------------------


def bowl():
    """L = sum_i h_i w_i^2 / 2 over a matrix and a bias: the gradient anywhere is h w."""
    h = [torch.tensor([[3.0, 1.0], [0.5, 2.0]], dtype=torch.float64), vector(4.0, 0.1)]
    start = [torch.tensor([[1.0, -2.0], [0.0, 0.5]], dtype=torch.float64), vector(0.3, -1.0)]
    model = nn.ParameterList([nn.Parameter(w.clone()) for w in start])
    return model, h, lambda: sum((a * w**2).sum() / 2 for a, w in zip(h, model, strict=True))


@pytest.mark.parametrize("base", ["sgd", "lamb"])
@pytest.mark.parametrize("name", ["sam", "asam"])
def test_sharpness_aware_steps_are_base_steps_with_the_gradient_nearby(name, base):
    model, h, loss = bowl()
    optimizer = build_optimizer(TrainConfig(optimizer=f"{name}:base={base},rho=0.3", lr=0.1), model.parameters())
    weights = [nn.Parameter(w.detach().clone()) for w in model]
    plain = build_optimizer(TrainConfig(optimizer=base, lr=0.1), weights)
    for _ in range(3):
        passes = Passes(model, loss)
        passes.gradient()
        take_step(optimizer, passes)
        w = [x.detach().numpy() for x in weights]
        g = [a.numpy() * x for a, x in zip(h, w, strict=True)]
        T = [np.ones_like(x) for x in w] if name == "sam" else [np.abs(w[0]) + 0.01, np.ones_like(w[1])]
        length = math.sqrt(sum(((t * x) ** 2).sum() for t, x in zip(T, g, strict=True)))
        for parameter, a, x, t, gradient in zip(weights, h, w, T, g, strict=True):
            parameter.grad = a * torch.tensor(x + 0.3 * t**2 * gradient / length)
        plain.step()
    for got, expected in zip(model, weights, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-15)


def test_the_perturbation_has_length_rho():
    g, theta = [vector(3.0, 4.0), vector(12.0)], [vector(1.0, 2.0), vector(-1.0)]
    e = sam_perturbation(g, 0.5)
    torch.testing.assert_close(torch.cat(e), 0.5 * vector(3.0, 4.0, 12.0) / 13)
    matrices = [x.unsqueeze(0) for x in theta]
    e = asam_perturbation(matrices, [x.unsqueeze(0) for x in g], 0.5, 0.1)
    relative = [x / (w.abs() + 0.1) for x, w in zip(e, matrices, strict=True)]
    assert math.isclose(torch.cat([x.flatten() for x in relative]).norm().item(), 0.5, rel_tol=1e-12)


def test_without_a_gradient_nothing_is_perturbed():
    zero = [torch.zeros(2, 2), torch.zeros(3)]
    assert all(torch.equal(e, z) for e, z in zip(sam_perturbation(zero, 0.5), zero, strict=True))
    assert all(torch.equal(e, z) for e, z in zip(asam_perturbation(zero, zero, 0.5, 0.1), zero, strict=True))


def test_weights_come_back_when_the_second_pass_fails():
    model, _, loss = bowl()
    optimizer = build_optimizer(TrainConfig(optimizer="sam"), model.parameters())
    before = [w.detach().clone() for w in model]
    calls = 0

    def failing():
        nonlocal calls
        calls += 1
        if calls == 2:
            raise RuntimeError("no memory")
        return loss()

    passes = Passes(model, failing)
    passes.gradient()
    with pytest.raises(RuntimeError, match="no memory"):
        take_step(optimizer, passes)
    assert all(torch.equal(a, b) for a, b in zip(before, model, strict=True))


def test_sgd_on_a_quadratic_converges_at_the_rate_of_theory():
    # L = h/2 theta^2 without momentum contracts by |1 - eta h| a step.
    theta = nn.Parameter(torch.tensor([1.0], dtype=torch.float64))
    optimizer = build_optimizer(TrainConfig(lr=0.1, momentum=0, weight_decay=0), [theta])
    for _ in range(10):
        optimizer.zero_grad()
        (1.5 * theta**2).sum().backward()
        optimizer.step()
    assert math.isclose(theta.item(), (1 - 0.1 * 3) ** 10, rel_tol=1e-12)
