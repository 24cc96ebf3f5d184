"""Loss and accuracy of a problem at any tensors, and batch normalisation's statistics there.

Legend: N samples, G = 128 samples of a group.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from landscape.errors import NotApplicableError
from landscape.problem import Problem
from landscape.problem.predictions import right_labels
from landscape.work import charge

Named = Mapping[str, Tensor]


def value_at(problem: Problem, theta: Named) -> tuple[float, float]:
    """The mean loss at `theta` and the share of labels whose logit is the largest (NaN where there are no classes).

    Sums are in float64 on the CPU, batch after batch in the samples' order. A loss that is NaN or infinite is
    returned as it is, with an accuracy of NaN. `theta` may name buffers too. Cost: 1/3 gradient-equivalent.
    """
    loss, correct, counted = 0.0, 0, 0
    for batch in problem.batches(0, len(problem)):
        with torch.no_grad():
            outputs = problem.outputs(theta, batch.inputs, plain=True)
            losses = problem.losses_of(outputs, batch)
        charge("forward", len(batch))
        loss += float((losses.cpu().double() * batch.weights.cpu().double()).sum()) / problem.total_weight
        labels = right_labels(problem, outputs, batch.targets)
        if labels is not None:
            correct, counted = correct + int(labels[0].sum()), counted + int(labels[1].sum())
    known = counted > 0 and math.isfinite(loss)
    return loss, correct / counted if known else math.nan


@dataclass
class Recalibration:
    """Batch normalisation's running statistics at any weights, from the problem's own samples.

    The mean over the groups of 128 consecutive samples, weighted by their sizes, of the groups' means and unbiased
    variances, each layer normalising by its group's statistics on the way: what PyTorch's cumulative average gives
    after one epoch of full groups.

    Args:
        problem: with bn="eval"; the model is not changed.

    Raises:
        NotApplicableError: the network has no batch normalisation with running statistics.
    """

    problem: Problem
    _by_groups: Problem = field(init=False)
    _layers: dict[str, float] = field(init=False)

    def __post_init__(self) -> None:
        self._layers = {
            name: 1.0 if module.momentum is None else module.momentum
            for name, module in self.problem.model.named_modules()
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is not None
        }
        if not self._layers:
            raise NotApplicableError(
                "--bn recalibrate: the network has no batch normalisation with running statistics; use --bn eval."
            )
        frozen = next((name for name, momentum in self._layers.items() if momentum == 0), None)
        if frozen is not None:
            raise NotApplicableError(f"--bn recalibrate: {frozen} has momentum 0, its statistics do not follow.")
        self._by_groups = self.problem.choose(bn="train")

    def buffers(self, theta: Named) -> dict[str, Tensor]:
        """The running statistics at `theta`, by the buffers' names. Cost: 1/3 gradient-equivalent.

        Raises:
            NotApplicableError: a layer runs more than once in a pass.
        """
        found: dict[str, Tensor] = {}
        model = dict(self.problem.model.named_buffers())
        for batch in self._by_groups.batches(0, len(self.problem)):
            fresh = self._zeros(model)
            with torch.no_grad():
                self._by_groups.outputs({**theta, **fresh}, batch.inputs, plain=True)
            charge("forward", len(batch))
            share = len(batch) / len(self.problem)
            for layer, momentum in self._layers.items():
                count = fresh.get(_join(layer, "num_batches_tracked"))
                if count is not None and int(count) != 1:
                    raise NotApplicableError(
                        f"--bn recalibrate: {layer} runs {int(count)} times in a pass, so that its running statistics "
                        "are no mean of the samples'; use --bn eval."
                    )
                for kind in ("running_mean", "running_var"):
                    name = _join(layer, kind)
                    # from 0, one update with momentum m leaves m times the group's statistic
                    part = fresh[name] * (share / momentum)
                    found[name] = found[name] + part if name in found else part
        return found

    def _zeros(self, model: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Statistics that nothing went into yet, of each layer."""
        fresh = {}
        for layer in self._layers:
            for kind in ("running_mean", "running_var", "num_batches_tracked"):
                name = _join(layer, kind)
                if name in model:
                    buffer = model[name]
                    dtype = self.problem.dtype if buffer.is_floating_point() else buffer.dtype
                    fresh[name] = torch.zeros(buffer.shape, dtype=dtype, device=self.problem.device)
        return fresh


def _join(layer: str, leaf: str) -> str:
    return f"{layer}.{leaf}" if layer else leaf
