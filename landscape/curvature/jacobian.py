"""Jacobian products of the outputs: with the parameters forward, with the inputs backward.

Legend: N samples, K outputs, d input values a sample, r rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import jvp
from torch.nn.attention import SDPBackend, sdpa_kernel

from landscape.curvature.double_backward import DoubleBackward
from landscape.curvature.layout import channels_last
from landscape.curvature.second_derivatives import check_second_derivative, missing_derivatives
from landscape.errors import NotApplicableError, OptionError, near
from landscape.problem import Batch, Problem
from landscape.work import charge

_NEITHER = "nor has it a forward mode, so that J v cannot be had"


def parameter_jvp(
    problem: Problem, theta: Mapping[str, Tensor], batch: Batch, tangents: Mapping[str, Tensor]
) -> tuple[Tensor, Tensor]:
    """Outputs f and u = J_theta t for one direction t, by one forward-mode product.

    Where a kernel has no forward mode (recurrent cells on a GPU, autograd functions without a `jvp`) it is the
    derivative in c of (J' c)' t, by two backward passes: the same product for about twice the time.

    Args:
        problem: the problem.
        theta: the parameters.
        batch: the samples.
        tangents: the direction; names that are absent have a zero tangent and are held constant.

    Returns:
        (f, u), both of the outputs' shape (N, ...), detached.
    """
    moving, inputs = {name: theta[name] for name in tangents}, channels_last(batch).inputs

    def outputs(part: dict[str, Tensor]) -> Tensor:
        result: Tensor = problem.outputs({**theta, **part}, inputs, fold=True)
        return result

    try:
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
            f, u, *_ = jvp(outputs, (moving,), (dict(tangents),))
    except (NotImplementedError, RuntimeError) as error:
        if not _lacks_forward_mode(error):
            raise
        f, u = _by_two_backward_passes(outputs, moving, tangents)
        charge("hessian_product", len(batch))
    else:
        charge("jvp", len(batch))
    return f, u


def _lacks_forward_mode(error: Exception) -> bool:
    words = str(error)
    return "forward AD" in words or "forward mode AD" in words or "setup_context" in words


def _by_two_backward_passes(
    outputs: Callable[[dict[str, Tensor]], Tensor], moving: Mapping[str, Tensor], tangents: Mapping[str, Tensor]
) -> tuple[Tensor, Tensor]:
    """f and J t as the derivative of (J' c)' t in c, in which it is linear."""
    leaves = {name: tensor.detach().requires_grad_() for name, tensor in moving.items()}
    with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH), missing_derivatives(_NEITHER):
        with DoubleBackward():
            f = outputs(leaves)
        if not f.requires_grad:  # none of these parameters has a part in it
            return f, torch.zeros_like(f)
        c = torch.zeros_like(f, requires_grad=True)
        rows = torch.autograd.grad(f, list(leaves.values()), c, create_graph=True, allow_unused=True)
        check_second_derivative(rows, _NEITHER)
        pairs = [(row, tangents[n]) for n, row in zip(leaves, rows, strict=True) if row is not None]
        total = torch.stack([(row * t).sum() for row, t in pairs]).sum()
        (u,) = torch.autograd.grad(total, c, allow_unused=True, materialize_grads=True)
    return f.detach(), u


class _Rows:
    """Rows of df/dh by backward passes from the outputs (N, K) to a tensor h (N, ...) that they depend on."""

    def __init__(self, outputs: Any, at: Tensor) -> None:
        if not isinstance(outputs, Tensor) or outputs.ndim != 2:
            shape = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
            raise NotApplicableError(f"the outputs are {shape}, not one row of values a sample, (N, K)")
        self.outputs: Tensor = outputs
        self._at = at

    @property
    def at(self) -> Tensor:
        """h (N, ...), detached."""
        return self._at.detach()

    def vjp(self, cotangents: Tensor) -> Tensor:
        """J' c_n for a cotangent c (N, K) a sample: (N, d)."""
        if not self.outputs.requires_grad:  # f does not depend on h
            return torch.zeros_like(self._at).flatten(1)
        (row,) = torch.autograd.grad(
            self.outputs, self._at, cotangents, retain_graph=True, allow_unused=True, materialize_grads=True
        )
        charge("backward", len(row))
        return row.reshape(len(row), -1)

    def rows(self) -> Tensor:
        """The whole J of each sample, (N, K, d), by K backward passes."""
        n, outputs = self.outputs.shape
        eye = torch.eye(outputs, dtype=self.outputs.dtype, device=self.outputs.device)
        return torch.stack([self.vjp(eye[k].expand(n, outputs)) for k in range(outputs)], dim=1)


class InputJacobian(_Rows):
    """Rows of the input-output Jacobian J_x = df/dx of one batch, by one forward pass and a backward pass a row.

    Samples do not depend on each other (BatchNorm in eval mode), so one backward pass gives a row for every sample.

    Raises:
        NotApplicableError: the inputs are not one floating-point tensor, or the outputs are not (N, K).
    """

    def __init__(self, problem: Problem, theta: Mapping[str, Tensor], batch: Batch) -> None:
        if not isinstance(batch.inputs, Tensor) or not batch.inputs.is_floating_point():
            raise NotApplicableError("the inputs are not one floating-point tensor, so f has no derivative in them")
        inputs = channels_last(batch).inputs.detach().requires_grad_()
        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
            outputs = problem.outputs(theta, inputs, fold=True)
        charge("forward", len(batch))
        super().__init__(outputs, inputs)


class LayerJacobian(_Rows):
    """Rows of df/dh of one batch, with h the output of one module, by one forward pass and a backward pass a row.

    Raises:
        OptionError: the network has no such module, runs it more than once or not at all, or h is no floating tensor of
            one row a sample.
        NotApplicableError: the outputs are not (N, K).
    """

    def __init__(self, problem: Problem, theta: Mapping[str, Tensor], batch: Batch, layer: str) -> None:
        modules = dict(problem.model.named_modules())
        if layer not in modules or layer == "":
            raise OptionError(f"the network has no layer {layer!r}.{near(layer, [name for name in modules if name])}")
        caught: list[Tensor] = []

        def cut(module: nn.Module, inputs: Any, h: Any) -> Tensor:
            if not isinstance(h, Tensor) or not h.is_floating_point() or h.ndim < 2 or len(h) != len(batch):
                raise OptionError(f"the output of the layer {layer!r} is not one floating tensor with a row a sample.")
            caught.append(h.detach().requires_grad_())
            return caught[-1].clone()  # what follows may work in place, which a leaf does not allow

        handle = modules[layer].register_forward_hook(cut)
        try:
            with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
                outputs = problem.outputs(theta, channels_last(batch).inputs)
        finally:
            handle.remove()
        charge("forward", len(batch))
        if len(caught) != 1:
            raise OptionError(f"the network runs the layer {layer!r} {len(caught)} times; name one that it runs once.")
        super().__init__(outputs, caught[0])
