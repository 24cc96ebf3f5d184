"""Products with J' M J against dense matrices, on every problem of the table and with every batch size."""

from __future__ import annotations

import numpy as np
import oracles
import pytest
import torch
from cases import CASES, case
from torch import nn

from landscape.curvature.hessian import HessianOperator, block_forms
from landscape.curvature.output_metrics import Metric, metric_form
from landscape.errors import NotApplicableError
from landscape.problem import Problem

# error budget: sums of a few hundred float64 terms
CLOSE = 1e-11


def dense(name: str, metric: Metric) -> np.ndarray:
    small = case(name)
    if metric == "gauss-newton":
        return oracles.gauss_newton(small.function)
    if metric == "fisher":
        assert small.fisher is not None
        return oracles.label_fisher(small.function, small.fisher, small.label_weights)
    return oracles.output_gauss_newton(small.function)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("metric", ["gauss-newton", "fisher", "outputs"])
def test_products_and_forms(name: str, metric: Metric) -> None:
    small = case(name)
    A = dense(name, metric)
    V = np.random.default_rng(0).normal(size=(len(A), 2))
    scale = np.abs(A).max()
    for size in (37, 7):
        problem = small.problem(batch_size=size)
        operator = HessianOperator(problem, matrix=metric)
        for _ in range(2):  # a kept graph serves again
            found = operator.matmat(torch.from_numpy(V)).numpy()
            np.testing.assert_allclose(found, A @ V, atol=CLOSE * scale * len(A))
        theta, v = problem.parameters, torch.from_numpy(V[:, 0])
        form = sum(metric_form(problem, theta, batch, v, metric) for batch in problem.batches())
        assert form == pytest.approx(V[:, 0] @ A @ V[:, 0], rel=1e-10)
        blocks = sum(
            block_forms(problem, theta, *block, torch.from_numpy(V), matrix=metric) for block in problem.blocks()
        )
        assert isinstance(blocks, torch.Tensor)
        assert blocks.sum(0).numpy() == pytest.approx(np.einsum("ij,ij->j", V, A @ V), rel=1e-10)


@pytest.mark.parametrize("name", ["batch_norm", "tied", "own_parameter", "frozen"])
@pytest.mark.parametrize("matrix", ["hessian", "gauss-newton"])
def test_a_diagonal_block_alone(name: str, matrix: str) -> None:
    small = case(name)
    A = oracles.hessian(small.function) if matrix == "hessian" else oracles.gauss_newton(small.function)
    for info in small.problem().infos:
        columns = small.function.columns([info.name])
        v = np.random.default_rng(1).normal(size=(len(columns), 1))
        operator = HessianOperator(small.problem(), matrix=matrix, names=[info.name])  # type: ignore[arg-type]
        assert operator.size == len(columns)
        expected = A[np.ix_(columns, columns)] @ v
        np.testing.assert_allclose(operator.matmat(torch.from_numpy(v)).numpy(), expected, atol=1e-11)


def test_batch_statistics_make_the_outputs_of_a_group_depend_on_each_other() -> None:
    """v' G v = |S' J v|^2 with J the whole Jacobian of the group, by finite differences of its outputs."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 2)).double()
        x, y = torch.randn(20, 3, dtype=torch.float64), torch.randn(20, 2, dtype=torch.float64)
    problem = Problem(model, nn.MSELoss(), (x, y), bn="train")
    theta = problem.parameters
    v = {name: torch.randn_like(t) for name, t in theta.items()}
    flat = torch.cat([t.reshape(-1) for t in v.values()])
    step = 1e-6
    ahead, behind = (problem.outputs({n: t + s * step * v[n] for n, t in theta.items()}, x) for s in (1, -1))
    u = (ahead - behind) / (2 * step)
    found = HessianOperator(problem, matrix="gauss-newton").matmat(flat[:, None])[:, 0]
    assert float(flat @ found) == pytest.approx(float(u.detach().square().mean()) * 2, rel=1e-6)


def test_a_loss_that_is_linear_in_the_outputs_has_no_curvature_in_them() -> None:
    data = (torch.randn(6, 3, dtype=torch.float64), torch.ones(6, dtype=torch.float64))
    problem = Problem(nn.Linear(3, 1).double(), lambda f, y: f[:, 0] * y, data)
    operator = HessianOperator(problem, matrix="gauss-newton")
    assert not operator.matmat(torch.ones(4, 1, dtype=torch.float64)).any()
    with pytest.raises(NotApplicableError, match="no label distribution"):
        HessianOperator(problem, matrix="fisher").matmat(torch.ones(4, 1, dtype=torch.float64))
