"""Products with J' M J: matrices in the parameters that a matrix M in the outputs gives, J the Jacobian of the outputs.

    gauss-newton    M = d^2 l / df^2     the generalised Gauss-Newton matrix: H without the curvature of the network
    fisher          M = F_f              the Fisher matrix, labels from the model; the same for softmax cross-entropy
    outputs         M = I                the Gauss-Newton matrix of the outputs alone

each as the weighted mean (1/W) sum_n w_n J_n' M_n J_n over samples; a sample's outputs, all positions of a sequence,
are one vector. A product takes a forward-mode pass for u = J v and a backward pass for J' M u: no second derivative of
the network.

Legend: P parameters, k vectors, N samples.

Reference: Schraudolph 2002; Martens 2020, sections 8 and 9.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from landscape.curvature.jacobian import parameter_jvp
from landscape.curvature.second_derivatives import missing_derivatives
from landscape.errors import NotApplicableError
from landscape.parameters import flatten, unflatten
from landscape.problem import Batch, Problem, Theta
from landscape.work import charge

Metric = Literal["gauss-newton", "fisher", "outputs"]
Product = Callable[[Tensor], Tensor]  # u -> (w_n/W) M_n u_n, both of the outputs' shape


_LOSS = "the loss has no curvature in the outputs"


def one_tensor(problem: Problem) -> Tensor:
    """The outputs of the first sample.

    Raises:
        NotApplicableError: they are not one tensor.
    """
    with torch.no_grad():
        outputs = problem.outputs(problem.parameters, next(problem.batches(0, 1)).inputs)
    if not isinstance(outputs, Tensor):
        raise NotApplicableError("the outputs are not one tensor")
    return outputs


def metric_product(problem: Problem, batch: Batch, outputs: Tensor, metric: Metric) -> Product:
    """The product with M at the outputs of a batch, the samples' shares of the weights in it.

    Cost: none that counts; the network takes no part.

    Raises:
        NotApplicableError: `fisher` for a loss that defines no label distribution.
    """
    share = (batch.weights / problem.total_weight).view(-1, *[1] * (outputs.ndim - 1))
    if metric == "outputs":
        return lambda u: share * u
    if metric == "fisher":
        factor = problem.fisher_factor
        if factor is None:
            raise NotApplicableError(f"the loss {problem.loss_name} defines no label distribution")
        return lambda u: share * factor.times(outputs, batch.targets, factor.transposed(outputs, batch.targets, u))
    leaf = outputs.detach().requires_grad_()
    with torch.enable_grad(), missing_derivatives(_LOSS):
        total = (problem.losses_of(leaf, batch) * batch.weights).sum() / problem.total_weight
        (slope,) = torch.autograd.grad(total, leaf, create_graph=True)
    if not slope.requires_grad:  # a loss that is linear in the outputs
        return torch.zeros_like

    def hessian(u: Tensor) -> Tensor:
        with missing_derivatives(_LOSS):
            (product,) = torch.autograd.grad(
                slope, leaf, u, retain_graph=True, allow_unused=True, materialize_grads=True
            )
        return product

    return hessian


class MetricLinearisation:
    """The outputs of one batch with their graph, which serves any number of products.

    Memory: the activations of a forward pass, as long as this object lives.

    Raises:
        NotApplicableError: the outputs are not one tensor; as `metric_product`.
    """

    def __init__(self, problem: Problem, theta: Theta, batch: Batch, metric: Metric) -> None:
        self._problem, self._theta, self._batch = problem, theta, batch
        self._leaves = {name: tensor.detach().requires_grad_() for name, tensor in theta.items()}
        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
            self._outputs = problem.outputs(self._leaves, batch.inputs, fold=True)
        if not isinstance(self._outputs, Tensor):
            raise NotApplicableError("the outputs are not one tensor")
        self._metric = metric_product(problem, batch, self._outputs.detach(), metric)

    def products(self, V: Tensor, *, keep: bool = False) -> Tensor:
        """The products (P, k) with V (P, k); the graph is freed after the last one unless `keep`.

        Cost: 5/3 gradient-equivalents a vector by convention.
        """
        columns = []
        for j, v in enumerate(V.T):
            _, u = parameter_jvp(self._problem, self._theta, self._batch, unflatten(v, self._theta))
            columns.append(self._pull(self._metric(u), retain=keep or j + 1 < V.shape[1]))
            charge("gradient", len(self._batch))
        return torch.stack(columns, dim=1)

    def _pull(self, cotangent: Tensor, *, retain: bool) -> Tensor:
        """J' c as a vector (P,)."""
        leaves = self._leaves
        if not self._outputs.requires_grad:  # no parameter has a part in them
            return flatten({name: torch.zeros_like(t) for name, t in leaves.items()})
        with sdpa_kernel(SDPBackend.MATH):
            rows = torch.autograd.grad(
                self._outputs, list(leaves.values()), cotangent, retain_graph=retain, allow_unused=True
            )
        return flatten(
            {n: torch.zeros_like(t) if g is None else g for (n, t), g in zip(leaves.items(), rows, strict=True)}
        )


def metric_form(problem: Problem, theta: Theta, batch: Batch, v: Tensor, metric: Metric) -> float:
    """The form v' J' M J v of a batch's share. Cost: 2/3 gradient-equivalents, no backward pass."""
    f, u = parameter_jvp(problem, theta, batch, unflatten(v, theta))
    return float((u * metric_product(problem, batch, f, metric)(u)).sum(dtype=torch.float64))
