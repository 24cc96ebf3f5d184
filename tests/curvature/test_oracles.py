"""The dense oracles against finite differences of L, of the outputs and of the gradients: no autograd on that side."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import oracles
import pytest
import torch
from cases import CASES, case

# Error budget of the fourth-order difference with step h: truncation h^4/30 times a fifth derivative, which the
# instance norm brings to 1e6, makes 1e-11 times the value's size; rounding 1e-16/h as much.
STEP, TOLERANCE = 1e-4, 1e-8
SMOOTH = [name for name in CASES if case(name).smooth]


def central(f: Callable[[torch.Tensor], torch.Tensor], at: torch.Tensor, direction: torch.Tensor) -> torch.Tensor:
    near, far = (f(at + s * STEP * direction) - f(at - s * STEP * direction) for s in (1, 2))
    return (8 * near - far) / (12 * STEP)


def direction(like: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).normal(size=like.shape))


@pytest.mark.parametrize("name", SMOOTH)
def test_hessian_is_the_difference_of_gradients_and_gradients_that_of_losses(name: str) -> None:
    f = case(name).function
    v = direction(f.theta)
    g = oracles.gradient(f.mean_loss, f.theta)
    assert float(central(f.mean_loss, f.theta, v)) == pytest.approx(float(g @ v), rel=TOLERANCE, abs=TOLERANCE)
    slope = central(lambda t: oracles.gradient(f.mean_loss, t), f.theta, v)
    np.testing.assert_allclose(oracles.hessian(f) @ v.numpy(), slope, atol=TOLERANCE)


@pytest.mark.parametrize("name", CASES)
def test_per_sample_gradients_make_up_the_gradient_of_the_losses_own_mean(name: str) -> None:
    f = case(name).function
    mean = f.weights @ oracles.per_sample_gradients(f) / f.weights.sum()
    np.testing.assert_allclose(mean, oracles.gradient(f.mean_loss, f.theta), atol=1e-14)


@pytest.mark.parametrize("name", SMOOTH)
def test_jacobians_are_the_differences_of_outputs(name: str) -> None:
    f = case(name).function
    v = direction(f.theta)
    slope = central(lambda t: f.outputs(t, f.inputs), f.theta, v).detach().numpy()
    J = oracles.parameter_jacobian(f)
    np.testing.assert_allclose((J @ v.numpy()).reshape(slope.shape), slope, rtol=TOLERANCE, atol=TOLERANCE)
    if f.inputs.is_floating_point():
        x = direction(f.inputs)
        slope = central(lambda inputs: f.outputs(f.theta, inputs), f.inputs, x).numpy()
        J_x = oracles.input_jacobian(f)
        np.testing.assert_allclose(np.einsum("nkd,nd->nk", J_x, x.reshape(len(x), -1)), slope, atol=TOLERANCE)


@pytest.mark.parametrize("name", ["logistic_regression", "relu_without_bias", "sequences"])
def test_fisher_equals_gauss_newton_for_softmax_cross_entropy(name: str) -> None:
    small = case(name)
    F = oracles.label_fisher(small.function, "softmax", small.label_weights)
    np.testing.assert_allclose(F, oracles.gauss_newton(small.function), atol=1e-13)


@pytest.mark.parametrize("name", ["logistic_regression", "linear_regression"])
def test_hessian_equals_gauss_newton_where_the_outputs_are_linear(name: str) -> None:
    f = case(name).function
    np.testing.assert_allclose(oracles.hessian(f), oracles.gauss_newton(f), atol=1e-13)


def test_hessian_of_linear_regression_in_closed_form() -> None:
    f = case("linear_regression").function
    x1 = np.c_[f.inputs.numpy(), np.ones(len(f.inputs))]
    moments = x1.T @ x1 / len(x1)  # L = mean over samples and the K = 2 outputs of squares: H = (2/K) I (x) E[x x']
    expected = np.kron(np.eye(2), moments)
    order = np.r_[0:4, 5:9, 4, 9]  # weights of both outputs first, then both biases
    np.testing.assert_allclose(oracles.hessian(f), expected[np.ix_(order, order)], atol=1e-13)
