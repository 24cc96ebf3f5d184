"""The same loss by a copy of the network and PyTorch alone: no functional call, no folding, no kept graph.

What is computed here shares with the rest of the project the samples, their weights and the reading of the loss as a
value a sample, nothing else: gradients come from `.backward()` on the copy's own parameters, products from
differentiating `.grad`'s graph once more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from landscape.problem import Batch, Problem
from landscape.problem.module_traces import call
from landscape.problem.running import differentiable_kernels, duplicate, evaluation_mode


class Reference:
    """L, its gradient and its Hessian products by plain PyTorch.

    Args:
        problem: the problem, in float64.

    Memory: a copy of the network, and for a product the graph of a batch's gradient.
    """

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self.model = duplicate(problem.model).to(device=problem.device, dtype=problem.dtype)
        wanted = {info.name for info in problem.infos}
        self.named = {name: p for name, p in self.model.named_parameters() if name in wanted}
        self._start = torch.cat([p.detach().reshape(-1) for p in self.named.values()])
        self._buffers = {name: b.detach().clone() for name, b in self.model.named_buffers()}

    @property
    def theta(self) -> Tensor:
        """The parameters as they are (P,)."""
        return self._start

    def outputs(self, batch: Batch) -> Any:
        """The copy's outputs for a batch, read as the problem reads them."""
        with torch.no_grad():
            for name, buffer in self.model.named_buffers():  # with bn="train" a pass moves them
                buffer.copy_(self._buffers[name])
        with self._as_measured():
            return self._problem.reading.outputs(call(self.model, batch.inputs))

    def loss(self, batch: Batch) -> Tensor:
        """The batch's share of L."""
        values = self._problem.losses_of(self.outputs(batch), batch)
        return (values * batch.weights).sum() / self._problem.total_weight

    def gradient(self, theta: Tensor | None = None) -> Tensor:
        """grad L (P,), at `theta` where it is given."""
        with self._at(theta):
            for p in self.named.values():
                p.grad = None
            for batch in self._problem.batches(0, len(self._problem)):
                self.loss(batch).backward()  # type: ignore[no-untyped-call]
            return self._flat([p.grad for p in self.named.values()])

    def product(self, v: Tensor) -> Tensor:
        """H v (P,): the gradient of grad L . v."""
        total = torch.zeros_like(v)
        leaves = list(self.named.values())
        for batch in self._problem.batches(0, len(self._problem)):
            with sdpa_kernel(SDPBackend.MATH):
                first = torch.autograd.grad(self.loss(batch), leaves, create_graph=True, allow_unused=True)
                slope = self._flat(first) @ v
                if slope.requires_grad:
                    second = torch.autograd.grad(slope, leaves, allow_unused=True)
                    total += self._flat(second)
        return total

    def per_sample(self, index: int, value: Callable[[Any, Batch], Tensor]) -> Tensor:
        """grad of `value`(outputs, batch), a scalar, for the one sample `index` (P,)."""
        (batch,) = self._problem.batches(index, index + 1)
        found = torch.autograd.grad(value(self.outputs(batch), batch), list(self.named.values()), allow_unused=True)
        return self._flat(found)

    @contextmanager
    def _as_measured(self) -> Iterator[None]:
        problem = self._problem
        with (
            evaluation_mode(self.model, problem.bn),
            differentiable_kernels(self.model),
            problem.exchanged(),
            sdpa_kernel(SDPBackend.MATH),
        ):
            yield

    @contextmanager
    def _at(self, theta: Tensor | None) -> Iterator[None]:
        if theta is None:
            yield
            return
        try:
            self._set(theta)
            yield
        finally:
            self._set(self._start)

    def _set(self, theta: Tensor) -> None:
        pieces = torch.split(theta, [p.numel() for p in self.named.values()])
        with torch.no_grad():
            for p, piece in zip(self.named.values(), pieces, strict=True):
                p.copy_(piece.view_as(p))

    def _flat(self, parts: Any) -> Tensor:
        parts = [torch.zeros_like(p) if g is None else g for p, g in zip(self.named.values(), parts, strict=True)]
        return torch.cat([g.reshape(-1) for g in parts])
