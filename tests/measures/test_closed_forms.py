"""The lemmas of METHODS: linear, deep linear and bias-free ReLU networks, where each measure is known on paper."""

from __future__ import annotations

import math

import numpy as np
import oracles
import pytest
import torch
from cases import Case, case
from torch import nn

import landscape
from landscape import Problem


def layers(small: Case) -> list[np.ndarray]:
    return [m.weight.detach().numpy() for m in small.model.modules() if isinstance(m, nn.Linear)]


def outputs(small: Case) -> np.ndarray:
    return small.function.outputs(small.function.theta, small.inputs).detach().numpy()


def test_fisher_rao_of_a_bias_free_relu_net_is_a_variance_of_its_logits() -> None:
    """Homogeneous of degree L+1 = 3 in theta: u = 3 f, so 9 E Var_p(f); of one layer u = f, so E Var_p(f)."""
    small = case("relu_without_bias")
    f = outputs(small)
    p = oracles.softmax(f)
    variance = ((p * f**2).sum(1) - (p * f).sum(1) ** 2).mean()
    record = landscape.fisher_rao(small.problem(), by="layer")
    assert record.value == pytest.approx(9 * variance, rel=1e-12)
    assert record.groups == pytest.approx({"0": variance, "2": variance, "4": variance}, rel=1e-12)


def test_fisher_rao_of_a_deep_linear_net_under_squared_error() -> None:
    """Labels from a Gaussian of variance K/2 = 1: (L+1)^2 E |f|^2 times 2/K = 1."""
    small = case("deep_linear")
    f = outputs(small)
    assert landscape.fisher_rao(small.problem()).value == pytest.approx(9 * (f**2).sum(1).mean(), rel=1e-12)


def test_jacobian_of_a_linear_net_is_its_product_of_weights() -> None:
    small = case("deep_linear")
    W = np.linalg.multi_dot(layers(small)[::-1])
    record = landscape.jacobian_norm(small.problem())
    assert record.value == pytest.approx((W**2).sum(), rel=1e-12)
    assert record.details["spectral_norm"] == pytest.approx(np.linalg.norm(W, 2), rel=1e-9)
    assert record.sampling_stderr == 0


def test_margins_of_a_linear_classifier_are_distances_to_its_hyperplanes() -> None:
    """Two classes: d = ((w_i - w_j) x + b_i - b_j) / |w_i - w_j| / sqrt(total variance), signed."""
    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(50, 3)) * [1, 2, 3], rng.integers(0, 2, 50)
    model = nn.Linear(3, 2).double()
    W, b = model.weight.detach().numpy(), model.bias.detach().numpy()
    sign = np.where(labels == 1, 1, -1)
    d = sign * (x @ (W[1] - W[0]) + b[1] - b[0]) / np.linalg.norm(W[1] - W[0]) / math.sqrt(x.var(0).sum())
    record = landscape.margin(Problem(model, nn.CrossEntropyLoss(), (torch.from_numpy(x), torch.from_numpy(labels))))
    assert 0.1 < (d < 0).mean() < 0.9  # both signs are there
    assert record.details["misclassified"] == (d < 0).mean()
    assert record.value == pytest.approx(np.median(d), rel=1e-12)
    assert record.details["q1"] == pytest.approx(np.quantile(d, 0.25), rel=1e-12)
    assert record.details["lower_fence"] < 0


def test_margins_where_f_is_flat_are_left_out_and_counted() -> None:
    model = nn.Sequential(nn.Linear(1, 1, bias=False), nn.ReLU(), nn.Linear(1, 2)).double()
    for parameter, value in zip(model.parameters(), ([[1.0]], [[1.0], [-1.0]], [0.25, 0.0]), strict=True):
        parameter.data = torch.tensor(value, dtype=torch.float64)
    x = torch.tensor([[-1.0], [-2.0], [1.0], [3.0]], dtype=torch.float64)
    record = landscape.margin(Problem(model, nn.CrossEntropyLoss(), (x, torch.tensor([0, 1, 0, 1]))))
    assert record.details["undefined"] == 2
    assert record.details["misclassified"] == 0.5
    scale = math.sqrt(x.var(unbiased=False))
    assert record.value == pytest.approx(((2.25 / 2) - (6.25 / 2)) / 2 / scale, rel=1e-12)


def test_trace_of_logistic_regression() -> None:
    small = case("logistic_regression")
    p = oracles.softmax(outputs(small))
    expected = ((1 - (p**2).sum(1)) * ((small.inputs.numpy() ** 2).sum(1) + 1)).mean()
    exact = landscape.hessian_trace(small.problem())  # no residual in a linear network, few outputs
    assert exact.value == pytest.approx(expected, rel=1e-12)
    assert exact.stderr == 0
    probed = landscape.hessian_trace(small.problem(), rtol=0.01, budget=2000, estimator="hutchinson")
    assert probed.converged
    assert probed.value == pytest.approx(expected, abs=4.5 * probed.stderr)


def test_largest_eigenvalue_of_linear_regression() -> None:
    """H = (2/K) I (x) E[x x'] with x = (x, 1): the largest eigenvalue of the second moments, K times over."""
    small = case("linear_regression")
    x1 = np.c_[small.inputs.numpy(), np.ones(len(small.inputs))]
    expected = np.linalg.eigvalsh(x1.T @ x1 / len(x1))[-1]
    record = landscape.top_eigenvalues(small.problem(), rtol=1e-10, budget=100, top=2)
    assert record.value == pytest.approx(expected, rel=1e-10)


def test_connectivity_of_linear_regression_with_one_output() -> None:
    """dl/dw ∘ w = 2 (f - y) x ∘ w."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 3)), rng.normal(size=(40, 1))
    model = nn.Linear(3, 1, bias=False).double()
    w = model.weight.detach().numpy()[0]
    terms = 2 * (x @ w - y[:, 0])[:, None] * x * w
    problem = Problem(model, nn.MSELoss(), (torch.from_numpy(x), torch.from_numpy(y)))
    assert landscape.connectivity(problem).value == pytest.approx(np.abs(terms).sum(1).mean(), rel=1e-12)
    groups = [terms[i : i + 16] for i in range(0, 40, 16)]  # 16, 16 and a ragged 8
    expected = sum(len(g) / 40 * np.abs(g.mean(0)).sum() for g in groups)
    record = landscape.connectivity_batch(problem, connectivity_batch=16)
    assert record.value == pytest.approx(expected, rel=1e-12)
    assert record.details["batches"] == 3


class TestManyClasses:
    """K = 400 outputs: probes where K backward passes are over the budget."""

    @staticmethod
    def problem(n: int) -> tuple[Problem, float]:
        rng = np.random.default_rng(0)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = nn.Linear(6, 400).double()
        x, y = torch.from_numpy(rng.normal(size=(n, 6))), torch.from_numpy(rng.integers(0, 400, n))
        return Problem(model, nn.CrossEntropyLoss(), (x, y)), float(model.weight.detach().square().sum())

    @pytest.mark.parametrize("n", [20, 70])
    def test_the_standard_error_covers_what_it_claims(self, n: int) -> None:
        """100 seeds, one block and three.

        Error budget: of at least 16 degrees of freedom; the squared scores' mean has a standard deviation of
        sqrt(2/100) = 0.14 around 16/14 = 1.14: four of these make 0.58 to 1.72.
        """
        problem, truth = self.problem(n)
        scores = []
        for seed in range(100):
            record = landscape.jacobian_norm(problem, rtol=0.05, budget=100, seed=seed)
            assert record.details["exact"] is False
            assert math.isnan(record.details["spectral_norm"])
            scores.append((record.value - truth) / record.stderr)
        assert abs(np.mean(scores)) < 4 * math.sqrt(1.14 / 100)
        assert 0.58 < np.mean(np.square(scores)) < 1.72

    def test_probes_count_samples_by_the_weights_of_their_labels(self) -> None:
        """Within 4.5 standard errors of the exact way on the same samples, and not within them of the plain mean."""
        small = case("weighted_and_ignored")
        exact = landscape.jacobian_norm(small.problem())
        probed = landscape.jacobian_norm(small.problem(), budget=2.2, rtol=1e-9)
        assert (exact.details["exact"], probed.details["exact"]) == (True, False)
        many = [landscape.jacobian_norm(small.problem(), budget=2.2, seed=seed).value for seed in range(200)]
        error = np.std(many) / math.sqrt(len(many))
        plain = (oracles.input_jacobian(small.function) ** 2).sum((1, 2)).mean()
        assert np.mean(many) == pytest.approx(exact.value, abs=4.5 * error)
        assert abs(plain - exact.value) > 9 * error

    def test_the_budget_holds_and_decides(self) -> None:
        problem, truth = self.problem(70)
        for budget in (5, 20, 100):
            record = landscape.jacobian_norm(problem, rtol=1e-9, budget=budget)
            assert record.cost <= budget + 1 / 70  # one sample is looked at first
            assert record.cost > budget - 2
            assert not record.converged
            assert record.value == pytest.approx(truth, abs=5 * record.stderr)
        exact = landscape.jacobian_norm(problem, budget=300)
        assert exact.details["exact"] is True
        assert exact.value == pytest.approx(truth, rel=1e-12)

    def test_probes_do_not_depend_on_the_batch_size(self) -> None:
        problem, _ = self.problem(70)
        values = [
            landscape.jacobian_norm(problem.choose(batch_size=size), budget=20).value for size in (1, 7, 32, 50, 70)
        ]
        assert values == pytest.approx([values[0]] * 5, rel=1e-12)
