"""The trace of the Gauss-Newton matrix from per-sample products, G = (1/W) sum_n w_n J_n' H_n J_n.

H_n = S_n S_n' is the Hessian of l_n in the outputs, J_n the Jacobian of the outputs in the parameters. Then

    Tr G = (1/W) sum_n w_n ||J_n' S_n||_F^2 = (1/W) sum_n w_n ( ||J_n' S_n w||^2 + E_e ||J_n' S_n (I - w w') e||^2 )

for a unit vector w and independent random signs e a sample. With w along S_n' dl_n/df the first term holds most of a
confident sample, whose H_n is nearly of rank one; it costs a backward pass, as each draw of e does.

Legend: N samples, T parameter tensors, r probes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from landscape.curvature.per_sample import PerSampleGradients
from landscape.linalg.precision import wide
from landscape.problem import Batch, Problem
from landscape.problem.losses import CurvatureFactor

Signs = Callable[[Tensor], Sequence[Tensor]]  # the outputs -> r tensors of their shape


def squared_products(
    problem: Problem, gradients: PerSampleGradients, batch: Batch, signs: Signs, *, along: bool
) -> Tensor:
    """w_n/W times the squared norms of J_n' S_n w (if `along`) and of J_n' S_n (I - w w') e for each e, cut by tensor.

    Args:
        problem: the problem, whose loss has a factor S_n.
        gradients: of the same problem.
        batch: the samples.
        signs: draws the e.
        along: whether the term of w comes first.

    Returns:
        (r, N, T) or (1 + r, N, T), float64 on the CPU.
    """
    rows: list[Tensor] = []
    columns = {name: t for t, name in enumerate(problem.parameters)}
    factor = problem.factor
    assert factor is not None, "the loss has no curvature factor"

    def choose(outputs: Tensor) -> list[Tensor]:
        w = _along_the_slope(problem, factor, outputs, batch)
        chosen = [factor.times(outputs, batch.targets, w)] if along else []
        for e in signs(outputs):
            chosen.append(factor.times(outputs, batch.targets, e - w * _dot(w, e)))
        shape, kind = (len(batch), len(columns)), wide(problem.device)
        rows.extend(torch.zeros(shape, dtype=kind, device=problem.device) for _ in chosen)
        return chosen

    def reduce(number: int, name: str, piece: int, some: slice, G: Tensor) -> None:
        rows[number][some, columns[name]] += G.square_().sum(1, dtype=rows[number].dtype)

    gradients.pull(batch, choose, reduce)
    share = (batch.weights.double() / problem.total_weight).cpu()
    return torch.stack(rows).double().cpu() * share[None, :, None]


def all_columns(outputs: Tensor) -> list[Tensor]:
    """The unit vectors of a sample's outputs, in place of signs: with them the sum over e is exact."""
    size = outputs[0].numel()
    eye = torch.eye(size, dtype=outputs.dtype, device=outputs.device)
    return [row.view(outputs[:1].shape).expand_as(outputs) for row in eye]


def _along_the_slope(problem: Problem, factor: CurvatureFactor, outputs: Tensor, batch: Batch) -> Tensor:
    """The unit vectors along S_n' dl_n/df; zero where that is zero."""
    leaf = outputs.detach().requires_grad_()
    with torch.enable_grad():
        total = problem.losses_of(leaf, batch).sum()
    (slope,) = torch.autograd.grad(total, leaf)
    w = factor.transposed(outputs, batch.targets, slope)
    norm = _dot(w, w).sqrt()
    return torch.where(norm > 0, w / norm, torch.zeros_like(w))


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """The inner product of each sample's values, (N, 1, ...)."""
    return (a * b).reshape(len(a), -1).sum(1).view(-1, *[1] * (a.ndim - 1))
