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

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from landscape.config.training import TrainConfig
from landscape.distributed import ALONE, Group
from landscape.errors import OptionError
from landscape.models import parse_model
from landscape.training.batch_schedule import batch_sizes
from landscape.training.ghost_norm import GhostNorms, batch_norms
from landscape.training.passes import Logits, Passes
from landscape.training.precision import FULL, Precision
from landscape.training.samples import Samples
from landscape.training.spread import WHOLE_BATCHES, Share, Spread
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
        spread: the processes that share each batch.
    """

    micro: int | None = None
    discard: float = 0.0
    discard_epochs: int | None = None
    plan: StepPlan | None = None
    ghosts: GhostNorms | None = None
    smoothing: float = 0.0
    precision: Precision = FULL
    spread: Spread = WHOLE_BATCHES

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
    share: Share | None = None,
) -> list[Part]:
    """The summands of the loss of the batch of `inputs` (B, ...) and `labels` (B,), or of this process's `share` of it.

    The samples that `discard` leaves are chosen once, among the whole batch. A process without samples has one
    summand, 0.

    Cost: none yet, but for a batch in several parts with `discard`: one forward pass of it, which chooses the samples.
    """
    batch = len(labels)
    share = share if share is not None else WHOLE_BATCHES.batch(batch)
    network, kept = share.network(model), kept_samples(batch, discard)
    x_b, y_b = (values[share.rows.start : share.rows.stop] for values in (inputs, labels))
    pieces = [(x_b, y_b)]
    if micro is not None:
        pieces = list(zip(torch.split(x_b, micro), torch.split(y_b, micro), strict=True))

    def loss(x: Tensor, y: Tensor, reduction: str) -> Tensor:
        logits_bK = network(x)
        # The loss itself is in float32, whatever autocast gives.
        wide_bK = logits_bK.float() if logits_bK.dtype is torch.bfloat16 else logits_bK
        return cross_entropy(wide_bK, y, reduction=reduction, label_smoothing=smoothing)

    if kept == batch:
        if len(pieces[0][1]) == batch:
            return [lambda: loss(inputs, labels, "mean")]
        if share.empty:
            return [lambda: inputs.new_zeros(())]
        return [partial(_summed, loss, *piece, batch) for piece in pieces]
    choice = _Choice(share, kept)
    if micro is None or share.spread.largest(batch) <= micro:  # one part in every process
        return [lambda: choice.mean(inputs.new_zeros(0) if share.empty else loss(x_b, y_b, "none"))]
    # The draws of dropout come again when the chosen samples are trained on.
    again = share.spread.draws_to_come_again(inputs.device)
    with torch.no_grad(), again, precision.products(), precision.forward():
        losses = [] if share.empty else [loss(*piece, "none") for piece in pieces]
    weights_b = choice.weights(torch.cat([inputs.new_zeros(0), *losses]))
    if share.empty:
        return [lambda: inputs.new_zeros(())]
    return [
        partial(_weighted, loss, *piece, part)
        for piece, part in zip(pieces, torch.split(weights_b, len(pieces[0][1])), strict=True)
    ]


class _Choice:
    """Which samples of a batch stay: chosen once, by the losses of the whole batch."""

    def __init__(self, share: Share, kept: int) -> None:
        self._share, self._kept = share, kept
        self._weights: Tensor | None = None

    def weights(self, losses_b: Tensor) -> Tensor:
        """The weights of this process's samples, (b,): 1/|K| or 0; their losses count at the first call only."""
        if self._weights is None:
            losses_B = self._share.whole(losses_b.detach())
            weights_B = torch.zeros_like(losses_B)
            weights_B[losses_B.topk(self._kept).indices] = 1.0 / self._kept
            self._weights = weights_B[self._share.rows.start : self._share.rows.stop]
        return self._weights

    def mean(self, losses_b: Tensor) -> Tensor:
        """This process's summand of the mean of the chosen losses."""
        return (losses_b * self.weights(losses_b)).sum()


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
    share = how.spread.batch(len(labels))
    first, *rest = parts_of_batch(
        model,
        inputs,
        labels,
        micro=how.micro,
        discard=how.discarded(epoch),
        smoothing=how.smoothing,
        precision=how.precision,
        share=share,
    )
    rows = how.micro if how.micro is not None else how.spread.largest(len(labels))
    network = share.network(model)

    def outputs() -> Iterator[Logits]:
        for start in range(share.rows.start, share.rows.stop, rows):
            stop = min(start + rows, share.rows.stop)
            yield Logits(network(inputs[start:stop]), start, len(labels))

    def all_outputs() -> Iterator[Logits]:
        assert every is not None, "the loop gives them"
        start, own = how.spread.part_of(len(every), rows)
        for x, _ in every.batches(rows, own):
            yield Logits(network(x), start, len(every))
            start += len(x)

    return Passes(
        model,
        loss=first,
        rest=rest,
        outputs=outputs,
        all_outputs=all_outputs if every is not None else None,
        moving=how.ghosts.gathered if how.ghosts is not None else nullcontext,
        precision=how.precision,
        share=share,
    )


def check_batches(config: TrainConfig, processes: int = 1) -> None:
    """Refuse what contradicts itself in the batch settings of `config`, whatever the network.

    Raises:
        OptionError: says what.
    """
    sizes = batch_sizes(config)
    micro, ghost = config.micro_batch_size, config.ghost_batch_size
    if config.discard_epochs is not None and config.discard is None:
        raise OptionError("discard_epochs says how long samples are discarded; set discard, their share, too.")
    if micro is not None and micro > max(sizes):
        raise OptionError(f"micro_batch_size {micro} is above the batch size {max(sizes)}; choose at most that.")
    if config.allow_microbatch_bn and ((micro is None and processes == 1) or ghost is not None):
        raise OptionError(
            "allow_microbatch_bn lets micro-batches, or the processes' shares, be normalised one by one: it needs "
            "micro_batch_size or several processes, and no ghost_batch_size."
        )
    for name, size in [("batch size", size) for size in sizes] + ([("micro_batch_size", micro)] if micro else []):
        if ghost is not None and size % ghost:
            raise OptionError(f"ghost_batch_size {ghost} does not divide the {name} {size}; choose one that does.")
    units, what = min(sizes) // (ghost or 1), "ghost batch" if ghost is not None else "sample"
    if units < processes:
        raise OptionError(
            f"a batch of {min(sizes)} has {units} {what}{'' if units == 1 else 'es' if ghost is not None else 's'} for "
            f"{processes} processes; take a larger batch"
            f"{', a smaller ghost_batch_size' if ghost is not None else ''} or --devices {units}."
        )


def ghost_norms(config: TrainConfig, model: nn.Module, group: Group = ALONE) -> GhostNorms | None:
    """The ghost batch normalisation that `config` asks for.

    Raises:
        OptionError: the network has no batch normalisation, or its result would depend on the micro-batches or on the
            number of processes.
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
    if ghost is None and normed and group.size > 1:
        if not config.allow_microbatch_bn:
            raise OptionError(
                f"network {config.model} has batch normalisation, so that batches shared by {group.size} processes are "
                "not the same as whole ones: set a ghost_batch_size, or allow_microbatch_bn to go on all the same."
            )
        ghost = max(batch_sizes(config))  # a share, whatever its size, is one ghost batch
    return GhostNorms(model, ghost, group) if ghost is not None else None


def spread_of(config: TrainConfig, group: Group) -> Spread:
    """How the processes of `group` share the batches of a run."""
    # Which parameters a network that is not ours needs in a pass cannot be known.
    network = parse_model(config.model)
    unused = network.is_factory or bool(network.source)
    return Spread(group, unit=config.ghost_batch_size or 1, seed=config.seed, may_leave_unused=unused)


def _summed(loss: Callable[[Tensor, Tensor, str], Tensor], x: Tensor, y: Tensor, batch: int) -> Tensor:
    return loss(x, y, "sum") / batch


def _weighted(loss: Callable[[Tensor, Tensor, str], Tensor], x: Tensor, y: Tensor, share: Tensor) -> Tensor:
    return (loss(x, y, "none") * share).sum()
