"""The passes over one batch that an optimizer may ask for besides the gradient that it is given.

Most optimizers need `.grad` and no more. SAM needs the gradient at other weights, CBLR products with the Hessian of
the batch's loss. The loop hands them a `Passes`, so that how a batch becomes a loss stays its own affair.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn, optim
from torch.nn.attention import SDPBackend, sdpa_kernel

from landscape.training.precision import FULL, Precision
from landscape.training.spread import WHOLE_BATCHES, Share


def nothing() -> None:
    """Add no decay."""


@dataclass(frozen=True)
class Logits:
    """The logits `values` (b, K) of the samples `first`, `first` + 1, ... of `of` in all, with their graph."""

    values: Tensor
    first: int
    of: int


@dataclass(frozen=True)
class Passes:
    """The loss of the step's batch, to be computed as often as an optimizer needs it.

    Only `gradient` counts as the step's pass: it alone moves buffers (the running statistics of batch
    normalisation), which then are those of the weights before the step. The other passes leave every buffer as it
    was. Random layers (dropout) draw anew in each pass. Of several processes, each runs its share of the batch, and
    all have the gradients and products of the whole batch.

    Attributes:
        model: the network, in train mode.
        loss: runs the network on the batch and gives the mean loss with its graph; where the batch is taken in parts,
            on the first, and gives its summand.
        rest: the summands of the other parts.
        outputs: runs the network on this process's share of the batch, part by part, and gives the logits; None if it
            has none.
        moving: surrounds the pass that moves buffers, for layers that do not move them by themselves.
        couple: adds coupled decay to `.grad`; `take_step` calls it when the gradient is the one to step along.
        all_outputs: the logits of one block after another, of this process's share of all training samples; None if
            it has none.
        share: of this process.
        precision: of the gradients; all other passes are in full precision.
    """

    model: nn.Module
    loss: Callable[[], Tensor]
    outputs: Callable[[], Iterator[Logits]] | None = None
    all_outputs: Callable[[], Iterator[Logits]] | None = None
    rest: Sequence[Callable[[], Tensor]] = ()
    moving: Callable[[], AbstractContextManager[None]] = nullcontext
    couple: Callable[[], None] = nothing
    precision: Precision = FULL
    share: Share = field(default_factory=partial(WHOLE_BATCHES.batch, 0))

    def gradient(self) -> Tensor:
        """Put the gradient of the batch's loss into `.grad`; return the loss without its graph. One gradient.

        Of several processes, each returns its own summand of the loss.
        """
        with self.moving():
            return self._gradient()

    def gradient_again(self) -> Tensor:
        """As `gradient`, at the present weights, and no buffer moves."""
        with _buffers_kept(self.model):
            return self._gradient()

    def _gradient(self) -> Tensor:
        for parameter in self.model.parameters():
            parameter.grad = None
        with self.precision.products():
            return self.share.gradients(self.model, (self.loss, *self.rest), self.precision.forward)

    def hessian_products(self, parameters: Sequence[Tensor], vectors: Sequence[Sequence[Tensor]]) -> list[list[Tensor]]:
        """The products of the batch's Hessian with each of `vectors`, each shaped like `parameters`.

        Neither `.grad` nor a buffer changes. A parameter that the loss does not depend on has products 0.
        Cost: one gradient, and about 1.5 gradients a vector.
        """
        # The math kernel: fused attention has no second derivative.
        with _buffers_kept(self.model), torch.enable_grad(), sdpa_kernel([SDPBackend.MATH]):
            total = _products(self.loss(), parameters, vectors)
            for part in self.rest:
                for sums, more in zip(total, _products(part(), parameters, vectors), strict=True):
                    torch._foreach_add_(sums, more)
        self.share.spread.sum_all([product for products in total for product in products])
        return total

    def all_logits(self) -> Iterator[Logits]:
        """The logits of this process's share of all training samples, block by block; no buffer moves."""
        assert self.all_outputs is not None, "the loop gives them"
        with _buffers_kept(self.model), torch.enable_grad():
            yield from self.all_outputs()

    def logits(self) -> Iterator[Logits]:
        """The logits of this process's share of the batch, part by part; no buffer moves.

        Use each before the next: BatchNorm's graph holds the buffers, which are put back after the last.
        """
        assert self.outputs is not None, "the loop gives them"
        with _buffers_kept(self.model), torch.enable_grad():
            yield from self.outputs()


class MultiPassOptimizer(optim.Optimizer, ABC):
    """An optimizer that needs more of the batch than its gradient; `.grad` holds that when a step begins.

    Attributes:
        replaces_gradient: whether it computes a gradient of its own and hands that to a base with `take_step`.
    """

    replaces_gradient: ClassVar[bool] = False

    @abstractmethod
    def step_with(self, passes: Passes) -> None:
        """Take a step with the batch of `passes`."""


def take_step(optimizer: optim.Optimizer, passes: Passes) -> None:
    """Take a step of any optimizer, with `.grad` filled by `passes.gradient()`.

    Coupled decay goes into the gradient that is stepped along, not into one that only leads to it.
    """
    if isinstance(optimizer, MultiPassOptimizer):
        if not optimizer.replaces_gradient:
            passes.couple()
        optimizer.step_with(passes)
    else:
        passes.couple()
        optimizer.step()


def _products(loss: Tensor, parameters: Sequence[Tensor], vectors: Sequence[Sequence[Tensor]]) -> list[list[Tensor]]:
    if not loss.requires_grad:  # of a process without samples
        return [[torch.zeros_like(p) for p in parameters] for _ in vectors]
    gradient = torch.autograd.grad(loss, parameters, create_graph=True, allow_unused=True, materialize_grads=True)
    curved = [i for i, g in enumerate(gradient) if g.requires_grad]
    products = []
    for v in vectors:
        if not curved:
            products.append([torch.zeros_like(p) for p in parameters])
            continue
        products.append(
            list(
                torch.autograd.grad(
                    [gradient[i] for i in curved],
                    parameters,
                    grad_outputs=[v[i] for i in curved],
                    retain_graph=True,
                    allow_unused=True,
                    materialize_grads=True,
                )
            )
        )
    return products


@contextmanager
def _buffers_kept(model: nn.Module) -> Iterator[None]:
    """Put every buffer back after the block. Not a flag of BatchNorm's: networks bring layers of their own."""
    before = [(buffer, buffer.clone()) for buffer in model.buffers()]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in before:
                buffer.copy_(value)
