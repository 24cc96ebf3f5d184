"""The Hessian of a problem's loss: an operator on all samples, and forms of single blocks of samples.

    H = grad^2 L(theta) = sum over batches of the batch's share

and, in its place, matrices J' M J (`landscape.curvature.output_metrics`), the Gauss-Newton part of H among them.
Blocks of samples have matrices of their own, H_b, for probes that differ by block.

Legend: P parameters, k vectors, T parameter tensors.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from landscape.curvature.layout import channels_last
from landscape.curvature.output_metrics import MetricLinearisation
from landscape.curvature.products import Linearisation, Way, hessian_products
from landscape.errors import NonFiniteError
from landscape.memory import SavedBytes, available_memory
from landscape.parameters import flatten
from landscape.problem import Batch, Problem, Theta
from landscape.work import charge

Matrix = Literal["hessian", "residual", "gauss-newton", "fisher", "outputs"]

_WORDS: dict[Matrix, str] = {
    "hessian": "Hessian-vector",
    "residual": "Hessian-vector",
    "gauss-newton": "Gauss-Newton",
    "fisher": "Fisher",
    "outputs": "Gauss-Newton",
}
# of what is free, for graphs that are kept from one product to the next: a GPU is nobody else's
_SHARE_OF_MEMORY = {"cpu": 0.25, "cuda": 0.5}


class HessianOperator:
    """The Hessian of a problem's loss, a part of it or a matrix in its place, as a symmetric operator (P, P).

    See `landscape.linalg.operator`. A product needs the graph of the gradient; to build it costs half of what a product
    costs. Where the problem's batch size is not limited by its user, the graphs of as many batches as a quarter of the
    free memory holds (on a GPU half of it) are kept from one product to the next.

    Args:
        problem: the problem; its parameters are read once, now.
        way: of the products with the Hessian, see `landscape.curvature.products`.
        matrix: which one.
        names: the parameters of a diagonal block; all by default. P is theirs.
    """

    def __init__(
        self,
        problem: Problem,
        *,
        way: Way = "exact",
        matrix: Matrix = "hessian",
        names: Sequence[str] | None = None,
    ) -> None:
        self._problem = problem
        self._way = way
        self._matrix = matrix
        theta = problem.parameters
        self._theta: Theta = theta if names is None else {name: theta[name] for name in names}
        self._kept: dict[int, Linearisation | MetricLinearisation] = {}
        one_graph = way == "exact" or matrix not in ("hessian", "residual")
        free = available_memory(problem.device) if problem.batch_is_free and one_graph else None
        # the processes of a machine share its memory, each GPU has its own
        sharing = problem.group.size if problem.device.type == "cpu" else 1
        self._allowance = _SHARE_OF_MEMORY.get(problem.device.type, 0.25) * (free or 0) / sharing
        self.size = sum(tensor.numel() for tensor in self._theta.values())
        self.dtype = problem.dtype
        self.device = problem.device

    def matmat(self, V: Tensor) -> Tensor:
        """H V for V (P, k).

        Cost: for each vector 2.4 gradient-equivalents by convention, 5/3 for J' M J; the first on a batch builds the
        graph.

        Raises:
            NonFiniteError: a product is NaN or infinite; the message names the samples.
        """
        result = torch.zeros_like(V)
        wrong = (0, 0)
        for batch in self._problem.batches():
            product = self._products(batch, V)
            if not torch.isfinite(product).all():
                wrong = wrong if wrong[1] else (batch.start, batch.stop)
            result += product
        self._problem.group.sum(result)
        if not torch.isfinite(result).all():  # so it is in every process: all end with the same words
            self._refuse(*wrong)
        return result

    def _refuse(self, start: int, stop: int) -> None:
        group = self._problem.group
        mine = np.zeros((group.size, 2))
        mine[group.rank] = start, stop
        of_all = group.sum_array(mine)
        low, high = next((row for row in of_all.astype(int).tolist() if row[1]), (0, len(self._problem)))
        raise NonFiniteError(
            f"a {_WORDS[self._matrix]} product is NaN or infinite on samples {low} to {high - 1}; try --dtype float64."
        )

    def _products(self, batch: Batch, V: Tensor) -> Tensor:
        if self._way != "exact" and (self._matrix == "hessian" or self._matrix == "residual"):
            return hessian_products(self._problem, self._theta, batch, V, part=self._matrix, way=self._way)
        if batch.start in self._kept:
            return self._kept[batch.start].products(V, keep=True)
        linearisation, size = self._linearise(batch)
        keep = size <= self._allowance
        if keep:
            self._kept[batch.start] = linearisation
            self._allowance -= size
        return linearisation.products(V, keep=keep)

    def _linearise(self, batch: Batch) -> tuple[Linearisation | MetricLinearisation, float]:
        """The graph of a batch and its bytes."""
        if not self._allowance:
            return linearise(self._problem, self._theta, batch, self._matrix), math.inf
        saved = SavedBytes(self._theta.values())
        try:
            with saved:
                return linearise(self._problem, self._theta, batch, self._matrix), saved.total
        except RuntimeError as error:
            if not SavedBytes.refused(error):
                raise
            self._allowance = 0.0  # what cannot be counted is not kept
            return linearise(self._problem, self._theta, batch, self._matrix), math.inf


def linearise(
    problem: Problem, theta: Theta, batch: Batch, matrix: Matrix = "hessian"
) -> Linearisation | MetricLinearisation:
    """What gives exact products with the matrix of a batch's share."""
    if matrix == "hessian" or matrix == "residual":
        return Linearisation(problem, theta, batch, part=matrix)
    return MetricLinearisation(problem, theta, batch, matrix)


def block_forms(
    problem: Problem,
    theta: Mapping[str, Tensor],
    start: int,
    stop: int,
    V: Tensor,
    *,
    matrix: Matrix = "hessian",
    way: Way = "exact",
) -> Tensor:
    """The forms v_j' H_b v_j of one block's share of a matrix, cut by tensor: (T, k), float64, CPU.

    Entry (s, j) is sum_{i in tensor s} v_ij (H_b v_j)_i; the sum over s is the form. The block's samples may be
    computed in several batches: the result is their sum.
    """
    form = torch.zeros(len(theta), V.shape[1], dtype=torch.float64)
    sizes = [tensor.numel() for tensor in theta.values()]
    for batch in problem.batches(start, stop):
        product = V * batch_products(problem, theta, batch, V, matrix=matrix, way=way)
        pieces = torch.split(product, sizes)
        form += torch.stack([piece.sum(0, dtype=torch.float64) for piece in pieces]).cpu()
    if not torch.isfinite(form).all():
        raise NonFiniteError(f"a {_WORDS[matrix]} product is NaN or infinite on samples {start} to {stop - 1}.")
    return form


def batch_products(
    problem: Problem, theta: Theta, batch: Batch, V: Tensor, *, matrix: Matrix = "hessian", way: Way = "exact"
) -> Tensor:
    """The products (P, k) of a batch's share of a matrix with V (P, k); `way` concerns the Hessian and its residual."""
    if matrix == "hessian" or matrix == "residual":
        return hessian_products(problem, theta, batch, V, part=matrix, way=way)
    return MetricLinearisation(problem, theta, batch, matrix).products(V)


def gradient(problem: Problem) -> Tensor:
    """grad L(theta) as a vector (P,). Cost: 1 gradient-equivalent."""
    theta = problem.parameters
    leaves = {name: tensor.detach().requires_grad_() for name, tensor in theta.items()}
    total = torch.zeros(problem.size, dtype=problem.dtype, device=problem.device)
    for batch in problem.batches():
        total += flatten(batch_gradient(problem, leaves, batch))
    return problem.group.sum(total)


def batch_gradient(problem: Problem, leaves: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
    """The gradient of a batch's share of L by name; `leaves` require gradients."""
    share = problem.objective(leaves, channels_last(batch))
    grads = torch.autograd.grad(share, list(leaves.values()), allow_unused=True)
    charge("gradient", len(batch))
    return {n: torch.zeros_like(t) if g is None else g for (n, t), g in zip(leaves.items(), grads, strict=True)}
