"""Hessian-vector products of one batch, in three ways.

    exact               grad of (grad L . v): reverse over reverse; one graph of the gradient serves all vectors
    forward             the derivative of grad L along v: forward over reverse; no double backward
    finite-difference   (grad L(theta + a v) - grad L(theta - a v)) / 2a: no second derivative is asked of any kernel

The Hessian is H = G + R, with the Gauss-Newton part G = J' H_f J and the residual R = sum_n sum_k (dl_n/df_k) H(f_nk),
which is the Hessian of <f_theta, c> with c = dl/df held fixed: a product with R costs what one with H does.

Legend: P parameters, k vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import Tensor
from torch.func import jvp
from torch.nn.attention import SDPBackend, sdpa_kernel

from landscape.curvature.double_backward import DoubleBackward
from landscape.curvature.layout import channels_last
from landscape.curvature.second_derivatives import check_second_derivative, missing_derivatives
from landscape.errors import NotApplicableError
from landscape.parameters import flatten, unflatten
from landscape.problem import Batch, Problem, Theta
from landscape.work import charge

Part = Literal["hessian", "residual"]
Way = Literal["exact", "forward", "finite-difference"]
Function = Callable[[Theta], Tensor]

# of theta's displacement a |v|. A difference is wrong by rounding / displacement and, across a kink, by anything: in
# float64 steps of 1e-6 and below miss nearly all kinks of a ReLU network, in float32 no step does (METHODS, section 1)
_FIRST_DISPLACEMENT = 1e-6
_LAST_DISPLACEMENT = 1e-8
_REMEDY = "use --hvp finite-difference with --dtype float64"
_AGREEMENT = 1e-4  # relative, of the differences at a step and at half of it


def hessian_products(
    problem: Problem,
    theta: Theta,
    batch: Batch,
    V: Tensor,
    *,
    part: Part = "hessian",
    way: Way = "exact",
) -> Tensor:
    """The products (P, k) of the Hessian of a batch's share of L, or of its residual part, with V (P, k).

    Cost: 2.4 gradient-equivalents a vector by convention; `finite-difference` at least four gradients.

    Raises:
        NotApplicableError: the residual of outputs that are not one tensor; a finite difference in float32, or
            at kinks.
    """
    if way == "exact":
        return Linearisation(problem, theta, batch, part=part).products(V)
    share = _share(problem, theta, batch, part)
    columns = []
    for v in V.T:
        direction = unflatten(v, theta)
        if way == "forward":
            columns.append(_forward(share, theta, direction))
        else:
            columns.append(_difference(share, theta, direction))
        charge("hessian_product", len(batch))
    return torch.stack(columns, dim=1)


class Linearisation:
    """The graph of the gradient of one batch's share of L, which gives exact products with any number of vectors.

    Args:
        problem: the problem.
        theta: the parameters.
        batch: the samples.
        part: of the Hessian.

    Raises:
        NotApplicableError: a function of the network has no second derivative.

    Memory: the activations of a forward and a backward pass, as long as this object lives.
    """

    def __init__(self, problem: Problem, theta: Theta, batch: Batch, *, part: Part = "hessian") -> None:
        self._batch = batch
        self._leaves = {name: tensor.detach().requires_grad_() for name, tensor in theta.items()}
        share = _share(problem, theta, channels_last(batch), part)
        with sdpa_kernel(SDPBackend.MATH), missing_derivatives(_REMEDY):  # fused attention has no double backward
            with DoubleBackward():
                value = share(self._leaves)
            self._gradient = _gradient(value, self._leaves, create_graph=True)
        check_second_derivative([*self._gradient, value], _REMEDY)

    def products(self, V: Tensor, *, keep: bool = False) -> Tensor:
        """The products (P, k) with V (P, k); the graph is freed after the last one unless `keep`."""
        sizes = [tensor.numel() for tensor in self._leaves.values()]
        columns = []
        for j, v in enumerate(V.T):
            pieces = torch.split(v, sizes)
            parts = [(g, p.view_as(g)) for g, p in zip(self._gradient, pieces, strict=True) if g.requires_grad]
            columns.append(self._differentiate(parts, retain=keep or j + 1 < V.shape[1]))
            charge("hessian_product", len(self._batch))
        return torch.stack(columns, dim=1).detach()

    def _differentiate(self, parts: list[tuple[Tensor, Tensor]], *, retain: bool) -> Tensor:
        """grad of sum_i g_i . v_i as a vector (P,); zero where the share is linear in theta and `parts` is empty."""
        leaves = self._leaves
        if not parts:
            return flatten({name: torch.zeros_like(t) for name, t in leaves.items()})
        gradients, vectors = zip(*parts, strict=True)
        with sdpa_kernel(SDPBackend.MATH), missing_derivatives(_REMEDY):
            product = torch.autograd.grad(
                gradients, list(leaves.values()), vectors, retain_graph=retain, allow_unused=True
            )
        return flatten(
            {n: torch.zeros_like(t) if h is None else h for (n, t), h in zip(leaves.items(), product, strict=True)}
        )


def _share(problem: Problem, theta: Theta, batch: Batch, part: Part) -> Function:
    """theta -> the batch's share of L, or <f_theta, c> with the c of the parameters as they are."""
    if part == "hessian":
        return lambda moved: problem.objective(moved, batch, fold=True)
    with torch.no_grad():
        outputs = problem.outputs(theta, batch.inputs)
    if not isinstance(outputs, Tensor):
        raise NotApplicableError("the outputs are not one tensor, so the Hessian is not taken apart")
    leaf = outputs.detach().requires_grad_()
    with torch.enable_grad():
        value = (problem.losses_of(leaf, batch) * batch.weights).sum() / problem.total_weight
    (slope,) = torch.autograd.grad(value, leaf)
    return lambda moved: (problem.outputs(moved, batch.inputs, fold=True) * slope).sum()


def _gradient(value: Tensor, leaves: Mapping[str, Tensor], *, create_graph: bool = False) -> list[Tensor]:
    if not value.requires_grad:  # none of these parameters has a part in it
        return [torch.zeros_like(t) for t in leaves.values()]
    gradient = torch.autograd.grad(value, list(leaves.values()), create_graph=create_graph, allow_unused=True)
    return [torch.zeros_like(t) if g is None else g for g, t in zip(gradient, leaves.values(), strict=True)]


def _forward(share: Function, theta: Theta, direction: Mapping[str, Tensor]) -> Tensor:
    def gradient(moved: dict[str, Tensor]) -> dict[str, Tensor]:
        return torch.func.grad(share)(moved)  # type: ignore[no-any-return]

    with sdpa_kernel(SDPBackend.MATH), missing_derivatives("use --hvp exact, or finite-difference"):
        _, product, *_ = jvp(gradient, (dict(theta),), (dict(direction),))
    return flatten({name: product[name] for name in theta})


def _difference(share: Function, theta: Theta, direction: Mapping[str, Tensor]) -> Tensor:
    """The central difference at the first displacement that agrees with that at half of it.

    Raises:
        NotApplicableError: float32, or kinks: no two displacements agree.
    """
    vector = flatten(direction)
    size = float(vector.norm())
    if size == 0.0:
        return torch.zeros_like(vector)
    if vector.dtype != torch.float64:
        raise NotApplicableError("a finite difference is lost in the rounding of float32; use --dtype float64")

    def at(displacement: float) -> Tensor:
        a = displacement / size
        sides = []
        for sign in (1.0, -1.0):
            moved = {n: (t.detach() + sign * a * direction[n]).requires_grad_() for n, t in theta.items()}
            sides.append(torch.cat([g.reshape(-1) for g in _gradient(share(moved), moved)]))
        return (sides[0] - sides[1]) / (2 * a)

    displacement = _FIRST_DISPLACEMENT
    found = at(displacement)
    while displacement > _LAST_DISPLACEMENT:
        displacement /= 2
        closer = at(displacement)
        # what the rounding of the gradients, some 1e-16 of the weights' own size, leaves in a difference
        rounding = 1e-13 * float(flatten(theta).norm()) / displacement
        if (closer - found).norm() <= _AGREEMENT * closer.norm() + rounding:
            return found
        found = closer
    raise NotApplicableError(
        f"no two finite differences agree down to a displacement of {_LAST_DISPLACEMENT:g}: the loss has kinks there; "
        "use --hvp exact"
    )
