"""Exact Hessian-vector products.

    H = grad^2 L(theta) = sum over batches of the batch's share;   H V by reverse over reverse

One graph of the gradient is built a batch and serves all vectors (Pearlmutter 1994). Blocks of samples have Hessians
of their own, H_b, for probes that differ by block.

Legend: P parameters, k vectors, T parameter tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from landscape.errors import NonFiniteError
from landscape.parameters import flatten
from landscape.problem import Batch, Problem
from landscape.work import charge


class HessianOperator:
    """The Hessian of a problem's loss as a symmetric operator (P, P); see `landscape.linalg.operator`.

    Args:
        problem: the problem; its parameters are read once, now.
        on_pass: called with the number of samples after each batch.
    """

    def __init__(self, problem: Problem, on_pass: Callable[[int], None] | None = None) -> None:
        self._problem = problem
        self._theta = problem.parameters
        self._on_pass = on_pass
        self.size = problem.size
        self.dtype = problem.dtype
        self.device = problem.device

    def matmat(self, V: Tensor) -> Tensor:
        """H V for V (P, k).

        Cost: for each vector 2.4 gradient-equivalents by convention; the first on a batch builds the graph.

        Raises:
            NonFiniteError: a product is NaN or infinite; the message names the samples.
        """
        result = torch.zeros_like(V)
        for batch in self._problem.batches():
            product = hessian_products(self._problem, self._theta, batch, V)
            if not torch.isfinite(product).all():
                raise NonFiniteError(
                    f"a Hessian-vector product is NaN or infinite on samples {batch.start} to {batch.stop - 1}; "
                    "try --dtype float64."
                )
            result += product
            if self._on_pass is not None:
                self._on_pass(len(batch) * V.shape[1])
        return result


def hessian_products(problem: Problem, theta: Mapping[str, Tensor], batch: Batch, V: Tensor) -> Tensor:
    """The products (P, k) of the Hessian of a batch's share of L with V (P, k)."""
    leaves = {name: tensor.detach().requires_grad_() for name, tensor in theta.items()}
    sizes = [tensor.numel() for tensor in leaves.values()]
    with sdpa_kernel(SDPBackend.MATH):  # fused attention has no double backward
        gradient = gradient_graph(problem, leaves, batch)
        columns = []
        for j in range(V.shape[1]):
            pieces = torch.split(V[:, j], sizes)
            parts = [(g, v.view_as(g)) for g, v in zip(gradient, pieces, strict=True) if g.requires_grad]
            columns.append(_differentiate(parts, leaves, retain=j + 1 < V.shape[1]))
            charge("hessian_product", len(batch))
    return torch.stack(columns, dim=1).detach()


def _differentiate(parts: list[tuple[Tensor, Tensor]], leaves: Mapping[str, Tensor], *, retain: bool) -> Tensor:
    """grad of sum_i g_i . v_i as a vector (P,); zero where the share is linear in theta and `parts` is empty."""
    if not parts:
        return flatten({name: torch.zeros_like(t) for name, t in leaves.items()})
    gradients, vectors = zip(*parts, strict=True)
    product = torch.autograd.grad(gradients, list(leaves.values()), vectors, retain_graph=retain, allow_unused=True)
    return flatten(
        {n: torch.zeros_like(t) if h is None else h for (n, t), h in zip(leaves.items(), product, strict=True)}
    )


def gradient_graph(problem: Problem, leaves: Mapping[str, Tensor], batch: Batch) -> list[Tensor]:
    """The gradient of a batch's share of L as a list of tensors that can be differentiated again."""
    share = problem.objective(leaves, batch)
    gradient = torch.autograd.grad(share, list(leaves.values()), create_graph=True, allow_unused=True)
    return [torch.zeros_like(t) if g is None else g for g, t in zip(gradient, leaves.values(), strict=True)]


def block_forms(problem: Problem, theta: Mapping[str, Tensor], start: int, stop: int, V: Tensor) -> Tensor:
    """The forms v_j' H_b v_j of one block's share of L, cut by tensor: (T, k), float64 on the CPU.

    Entry (s, j) is sum_{i in tensor s} v_ij (H_b v_j)_i; the sum over s is the form. The block's samples may be
    computed in several
    batches: the result is their sum.
    """
    form = torch.zeros(len(theta), V.shape[1], dtype=torch.float64)
    sizes = [tensor.numel() for tensor in theta.values()]
    for batch in problem.batches(start, stop):
        product = V * hessian_products(problem, theta, batch, V)
        pieces = torch.split(product, sizes)
        form += torch.stack([piece.sum(0, dtype=torch.float64) for piece in pieces]).cpu()
    if not torch.isfinite(form).all():
        raise NonFiniteError(f"a Hessian-vector product is NaN or infinite on samples {start} to {stop - 1}.")
    return form


def gradient(problem: Problem) -> Tensor:
    """grad L(theta) as a vector (P,). Cost: 1 gradient-equivalent."""
    theta = problem.parameters
    leaves = {name: tensor.detach().requires_grad_() for name, tensor in theta.items()}
    total = torch.zeros(problem.size, dtype=problem.dtype, device=problem.device)
    for batch in problem.batches():
        total += flatten(batch_gradient(problem, leaves, batch))
    return total


def batch_gradient(problem: Problem, leaves: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
    """The gradient of a batch's share of L by name; `leaves` require gradients."""
    share = problem.objective(leaves, batch)
    grads = torch.autograd.grad(share, list(leaves.values()), allow_unused=True)
    charge("gradient", len(batch))
    return {n: torch.zeros_like(t) if g is None else g for (n, t), g in zip(leaves.items(), grads, strict=True)}
