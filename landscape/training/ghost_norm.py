"""Ghost batch normalisation: in training each run of `size` consecutive samples of a batch is normalised by itself.

The running statistics take one update a step, from the mean over the ghost batches of all its micro-batches:

    running <- (1 - m) running + m * (sum_g n_g s_g / sum_g n_g),     s_g the mean or the unbiased variance of ghost g

the sums over the ghost batches of all processes, with n_g the samples of ghost g (*our reading*: a smaller last ghost
batch counts by its samples) and m the layer's momentum. So a batch gives the same gradients and the same statistics
whether it is run at once, in micro-batches or by several processes, of whole ghost batches each.

Legend: N samples, C channels, G ghost batches, B samples of a ghost batch.

Cost: two copies of each layer's input beside the normalisation itself; of several processes, one all-reduce a step
of two numbers a channel.

Reference: Hoffer et al., Train longer, generalize better, NeurIPS 2017, section 4 (whose running statistics take one
update a ghost batch).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm
from torch.nn.modules.batchnorm import _BatchNorm

from landscape.distributed import ALONE, Group


def batch_norms(model: nn.Module) -> list[_BatchNorm]:
    """The batch-normalisation layers of `model`, each once."""
    return [module for module in model.modules() if isinstance(module, _BatchNorm)]


def ghost_batch_norm(
    x: Tensor, size: int, weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Normalise `x` (N, C, ...) by the statistics of each ghost batch; the last holds what is left of N.

    Returns:
        The normalised values, and the sums over samples of each ghost batch's mean and unbiased variance, (C,).
    """
    whole = x.shape[0] - x.shape[0] % size
    parts, means, variances = [], [], []
    if whole:
        ghosts, channels = whole // size, x.shape[1]
        # All ghost batches at once: the channels of each are channels of their own.
        z = x[:whole].reshape(ghosts, size, *x.shape[1:]).transpose(0, 1).flatten(1, 2)
        wide = [None if t is None else t.repeat(ghosts) for t in (weight, bias)]
        y, mean, variance = _normalised(z, wide[0], wide[1], eps)
        parts.append(y.reshape(size, ghosts, *x.shape[1:]).transpose(0, 1).flatten(0, 1))
        means.append(size * mean.view(ghosts, channels).sum(0))
        variances.append(size * variance.view(ghosts, channels).sum(0))
    if whole < x.shape[0]:
        y, mean, variance = _normalised(x[whole:], weight, bias, eps)
        parts.append(y)
        means.append((x.shape[0] - whole) * mean)
        variances.append((x.shape[0] - whole) * variance)
    return torch.cat(parts) if len(parts) > 1 else parts[0], sum(means[1:], means[0]), sum(variances[1:], variances[0])


def _normalised(x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    # With momentum 1 the layer's own kernel leaves the batch's statistics in the buffers that it is given.
    dtype = torch.float32 if x.dtype is torch.bfloat16 else x.dtype
    mean = torch.zeros(x.shape[1], dtype=dtype, device=x.device)
    variance = torch.zeros_like(mean)
    return batch_norm(x, mean, variance, weight, bias, True, 1.0, eps), mean, variance


class GhostNorms:
    """The batch normalisations of a network while it trains in ghost batches of `size` samples, by all of `group`."""

    def __init__(self, model: nn.Module, size: int, group: Group = ALONE) -> None:
        self._size, self._group = size, group
        self._layers = [_GhostLayer(module) for module in batch_norms(model)]
        self._open = False

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Normalise by ghost batches in the block, in train mode; eval mode is untouched.

        A forward pass moves no running statistics by itself: `gathered` does.
        """
        for layer in self._layers:
            # On the instance: the layer stays the object, of the class, that others know it by.
            layer.module.forward = partial(self._forward, layer)  # type: ignore[method-assign]
        try:
            yield
        finally:
            for layer in self._layers:
                del layer.module.forward

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """Take the statistics of the forward passes of the block together, and update the running ones once."""
        for layer in self._layers:
            layer.clear()
        self._open = True
        try:
            yield
        finally:
            self._open = False
        self._update()

    @torch.no_grad()
    def _update(self) -> None:
        tracked = [layer for layer in self._layers if layer.module.running_mean is not None]
        if self._group.size == 1:
            for layer in tracked:
                if layer.samples:
                    layer.update(layer.samples, layer.mean, layer.variance)
            return
        if not tracked:
            return
        sums = self._group.sum(torch.cat([part for layer in tracked for part in layer.sums()]))
        for layer in tracked:
            channels = layer.module.num_features
            samples, mean, variance, sums = torch.split(sums, [1, channels, channels, len(sums) - 1 - 2 * channels])
            layer.update(samples, mean, variance)

    def _forward(self, layer: _GhostLayer, x: Tensor) -> Tensor:
        module = layer.module
        if not module.training:
            return type(module).forward(module, x)
        y, mean, variance = ghost_batch_norm(x, self._size, module.weight, module.bias, module.eps)
        if self._open:
            layer.add(x.shape[0], mean, variance)
        return y


class _GhostLayer:
    """A layer and the sums of its statistics over the samples of a step."""

    def __init__(self, module: _BatchNorm) -> None:
        self.module = module
        self.clear()

    def clear(self) -> None:
        """Begin a step."""
        self.samples = 0
        self.mean: Any = 0.0
        self.variance: Any = 0.0

    def add(self, samples: int, mean: Tensor, variance: Tensor) -> None:
        """Add the sums over the samples of a micro-batch."""
        self.samples += samples
        self.mean, self.variance = self.mean + mean.detach(), self.variance + variance.detach()

    def sums(self) -> list[Tensor]:
        """This process's samples (1,), and its sums over them of mean and variance (C,): 0 of a layer not run."""
        like = self.module.running_mean
        assert like is not None
        zeros = torch.zeros_like(like)
        return [like.new_full((1,), self.samples), zeros + self.mean, zeros + self.variance]

    def update(self, samples: Any, mean: Tensor, variance: Tensor) -> None:
        """Move the running statistics once, by the sums over `samples`; with none they stay."""
        running_mean, running_var = self.module.running_mean, self.module.running_var
        assert running_mean is not None
        assert running_var is not None
        # Whether another process ran the layer is not waited for.
        ran: Any = 1 if isinstance(samples, int) else (samples > 0).squeeze()
        share: Any = self.module.momentum
        if self.module.num_batches_tracked is not None:
            self.module.num_batches_tracked.add_(ran)
            if share is None:  # the plain average over all steps
                share = 1.0 / self.module.num_batches_tracked.to(running_mean.dtype)
        for running, total in ((running_mean, mean), (running_var, variance)):
            change = share * (total / samples - running)
            running.add_(change if isinstance(samples, int) else torch.where(ran, change, 0.0))
