"""How the processes of a group share the batches of a run: which takes what, what is summed, who draws what.

    L_B = sum_r L_r,   grad L_B = sum_r grad L_r,   L_r the summands of the batch's mean loss of process r's samples

Every process has the whole network, all data and the same order of samples; it runs its own contiguous part of each
batch, in whole ghost batches, so that parts of unequal size need no other weights: a summand has the weight 1/B of its
batch, not of its part. What is reduced is therefore summed, never averaged over the processes (PyTorch's own reduction
averages: right only where all parts are equal).

The gradient of the last part of a batch goes through `DistributedDataParallel`, which reduces it while the backward
pass runs; earlier parts only accumulate (PyTorch's `no_sync`). Where a batch leaves a process without samples (a small
last one), and for Hessian products, the sums are made by hand afterwards.

Two streams of random numbers: the global generators stand the same in every process, for what is drawn for all (signs,
labels); the forward passes draw from a stream of the process, seeded by (seed, process, epoch), so that dropout differs
between the processes and a checkpoint of process 0 carries all that a resumed run needs.

Cost of a step: one all-reduce of the gradient, P numbers, most of it during the backward pass.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch._C._distributed_c10d import GradBucket
from torch.nn.parallel import DistributedDataParallel

from landscape.distributed import ALONE, Group, lost_peers

Network = Callable[[Tensor], Tensor]
_RandomState = tuple[Tensor, Tensor | None]


class Spread:
    """The processes of a run; one process alone changes nothing."""

    def __init__(self, group: Group = ALONE, *, unit: int = 1, seed: int = 0, may_leave_unused: bool = False) -> None:
        """Nothing is exchanged yet.

        Args:
            group: of the processes.
            unit: the samples that stay together: those of a ghost batch.
            seed: of the processes' own streams.
            may_leave_unused: whether a pass may leave parameters without a gradient.
        """
        self.group = group
        self._unit, self._seed, self._unused = unit, seed, may_leave_unused
        self._wrapped: DistributedDataParallel | None = None
        self._epoch = 0
        self._own: _RandomState | None = None
        self._reduces = False

    @property
    def several(self) -> bool:
        """Whether there is more than this process."""
        return self.group.size > 1

    def begin_epoch(self, epoch: int) -> None:
        """Begin this process's stream of an epoch (from 1)."""
        self._epoch, self._own = epoch, None

    def batch(self, size: int) -> Share:
        """This process's share of a batch of `size` samples."""
        return Share(self, size)

    def rows(self, size: int) -> range:
        """The positions of this process's samples in a batch; it may be empty."""
        own = self.group.share(-(-size // self._unit))
        return range(min(own.start * self._unit, size), min(own.stop * self._unit, size))

    def largest(self, size: int) -> int:
        """The most samples of a batch that any process takes."""
        units = -(-size // self._unit)
        return min(size, -(-units // self.group.size) * self._unit)

    def each_has_some(self, size: int) -> bool:
        """Whether a batch of `size` samples has some for every process."""
        return -(-size // self._unit) >= self.group.size

    def blocks(self, count: int, rows: int) -> list[range]:
        """This process's blocks of `rows` of `count` samples; the blocks are the same whoever takes them."""
        own = self.group.share(-(-count // rows))
        return [range(i * rows, min((i + 1) * rows, count)) for i in own]

    def part_of(self, count: int, rows: int) -> tuple[int, Tensor | None]:
        """This process's part of `count` samples in blocks of `rows`: its first sample, and all (None: every one)."""
        if not self.several:
            return 0, None
        own = self.blocks(count, rows)
        return (own[0].start, torch.arange(own[0].start, own[-1].stop)) if own else (0, torch.arange(0))

    def run(self, model: nn.Module, inputs: Tensor) -> Tensor:
        """The outputs of `model`, with random numbers of this process's own."""
        if not self.several:
            outputs: Tensor = model(inputs)
            return outputs
        with self.own_draws(inputs.device):
            outputs = (self._parallel(model) if self._reduces else model)(inputs)
        return outputs

    @contextmanager
    def own_draws(self, device: torch.device) -> Iterator[None]:
        """Let the block draw from this process's own stream; the common one stays as it is."""
        if not self.several:
            yield
            return
        common = _random_state(device)
        _set_random_state(self._own if self._own is not None else self._first_state(device), device)
        try:
            yield
        finally:
            self._own = _random_state(device)
            _set_random_state(common, device)

    @contextmanager
    def draws_to_come_again(self, device: torch.device) -> Iterator[None]:
        """Put the streams back after the block, so that what comes next draws the same."""
        own = self._own
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            yield
        self._own = own

    @contextmanager
    def reducing(self) -> Iterator[None]:
        """Reduce the gradients of the forward pass of the block over the processes, in its backward pass."""
        self._reduces = True
        try:
            with lost_peers():
                yield
        finally:
            self._reduces = False

    def sum_all(self, tensors: Sequence[Tensor]) -> None:
        """Add each of `tensors`, of one type and device, over the processes, in place. Cost: one all-reduce."""
        if not self.several or not tensors:
            return
        flat = self.group.sum(torch.cat([tensor.reshape(-1) for tensor in tensors]))
        for tensor, total in zip(tensors, torch.split(flat, [tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(total.view_as(tensor))

    def largest_of(self, number: int) -> int:
        """The largest of the processes' numbers. Cost: one all-reduce, and it waits for the device."""
        if not self.several:
            return number
        device = torch.device(self.group.device)
        numbers = torch.zeros(self.group.size, dtype=torch.int64, device=device)
        numbers[self.group.rank] = number
        return int(self.group.sum(numbers).max())

    def _parallel(self, model: nn.Module) -> DistributedDataParallel:
        if self._wrapped is None:
            device = next(model.parameters()).device
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # the option's new name is not in every torch we take
                self._wrapped = DistributedDataParallel(
                    model,
                    device_ids=[device] if device.type == "cuda" else None,
                    broadcast_buffers=False,  # the statistics of ghost batches are reduced themselves
                    find_unused_parameters=self._unused,
                )
            # A function without annotations: PyTorch refuses those that are text.
            self._wrapped.register_comm_hook(None, lambda _, bucket: _sum_bucket(bucket))
        return self._wrapped

    def _first_state(self, device: torch.device) -> _RandomState:
        words = f"{self._seed} {self.group.rank} {self._epoch}".encode()
        seed = int.from_bytes(hashlib.sha256(words).digest()[:8], "big") >> 1
        on_cpu = torch.Generator().manual_seed(seed).get_state()
        return on_cpu, torch.Generator(device).manual_seed(seed).get_state() if device.type == "cuda" else None


WHOLE_BATCHES = Spread()


@dataclass(frozen=True)
class Share:
    """This process's share of one batch of `size` samples, and the sums over the shares."""

    spread: Spread
    size: int

    @property
    def rows(self) -> range:
        """The positions of its samples in the batch."""
        return self.spread.rows(self.size)

    @property
    def empty(self) -> bool:
        """Whether it holds no sample."""
        return self.spread.several and not self.rows

    def network(self, model: nn.Module) -> Network:
        """`model` as a part of the batch is to run it."""
        return partial(self.spread.run, model) if self.spread.several else model

    def gradients(
        self,
        model: nn.Module,
        parts: Sequence[Callable[[], Tensor]],
        forward: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> Tensor:
        """Put the gradients of the sum of all processes' `parts`, each run within `forward`, into `.grad`.

        Returns:
            The sum of this process's own parts, without its graph.

        Raises:
            ProcessError: another process has gone.
        """
        overlaps = self.spread.several and self.spread.each_has_some(self.size)
        losses = []
        for place, part in enumerate(parts):
            with self.spread.reducing() if overlaps and place == len(parts) - 1 else nullcontext():
                with forward():
                    loss = part()
                if not self.empty:
                    loss.backward()  # type: ignore[no-untyped-call]
            losses.append(loss.detach())
        if self.spread.several and not overlaps:
            self._sum_gradients(model)
        return sum(losses[1:], losses[0])

    def whole(self, own: Tensor) -> Tensor:
        """The values of all samples of the batch, (B,), from this process's `own`; exact. Cost: one all-reduce."""
        if not self.spread.several:
            return own
        values = own.new_zeros(self.size)
        values[self.rows.start : self.rows.stop] = own
        return self.spread.group.sum(values)

    def _sum_gradients(self, model: nn.Module) -> None:
        """As the reduction in the backward pass: a parameter without a gradient in any process stays without."""
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        flags = torch.tensor([float(p.grad is not None) for p in trained], device=trained[0].device)
        used = [p for p, count in zip(trained, self.spread.group.sum(flags).tolist(), strict=True) if count]
        gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in used]
        self.spread.sum_all(gradients)
        for parameter, gradient in zip(used, gradients, strict=True):
            parameter.grad = gradient


def _sum_bucket(bucket: GradBucket) -> torch.futures.Future[Tensor]:
    future: torch.futures.Future[Any] = dist.all_reduce(bucket.buffer(), async_op=True).get_future()
    return future.then(lambda done: done.value()[0])


def _random_state(device: torch.device) -> _RandomState:
    return torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None


def _set_random_state(state: _RandomState, device: torch.device) -> None:
    torch.set_rng_state(state[0])
    if state[1] is not None:
        torch.cuda.set_rng_state(state[1], device)
