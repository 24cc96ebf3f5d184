"""How a batch becomes a loss: whole or in micro-batches, with all its samples or without those of the smallest losses.

    L_B = (1/|K|) sum_{n in K} l_n,     K the batch, or all of it but the floor(p |B|) samples of the smallest losses

l is the cross-entropy, or with label smoothing P the training loss (1 - P) l(f, y) + (P/K) sum_k l(f, k) over K
classes, for which samples are discarded as for all else in training; evaluation knows the cross-entropy only.

Each part of a batch gives a summand of L_B, so that gradients add up to that of the whole batch whatever the parts.
With batch normalisation that holds for ghost batches only, see `ghost_norm.py`; dropout draws anew for each part.

Legend: B samples of a batch, K classes.

Reference: discarding small losses: "Curvature-based learning rate", section 3.1 (30% in the first 100 epochs).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from landscape.config.training import TrainConfig
from landscape.errors import OptionError
from landscape.training.batch_schedule import batch_sizes
from landscape.training.ghost_norm import GhostNorms, batch_norms
from landscape.training.passes import Passes
from landscape.training.precision import FULL, Precision
from landscape.training.samples import Samples
from landscape.training.step_plan import StepPlan

# Runs the network on a part of a batch and gives its summand of the batch's loss, with its graph.
Part = Callable[[], Tensor]


@dataclass(frozen=True)
class Batching:
    """How the batches of a run are taken.

    Attributes:
        micro: samples of a forward and backward pass; None: the batch at once.
        discard: the share p of the smallest losses that is left out.
        discard_epochs: in the first so many epochs; None: in all.
        plan: the batch sizes of the epochs, where they change.
        ghosts: the batch normalisations, where they go by ghost batches.
        smoothing: P of label smoothing.
        precision: of the passes that a step's gradient comes from.
    """

    micro: int | None = None
    discard: float = 0.0
    discard_epochs: int | None = None
    plan: StepPlan | None = None
    ghosts: GhostNorms | None = None
    smoothing: float = 0.0
    precision: Precision = FULL

    def discarded(self, epoch: int) -> float:
        """The share that is left out in an epoch (from 1)."""
        return self.discard if self.discard_epochs is None or epoch <= self.discard_epochs else 0.0

    def batch_size(self, epoch: int, usual: int) -> int:
        """Samples of a batch in an epoch (from 1), where the run's batch size is `usual`."""
        return self.plan.sizes[epoch - 1] if self.plan is not None else usual


def parts_of_batch(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    *,
    micro: int | None = None,
    discard: float = 0.0,
    smoothing: float = 0.0,
    precision: Precision = FULL,
) -> list[Part]:
    """The summands of the loss of the batch of `inputs` (B, ...) and `labels` (B,).

    Cost: none yet, but for a batch in several parts with `discard`: one forward pass of it, which chooses the samples.
    """
    batch = len(labels)
    pieces = [(inputs, labels)]
    if micro is not None:
        pieces = list(zip(torch.split(inputs, micro), torch.split(labels, micro), strict=True))
    kept = kept_samples(batch, discard)

    def loss(x: Tensor, y: Tensor, reduction: str) -> Tensor:
        logits_BK = model(x)
        # The loss itself is in float32, whatever autocast gives.
        wide_BK = logits_BK.float() if logits_BK.dtype is torch.bfloat16 else logits_BK
        return cross_entropy(wide_BK, y, reduction=reduction, label_smoothing=smoothing)

    if kept == batch:
        if len(pieces) == 1:
            return [lambda: loss(inputs, labels, "mean")]
        return [partial(_summed, loss, *piece, batch) for piece in pieces]
    if len(pieces) == 1:
        return [lambda: loss(inputs, labels, "none").topk(kept).values.mean()]
    # The draws of dropout come again when the chosen samples are trained on.
    cuda = [inputs.device] if inputs.device.type == "cuda" else []
    with torch.no_grad(), torch.random.fork_rng(devices=cuda), precision.products(), precision.forward():
        losses_B = torch.cat([loss(*piece, "none") for piece in pieces])
    share_B = torch.zeros_like(losses_B)
    share_B[losses_B.topk(kept).indices] = 1.0 / kept
    return [
        partial(_weighted, loss, *piece, share)
        for piece, share in zip(pieces, torch.split(share_B, len(pieces[0][1])), strict=True)
    ]


def kept_samples(batch: int, discard: float) -> int:
    """Samples that stay of `batch`: all but floor(p B), at least one for p < 1."""
    # 0.29 * 100 is a little less than 29.
    return batch - int(discard * batch + 1e-9)


def passes_of(
    model: nn.Module, inputs: Tensor, labels: Tensor, how: Batching, epoch: int, every: Samples | None = None
) -> Passes:
    """What an optimizer may ask of the batch of `inputs` (B, ...) and `labels` (B,) in an epoch (from 1).

    `every` holds all training samples, for an optimizer that asks for their logits.

    Running statistics of ghost batch normalisation move once in `Passes.gradient`, and nowhere else.
    Cost: as `parts_of_batch`. Nothing is read from the device.
    """
    first, *rest = parts_of_batch(
        model,
        inputs,
        labels,
        micro=how.micro,
        discard=how.discarded(epoch),
        smoothing=how.smoothing,
        precision=how.precision,
    )
    rows = how.micro if how.micro is not None else len(labels)
    return Passes(
        model,
        loss=first,
        rest=rest,
        outputs=lambda: model(inputs),
        all_outputs=None if every is None else lambda: (model(piece) for piece, _ in every.batches(rows)),
        moving=how.ghosts.gathered if how.ghosts is not None else nullcontext,
        precision=how.precision,
    )


def check_batches(config: TrainConfig) -> None:
    """Refuse what contradicts itself in the batch settings of `config`, whatever the network.

    Raises:
        OptionError: says what.
    """
    sizes = batch_sizes(config)
    micro, ghost = config.micro_batch_size, config.ghost_batch_size
    if micro is not None and "kfac" in config.optimizer:
        raise OptionError("K-FAC takes its statistics from a whole batch at once; leave micro_batch_size out.")
    if config.discard_epochs is not None and config.discard is None:
        raise OptionError("discard_epochs says how long samples are discarded; set discard, their share, too.")
    if micro is not None and micro > max(sizes):
        raise OptionError(f"micro_batch_size {micro} is above the batch size {max(sizes)}; choose at most that.")
    if config.allow_microbatch_bn and (micro is None or ghost is not None):
        raise OptionError(
            "allow_microbatch_bn lets micro-batches be normalised one by one: it needs micro_batch_size and "
            "no ghost_batch_size."
        )
    for name, size in [("batch size", size) for size in sizes] + ([("micro_batch_size", micro)] if micro else []):
        if ghost is not None and size % ghost:
            raise OptionError(f"ghost_batch_size {ghost} does not divide the {name} {size}; choose one that does.")


def ghost_norms(config: TrainConfig, model: nn.Module) -> GhostNorms | None:
    """The ghost batch normalisation that `config` asks for.

    Raises:
        OptionError: the network has no batch normalisation, or its result would depend on the micro-batches.
    """
    micro, ghost = config.micro_batch_size, config.ghost_batch_size
    normed = bool(batch_norms(model))
    if ghost is not None and not normed:
        raise OptionError(f"ghost_batch_size is set, but network {config.model} has no batch normalisation.")
    if ghost is None and normed and micro is not None and micro < max(batch_sizes(config)):
        if not config.allow_microbatch_bn:
            raise OptionError(
                f"network {config.model} has batch normalisation, so that micro-batches of {micro} are not the same "
                "as one batch: set a ghost_batch_size that divides them, or allow_microbatch_bn to go on all the same."
            )
        ghost = micro
    return GhostNorms(model, ghost) if ghost is not None else None


def _summed(loss: Callable[[Tensor, Tensor, str], Tensor], x: Tensor, y: Tensor, batch: int) -> Tensor:
    return loss(x, y, "sum") / batch


def _weighted(loss: Callable[[Tensor, Tensor, str], Tensor], x: Tensor, y: Tensor, share: Tensor) -> Tensor:
    return (loss(x, y, "none") * share).sum()
