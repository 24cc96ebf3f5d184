"""The trace: closed forms, and whether its two standard errors cover what they claim."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import oracles
import pytest
import scipy.stats
import torch
from cases import CASES, case
from oracles import Function
from torch import nn

import landscape
from landscape import Problem, Record
from landscape.curvature.per_sample import PerSampleGradients
from landscape.errors import OptionError
from landscape.linalg.probes import rademacher
from landscape.measures.trace_parts import Blocks, SquaredProducts

SEEDS = 200


def hutchinson(problem: Problem, **settings: Any) -> Record:
    return landscape.hessian_trace(problem, estimator="hutchinson", **settings)


def softmax_regression(n: int, seed: int = 0) -> tuple[Problem, np.ndarray]:
    """A linear softmax problem and Tr H_n of each sample in closed form: (1 - sum_k p_k^2) (|x|^2 + 1)."""
    rng = np.random.default_rng(seed)
    scale = np.exp(0.5 * rng.normal(size=(n, 1)))  # samples that differ
    x = rng.normal(size=(n, 3)) * scale
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = nn.Linear(3, 3).double()
    p = oracles.softmax(x @ model.weight.detach().numpy().T + model.bias.detach().numpy())
    traces = (1 - (p**2).sum(1)) * ((x**2).sum(1) + 1)
    labels = torch.from_numpy(rng.integers(0, 3, n))
    return Problem(model, nn.CrossEntropyLoss(), (torch.from_numpy(x), labels)), traces


def check_scores(z: np.ndarray, degrees: float) -> None:
    """z-scores must have mean 0 within 4 sigma and the spread of a t distribution.

    Error budget: with d degrees of freedom in the estimated error Var z = d/(d-2); the sample variance of 200 scores
    lies within the 0.05% and 99.95% points of chi-square over 199 of that, widened by 10% for the t's tails.
    """
    expected = degrees / (degrees - 2)
    low, high = scipy.stats.chi2.ppf([0.0005, 0.9995], len(z) - 1) / (len(z) - 1)
    assert abs(z.mean()) < 4 * math.sqrt(expected / len(z))
    assert 0.9 * low * expected < z.var(ddof=1) < 1.1 * high * expected


@pytest.mark.parametrize("n", [20, 77])
def test_the_standard_error_covers_what_it_claims(n: int) -> None:
    """One block, then three with a ragged last one; the probes of a block are at least 16/blocks + 1."""
    problem, traces = softmax_regression(n)
    records = [hutchinson(problem, rtol=0.99, seed=seed) for seed in range(SEEDS)]
    assert {record.details["blocks"] for record in records} == {math.ceil(n / 32)}
    z = np.array([(r.value - traces.mean()) / r.stderr for r in records])
    check_scores(z, degrees=16 if n == 20 else 6)  # blocks of unequal weight: fewer effective degrees than 18


def test_stopping_on_the_standard_error_keeps_it_honest() -> None:
    """The trap: a rule that looks at its own running estimates stops where they agree by chance.

    The rule looks a few times, so the scores may spread by some more than the fixed design: 20% are allowed.
    """
    problem, traces = softmax_regression(40)
    records = [hutchinson(problem, rtol=0.1, seed=seed, budget=2000) for seed in range(SEEDS)]
    assert all(r.converged and r.stderr <= 0.1 * r.value for r in records)
    assert len({r.details["probes"] for r in records}) > 5  # the rule did decide
    z = np.array([(r.value - traces.mean()) / r.stderr for r in records])
    assert abs(z.mean()) < 4 / math.sqrt(SEEDS)
    assert 0.8 < z.std() < 1.2
    assert np.mean(np.abs(z) < 1.96) > 0.89  # 95% less 4 binomial standard deviations


def test_the_sampling_error_covers_draws_of_subsets() -> None:
    """200 draws of 192 of 960 samples, six blocks each.

    Error budget: E claim^2 = E error^2, the first up to the clipping at 0; the mean of 200 squared errors has a
    relative standard deviation of 0.1, that of the claims of sqrt(2/5)/sqrt(200) = 0.045: four of both make 0.44.
    """
    problem, traces = softmax_regression(960)
    rng = np.random.default_rng(2)
    errors, claims, totals = [], [], []
    for seed in range(SEEDS):
        chosen = np.sort(rng.choice(960, 192, replace=False))
        record = hutchinson(problem.choose(torch.from_numpy(chosen)), rtol=0.99, seed=seed)
        errors.append(traces[chosen].mean() - traces.mean())
        # undefined where the probes' noise hides the blocks' difference: a square of 0, as an unbiased mean needs
        claims.append(0.0 if math.isnan(record.sampling_stderr) else record.sampling_stderr)
        totals.append((record.value - traces.mean()) / math.hypot(record.stderr, claims[-1]))
    ratio = np.mean(np.square(errors)) / np.mean(np.square(claims))
    assert 0.56 < ratio < 1.44
    assert abs(np.mean(totals)) < 4 / math.sqrt(SEEDS) * 1.2
    assert 0.8 < np.std(totals) < 1.3


def test_no_sampling_error_where_all_samples_are_used_and_none_known_from_one_block() -> None:
    problem, _ = softmax_regression(64)
    assert hutchinson(problem, rtol=0.99).sampling_stderr == 0
    assert math.isnan(hutchinson(problem.choose(torch.arange(20)), rtol=0.99).sampling_stderr)


@pytest.mark.parametrize("estimator", ["hutchinson", "gauss-newton"])
@pytest.mark.parametrize(
    "name",
    [
        *("linear_regression", "batch_norm", "weighted_and_ignored", "sequences", "frozen"),
        *("own_parameter", "binary_labels", "label_smoothing", "class_probabilities", "attention"),
    ],
)
def test_trace_and_its_groups_against_dense_diagonal_blocks(name: str, estimator: str) -> None:
    """Within 4.5 standard errors, with at least 40 degrees of freedom in each.

    Error budget where nothing is sampled: sums of some hundred float64 terms.
    """
    small = case(name)
    f, H = small.function, oracles.hessian(small.function)
    problem = small.problem(batch_size=10)
    record = landscape.hessian_trace(problem, rtol=1e-9, budget=2.4 * 80, by="tensor", estimator=estimator)
    assert record.details["estimator"] == estimator
    rounding = 1e-12 * np.abs(np.diag(H)).sum()
    assert record.value == pytest.approx(np.trace(H), abs=4.5 * record.stderr + rounding)
    for tensor, value in record.groups.items():
        columns = f.columns([tensor])
        error = record.details["groups_stderr"][tensor]
        assert value == pytest.approx(np.trace(H[np.ix_(columns, columns)]), abs=4.5 * error + rounding), tensor
    assert record.details["tensors"] == pytest.approx(record.groups)
    for part, dense in (("gauss_newton", oracles.gauss_newton(f)), ("residual", H - oracles.gauss_newton(f))):
        if estimator == "gauss-newton":
            found = record.details["parts"][part]
            assert found["value"] == pytest.approx(np.trace(dense), abs=4.5 * found["stderr"] + rounding), part


def test_the_standard_error_of_the_parts_covers_what_it_claims() -> None:
    """A network with a residual and more outputs than are summed exactly, two blocks, each part with probes of its own.

    Error budget: as above; the degrees of freedom lie between 16 and 32, so that the scores' variance is 1.07 to 1.14.
    """
    rng = np.random.default_rng(0)
    x, labels = torch.from_numpy(rng.normal(size=(40, 4))), torch.from_numpy(rng.integers(0, 17, 40))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 17)).double()
    problem = Problem(model, nn.CrossEntropyLoss(), (x, labels))
    truth = np.trace(oracles.hessian(Function(model, problem.loss, x, labels, np.ones(40))))
    records = [landscape.hessian_trace(problem, rtol=0.99, seed=seed) for seed in range(SEEDS)]
    assert {r.details["estimator"] for r in records} == {"gauss-newton"}
    assert all(part["stderr"] > 0 for r in records for part in r.details["parts"].values())
    check_scores(np.array([(r.value - truth) / r.stderr for r in records]), degrees=20)


def test_only_tensors_that_the_outputs_are_not_linear_in_are_probed() -> None:
    """The last layer behind a tanh has no residual: its trace is exact, and its columns are no noise for the first.

    Error budget: sums of some hundred float64 terms; 4.5 standard errors of at least 32 degrees of freedom.
    """
    rng = np.random.default_rng(0)
    x, labels = torch.from_numpy(rng.normal(size=(40, 4))), torch.from_numpy(rng.integers(0, 6, 40))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 6)).double()
    problem = Problem(model, nn.CrossEntropyLoss(), (x, labels))
    dense = np.diag(oracles.hessian(Function(model, problem.loss, x, labels, np.ones(40))))
    record = landscape.hessian_trace(problem, rtol=1e-9, budget=100, by="tensor")
    errors = record.details["groups_stderr"]
    begin = 0
    for name, tensor in problem.parameters.items():
        truth = dense[begin : begin + tensor.numel()].sum()
        begin += tensor.numel()
        assert (errors[name] < 1e-14) == name.startswith("2."), name
        assert record.groups[name] == pytest.approx(truth, abs=4.5 * errors[name] + 1e-12 * np.abs(dense).sum()), name


def test_the_sampling_error_of_an_exact_trace_is_that_of_a_mean() -> None:
    """As NumPy has it, for 192 of 960 samples: s / sqrt(n) sqrt(1 - n/N)."""
    problem, traces = softmax_regression(960)
    chosen = torch.arange(0, 960, 5)
    record = landscape.hessian_trace(problem.choose(chosen))
    own = traces[chosen.numpy()]
    assert record.stderr == 0
    assert record.details["probes"] == 0
    assert record.value == pytest.approx(own.mean(), rel=1e-12)
    assert record.sampling_stderr == pytest.approx(own.std(ddof=1) / math.sqrt(192) * math.sqrt(0.8), rel=1e-9)


def test_more_probes_go_where_they_lower_the_error_at_the_least_cost() -> None:
    """A linear network has no residual: only the Gauss-Newton part has probes."""
    rng = np.random.default_rng(0)
    x, labels = torch.from_numpy(rng.normal(size=(640, 4))), torch.from_numpy(rng.integers(0, 20, 640))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Linear(4, 20).double()
    record = landscape.hessian_trace(Problem(model, nn.CrossEntropyLoss(), (x, labels)), rtol=1e-3, budget=150)
    # a forward pass and the first term, then a sweep at a time
    assert record.converged
    assert record.details["probes"] > 8
    assert record.cost < 1 + (record.details["probes"] + 5) * 2 / 3
    assert record.details["parts"]["residual"] == {"value": 0, "stderr": 0, "probes": 0}


def test_an_unknown_estimator_and_one_that_does_not_apply_are_refused() -> None:
    problem = case("recurrent").problem()
    with pytest.raises(OptionError, match="hutchinson"):
        landscape.hessian_trace(problem, estimator="exact")  # type: ignore[arg-type]
    unknown = Problem(problem.model, lambda f, y: f.square().mean(-1), problem.data)
    with pytest.raises(OptionError, match="does not apply"):
        landscape.hessian_trace(unknown, estimator="gauss-newton")
    assert landscape.hessian_trace(unknown, budget=5).details["estimator"] == "hutchinson"


@pytest.mark.parametrize("name", CASES)
def test_groups_and_tensors_add_up(name: str) -> None:
    record = landscape.hessian_trace(case(name).problem(), budget=7.2)
    assert sum(record.groups.values()) == pytest.approx(record.value, rel=1e-12, abs=1e-14)
    assert sum(record.details["tensors"].values()) == pytest.approx(record.value, rel=1e-12, abs=1e-14)


def test_a_diagonal_hessian_is_exact_at_once() -> None:
    """L = mean of (theta_i - x_i)^2: with signs v' H v = Tr H whatever the signs."""

    class Offset(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.theta = nn.Parameter(torch.zeros(5, dtype=torch.float64))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.theta + x

    x = torch.from_numpy(np.random.default_rng(0).normal(size=(40, 5)))
    record = hutchinson(Problem(Offset(), nn.MSELoss(), (x, torch.zeros_like(x))))
    assert record.value == pytest.approx(2, rel=1e-14)  # 5 parameters, each 2/5
    assert record.stderr == pytest.approx(0, abs=1e-15)
    assert record.converged


@pytest.mark.parametrize("sign", [1, -1])
def test_a_negative_trace_is_as_hard_as_a_positive_one(sign: int) -> None:
    """The trap: a rule without |value| stops a negative trace at once, or never."""
    problem, _ = softmax_regression(40)
    flipped = Problem(
        problem.model, lambda f, y: sign * nn.functional.cross_entropy(f, y, reduction="none"), problem.data
    )
    record = hutchinson(flipped, seed=1)
    expected = hutchinson(problem, seed=1)
    assert record.value == pytest.approx(sign * expected.value, rel=1e-12)
    assert record.details["probes"] == expected.details["probes"]
    assert record.converged


def test_the_budget_ends_it_unconverged_with_value_and_error() -> None:
    problem, _ = softmax_regression(77)

    def run(budget: float) -> Record:
        return hutchinson(problem, rtol=1e-9, budget=budget)

    record = run(24)
    assert record.details["probes"] == 10
    assert record.cost == pytest.approx(24)
    assert not record.converged
    assert record.stderr > 0
    least = run(0.1)
    assert least.details["probes"] == 1
    assert math.isnan(least.stderr)
    assert not least.converged


@pytest.mark.parametrize("budget", [8.0, 12.0])
def test_few_probes_of_one_sample_do_not_claim_to_have_converged(budget: float) -> None:
    """The trap: two or three probes that agree by chance.

    The interval covers the dense trace in 95% of 200 seeds, less 4 binomial standard deviations.
    """
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)).double()
        x, label = torch.randn(1, 4).double(), torch.tensor([1])
    problem = Problem(model, nn.CrossEntropyLoss(), (x, label))
    theta = {name: p.detach() for name, p in model.named_parameters()}
    dense = torch.func.hessian(lambda w: nn.functional.cross_entropy(torch.func.functional_call(model, w, x), label))(
        theta
    )
    truth = sum(float(dense[n][n].reshape(p.numel(), p.numel()).trace()) for n, p in theta.items())
    records = [landscape.hessian_trace(problem, rtol=0.3, budget=budget, seed=seed) for seed in range(SEEDS)]
    assert not any(record.converged for record in records)
    covered = np.mean([abs(record.value - truth) < 1.96 * record.stderr for record in records])
    assert covered > 0.95 - 4 * math.sqrt(0.95 * 0.05 / SEEDS)


def test_a_probe_depends_on_seed_number_and_block_alone() -> None:
    """The first block's probe is the same whether a second block follows or not."""
    problem, _ = softmax_regression(64)
    one = hutchinson(problem, rtol=1e-9, budget=2.4, seed=5)
    assert one.value != hutchinson(problem, rtol=1e-9, budget=2.4, seed=6).value
    part = problem.choose(torch.arange(32))
    assert hutchinson(part, rtol=1e-9, budget=2.4, seed=5).value == pytest.approx(
        2 * one.value - _second_block(problem), rel=1e-12
    )


def _second_block(problem: Problem) -> float:
    """v' H_1 v of the second block by a dense matrix and the probe of (seed 5, k 0, block 1)."""
    inputs, targets = problem.data
    f = Function(problem.model, problem.loss, inputs[32:64], targets[32:64], np.ones(32))
    v = rademacher(problem.size, 5, 0, 1, dtype=torch.float64).numpy()
    return float(v @ oracles.hessian(f) @ v)


class Recurrent(nn.Module):
    """A matrix of its own that is used twice, and no layer that a rule knows."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.matrix = nn.Parameter(torch.randn(4, 4, dtype=torch.float64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(x @ self.matrix) @ self.matrix


def test_a_network_without_any_known_layer_is_taken_apart() -> None:
    x = torch.linspace(-1, 1, 160, dtype=torch.float64).reshape(40, 4).sin()
    problem = Problem(Recurrent(), nn.CrossEntropyLoss(), (x, torch.arange(40) % 4))
    apart, whole = (
        landscape.hessian_trace(problem, estimator=estimator, rtol=0.01, budget=5000)
        for estimator in ("gauss-newton", "hutchinson")
    )
    assert apart.details["estimator"] == "gauss-newton"
    assert abs(apart.value - whole.value) < 4 * math.hypot(apart.stderr, whole.stderr)


@pytest.mark.parametrize(
    ("loss", "targets"),
    [
        (nn.BCEWithLogitsLoss(pos_weight=torch.tensor(0.2)), torch.full((20, 3), 2.0)),
        (nn.BCEWithLogitsLoss(pos_weight=torch.tensor(-3.0)), torch.ones(20, 3)),
        (nn.CrossEntropyLoss(), torch.full((20, 3), -0.5)),
    ],
)
def test_a_loss_that_is_not_convex_is_left_whole(loss: nn.Module, targets: torch.Tensor) -> None:
    """Its curvature in the outputs has no square root; these losses of linear outputs have negative traces only."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Linear(4, 3).double()
    problem = Problem(model, loss, (torch.linspace(-1, 1, 80, dtype=torch.float64).reshape(20, 4), targets.double()))
    record = landscape.hessian_trace(problem)
    assert record.details["estimator"] == "hutchinson"
    assert record.value < 0
    with pytest.raises(OptionError, match="no convex"):
        landscape.hessian_trace(problem, estimator="gauss-newton")


def test_a_part_that_needs_no_more_probes_is_asked_for_none() -> None:
    """The trap: one part of the trace is precise enough at once, the other is probed again."""
    problem = case("label_smoothing").problem()
    record = landscape.hessian_trace(problem, rtol=0.01, budget=120)
    again = landscape.hessian_trace(problem, rtol=0.2, budget=120)
    assert record.details["probes"] > again.details["probes"]
    blocks = Blocks.of(problem)
    squares = SquaredProducts(problem, PerSampleGradients(problem), blocks, 0, "gauss-newton", few=0)
    assert squares.sweep(range(2)).shape == (2, 2, len(problem.infos))
    assert squares.sweep(range(2, 2)).shape == (2, 0, len(problem.infos))
