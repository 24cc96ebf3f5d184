"""The trace of J' M J from per-sample products: (1/W) sum_n w_n tr(J_n' M_n J_n).

J_n is the Jacobian of sample n's outputs, M_n = S_n S_n' a matrix in them (`landscape.curvature.output_metrics`). The
trace is

    (1/W) sum_n w_n ||J_n' S_n||_F^2 = (1/W) sum_n w_n sum_k ||J_n' S_n e_k||^2 = (1/W) sum_n w_n E_e ||J_n' S_n e||^2

over the unit vectors e_k, exactly, or over independent random signs e a sample. For the Gauss-Newton matrix and the
Fisher matrix the second form is taken apart,

    ||J_n' S_n||_F^2 = ||J_n' S_n q||^2 + E_e ||J_n' S_n (I - q q') e||^2

for a unit vector q. With q along S_n' dl_n/df the first term holds most of a confident sample, whose M_n is nearly of
rank one; it costs a backward pass, as each draw of e does.

Legend: N samples, T parameter tensors, r cotangents.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from landscape.curvature.output_metrics import Metric
from landscape.curvature.per_sample import PerSampleGradients
from landscape.errors import NotApplicableError
from landscape.linalg.precision import wide
from landscape.problem import Batch, Problem
from landscape.problem.losses import CurvatureFactor

Cotangents = Callable[[Tensor], Sequence[Tensor]]  # the outputs (N, ...) -> r tensors of their shape


@dataclass(frozen=True)
class Squares:
    """w_n/W ||J_n' c||^2 by cotangent, sample and tensor, `plain` (r, N, T), float64 on the CPU.

    `scaled` is w_n/W ||D J_n' c||^2 with a diagonal D, None where none was given.
    """

    plain: Tensor
    scaled: Tensor | None = None


class DiagonalSum:
    """sum_n w_n/W (J_n' c_n)_i^2 for every parameter i: the share of cotangents c in the diagonal of J' M J.

    Args:
        problem: the problem.
        gradients: of it.
        rows: how many cotangents are kept apart; None adds all of them up.

    Memory: P wide scalars a row.
    """

    def __init__(self, problem: Problem, gradients: PerSampleGradients, rows: int | None = None) -> None:
        kind = wide(problem.device)
        self._gradients, self._apart = gradients, rows is not None
        self._sums = {
            name: [
                torch.zeros(rows or 1, len(piece), dtype=kind, device=problem.device)
                for piece in gradients.cut(name, tensor)
            ]
            for name, tensor in problem.parameters.items()
        }

    def add(self, number: int, name: str, piece: int, shares: Tensor, squares: Tensor) -> None:
        """Add the squares (n, size) of a piece of a parameter's products, n samples of weights w_n/W."""
        self._sums[name][piece][number if self._apart else 0] += shares @ squares

    def vector(self) -> Tensor:
        """The sums as (rows, P), or (P,)."""
        joined = [self._gradients.join(name, s) for name, s in self._sums.items()]
        # a parameter may be one number, without a dimension to flatten
        whole = torch.cat([j.reshape(len(j), -1) for j in joined], dim=1)
        return whole if self._apart else whole[0]


def squared_products(
    problem: Problem,
    gradients: PerSampleGradients,
    batch: Batch,
    cotangents: Cotangents,
    *,
    scales: Mapping[str, Sequence[Tensor]] | None = None,
    diagonal: DiagonalSum | None = None,
) -> Squares:
    """The squared norms of the products J_n' c_n of a batch, cut by tensor.

    Args:
        problem: the problem.
        gradients: of the same problem.
        batch: the samples.
        cotangents: the c_n from the outputs.
        scales: the squared diagonal D^2 of each parameter, in pieces as `gradients.cut` gives them.
        diagonal: takes the squares of each parameter too.

    Cost: a forward pass, and a backward pass a cotangent.
    """
    columns = {name: t for t, name in enumerate(problem.parameters)}
    kind = wide(problem.device)
    shares = batch.weights / problem.total_weight
    plain: list[Tensor] = []
    scaled: list[Tensor] = []
    normed: set[tuple[int, str]] = set()  # whose squared norm needs no products

    def choose(outputs: Tensor) -> Sequence[Tensor]:
        chosen = cotangents(outputs)
        for rows in (plain, scaled):
            rows.extend(torch.zeros(len(batch), len(columns), dtype=kind, device=problem.device) for _ in chosen)
        return chosen

    def reduce(number: int, name: str, piece: int, some: slice, G: Tensor) -> None:
        G.square_()
        if (number, name) not in normed:
            plain[number][some, columns[name]] += G.sum(1, dtype=kind)
        if scales is not None:
            scaled[number][some, columns[name]] += (G @ scales[name][piece]).to(kind)
        if diagonal is not None:
            diagonal.add(number, name, piece, shares[some], G)

    def take(number: int, name: str, squares: Tensor) -> None:
        normed.add((number, name))
        plain[number][:, columns[name]] = squares

    # scaled norms need the products, and then the plain ones cost little more
    gradients.pull(batch, choose, reduce, norms=take if scales is None else None, products_too=diagonal is not None)
    share = (batch.weights.double() / problem.total_weight).cpu()[None, :, None]
    none = torch.zeros(0, len(batch), len(columns))  # of no cotangent
    both = [torch.stack(rows).double().cpu() * share if rows else none.double() for rows in (plain, scaled)]
    return Squares(both[0], both[1] if scales is not None else None)


def factor_of(problem: Problem, metric: Metric) -> CurvatureFactor | None:
    """S_n of the metric; None where it is the identity.

    Raises:
        NotApplicableError: the loss has none that is known, or M is not positive semidefinite with these targets.
    """
    if metric == "outputs":
        return None
    factor = problem.factor if metric == "gauss-newton" else problem.fisher_factor
    if factor is None:
        what = "curvature in the outputs is known" if metric == "gauss-newton" else "label distribution is defined"
        raise NotApplicableError(f"no {what} of the loss {problem.loss_name}")
    if not factor.exists(problem.samples.targets):
        raise NotApplicableError(
            f"negative weights or targets make the loss {problem.loss_name} no convex function of the outputs"
        )
    return factor


def columns(problem: Problem, batch: Batch, metric: Metric) -> Cotangents:
    """S_n e_k for every unit vector e_k: their squares add up to the trace exactly."""
    factor = factor_of(problem, metric)

    def choose(outputs: Tensor) -> list[Tensor]:
        units = all_columns(outputs)
        return units if factor is None else [factor.times(outputs, batch.targets, e) for e in units]

    return choose


def probes(
    problem: Problem, batch: Batch, metric: Metric, signs: Callable[[Tensor], Sequence[Tensor]], *, along: bool
) -> Cotangents:
    """S_n q (if `along`) and S_n (I - q q') e for each of `signs`; the e themselves where M is the identity."""
    factor = factor_of(problem, metric)

    def choose(outputs: Tensor) -> list[Tensor]:
        if factor is None:
            return list(signs(outputs))
        q = _along_the_slope(problem, factor, outputs, batch)
        directions = [q] if along else []
        directions += [e - q * _dot(q, e) for e in signs(outputs)]
        return [factor.times(outputs, batch.targets, direction) for direction in directions]

    return choose


def slopes(problem: Problem, outputs: Tensor, batch: Batch) -> Tensor:
    """dl_n/df of every sample, in the outputs' shape."""
    leaf = outputs.detach().requires_grad_()
    with torch.enable_grad():
        total = problem.losses_of(leaf, batch).sum()
    (slope,) = torch.autograd.grad(total, leaf)
    return slope


def all_columns(outputs: Tensor) -> list[Tensor]:
    """The unit vectors of a sample's outputs."""
    size = outputs[0].numel()
    eye = torch.eye(size, dtype=outputs.dtype, device=outputs.device)
    return [row.view(outputs[:1].shape).expand_as(outputs) for row in eye]


def _along_the_slope(problem: Problem, factor: CurvatureFactor, outputs: Tensor, batch: Batch) -> Tensor:
    """The unit vectors along S_n' dl_n/df; zero where that is zero."""
    q = factor.transposed(outputs, batch.targets, slopes(problem, outputs, batch))
    norm = _dot(q, q).sqrt()
    return torch.where(norm > 0, q / norm, torch.zeros_like(q))


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """The inner product of each sample's values, (N, 1, ...)."""
    return (a * b).reshape(len(a), -1).sum(1).view(-1, *[1] * (a.ndim - 1))
