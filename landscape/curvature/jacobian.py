"""Jacobian products of the outputs: with the parameters forward, with the inputs backward.

Legend: N samples, K outputs, d input values a sample, r rows.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.func import jvp
from torch.nn.attention import SDPBackend, sdpa_kernel

from landscape.curvature.layout import channels_last
from landscape.errors import NotApplicableError
from landscape.problem import Batch, Problem
from landscape.work import charge


def parameter_jvp(
    problem: Problem, theta: Mapping[str, Tensor], batch: Batch, tangents: Mapping[str, Tensor]
) -> tuple[Tensor, Tensor]:
    """Outputs f and u = J_theta t for one direction t, by one forward-mode product.

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

    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        f, u, *_ = jvp(outputs, (moving,), (dict(tangents),))
    charge("jvp", len(batch))
    return f, u


class InputJacobian:
    """Rows of the input-output Jacobian J_x = df/dx of one batch, by one forward pass and a backward pass a row.

    Samples do not depend on each other (BatchNorm in eval mode), so one backward pass gives a row for every sample.

    Raises:
        NotApplicableError: the inputs are not one floating-point tensor, or the outputs are not (N, K).
    """

    def __init__(self, problem: Problem, theta: Mapping[str, Tensor], batch: Batch) -> None:
        if not isinstance(batch.inputs, Tensor) or not batch.inputs.is_floating_point():
            raise NotApplicableError("the inputs are not one floating-point tensor, so f has no derivative in them")
        self._inputs = channels_last(batch).inputs.detach().requires_grad_()
        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
            outputs = problem.outputs(theta, self._inputs, fold=True)
        charge("forward", len(batch))
        if not isinstance(outputs, Tensor) or outputs.ndim != 2:
            shape = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
            raise NotApplicableError(f"the outputs are {shape}, not one row of values a sample, (N, K)")
        self.outputs: Tensor = outputs

    def vjp(self, cotangents: Tensor) -> Tensor:
        """J_x' c_n for a cotangent c (N, K) a sample: (N, d)."""
        if not self.outputs.requires_grad:  # f does not depend on x
            return torch.zeros_like(self._inputs).flatten(1)
        (row,) = torch.autograd.grad(
            self.outputs, self._inputs, cotangents, retain_graph=True, allow_unused=True, materialize_grads=True
        )
        charge("backward", len(row))
        return row.reshape(len(row), -1)

    def rows(self) -> Tensor:
        """The whole J_x of each sample, (N, K, d), by K backward passes."""
        n, outputs = self.outputs.shape
        eye = torch.eye(outputs, dtype=self.outputs.dtype, device=self.outputs.device)
        return torch.stack([self.vjp(eye[k].expand(n, outputs)) for k in range(outputs)], dim=1)
