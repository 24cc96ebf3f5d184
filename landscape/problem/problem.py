"""`Problem`: the function L(theta; D) that everything in this project measures.

    L(theta) = sum_n w_n l(f_theta(x_n), y_n) / sum_n w_n

over a fixed, finite data set D. Legend: N samples, P parameters, B samples of a block.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._pytree import tree_leaves, tree_map

from landscape.distributed import ALONE, Group, check_device
from landscape.errors import DataError, ModelError, OptionError, ProblemError
from landscape.float32_products import full_products
from landscape.memory import SavedBytes
from landscape.parameters import ParameterInfo, describe
from landscape.problem.batch_norm import AffineBatchNorm, Fold, NotFoldedError, Watch
from landscape.problem.checks import (
    agree,
    check_finite_outputs,
    check_labels,
    check_modules,
    check_weights,
    model_error,
    single_samples,
)
from landscape.problem.exchanged import Exchanged
from landscape.problem.losses import CurvatureFactor, LossLike, PerSampleLoss, per_sample_loss
from landscape.problem.module_traces import random_module
from landscape.problem.reading import PLAIN, Reading, choose_reading, find_reading, refuse_copied_tokens
from landscape.problem.running import differentiable_kernels, duplicate, evaluation_mode
from landscape.problem.samples import Samples, read_samples
from landscape.problem.sizes import BLOCK, BN_GROUP, DEFAULT_BATCH, fitting_batch
from landscape.problem.training_facts import TrainingFacts
from landscape.problem.working_dtype import working_dtype
from landscape.work import charge

Theta = Mapping[str, Tensor]


@dataclass(frozen=True)
class Batch:
    """Consecutive samples on the problem's device; `weights` are the w_n (N,) of the loss."""

    start: int
    stop: int
    inputs: Any
    targets: Any
    weights: Tensor

    def __len__(self) -> int:
        return self.stop - self.start


class Problem:
    """A network, a loss and data as one function of the parameters.

    The model is never changed: its parameters are read where they are (so that a problem follows a model that is
    being trained), perturbed weights and copied buffers go in by `torch.func.functional_call`, and the train/eval
    flags are put back after each forward pass.

    Args:
        model: any `nn.Module`; the parameters of the problem are those with `requires_grad`.
        loss: a torch loss module or a callable (outputs, targets) -> one value a sample or their mean;
            an unknown callable is checked on one batch.
        data: a pair of tensors, a `Dataset`, or a finite `DataLoader`; read once and kept, refused if two reads differ.
            Inputs and targets may be tuples or dicts of tensors; of a dict with `labels` all else is inputs.
        dtype: floating type of all computation, float32 or float64, or its name; by default the widest of the model's
            parameters, and float32 for half-precision ones, which it represents exactly.
        device: where to compute; the model's own by default.
        bn: `eval` uses BatchNorm's running statistics; `train` those of each consecutive group of 128 samples.
        batch_size: samples a pass, which bounds the memory; decides no value. By default 128, on a GPU 2,048,
            fewer where a pass would take more than a fraction of the free memory.
        population: the size of the split that the data are a draw from; N if they are all of it.
        about: plain values that describe the problem in an analysis document.
        reading: how outputs and labels are read before the loss sees them, a name in
            `landscape.problem.reading.READINGS` or a `Reading`; by default `logits` where one of torch's losses meets
            a mapping with `logits`, else they are taken as they are.
        training: what is known of the training that led to the parameters, for the measures that ask for it.

    Raises:
        ProblemError, ModelError, DataError, NonFiniteError, DeviceError, OptionError: see the messages.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: LossLike,
        data: Any,
        *,
        dtype: torch.dtype | str | None = None,
        device: str | torch.device | None = None,
        bn: Literal["eval", "train"] = "eval",
        batch_size: int | None = None,
        population: int | None = None,
        about: Mapping[str, Any] | None = None,
        reading: str | Reading | None = None,
        training: TrainingFacts | None = None,
    ) -> None:
        if not isinstance(model, nn.Module):
            raise ProblemError(f"model must be a torch.nn.Module, got {type(model).__name__}.")
        if not callable(loss):
            raise ProblemError(f"loss must be callable, got {type(loss).__name__}.")
        if bn not in ("eval", "train"):
            raise OptionError(f"bn must be 'eval' or 'train', got {bn!r}.")
        self.model, self.loss, self.data = model, loss, data
        self.bn = bn
        self.infos: tuple[ParameterInfo, ...] = describe(model)
        if not self.infos:
            raise ProblemError("the model has no parameter that requires a gradient; set requires_grad_(True).")
        trained = [p for p in model.parameters() if p.requires_grad]
        self.dtype = working_dtype(dtype, trained)
        self.device = check_device(device if device is not None else trained[0].device)
        self._samples = read_samples(data)
        self._folds: tuple[Fold, ...] = ()
        self._normalises = any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in model.modules())
        self.block_size = BN_GROUP if bn == "train" else BLOCK
        self.batch_is_free = batch_size is None
        self.batch_size = DEFAULT_BATCH if batch_size is None else batch_size
        if self.batch_size < 1:
            raise OptionError(f"batch_size must be at least 1, got {batch_size}.")
        self.population = population if population is not None else len(self)
        self.about: Mapping[str, Any] = MappingProxyType(dict(about or {}))
        self.training = training or TrainingFacts()
        self.group = ALONE
        check_weights(model)
        check_modules(model, bn)
        self.reading: Reading = PLAIN
        self._writes_into_inputs = self._exchanges = False
        self._per_sample, self._bytes_saved = self._read_loss(find_reading(reading))
        if self.batch_is_free and bn == "eval":
            self.batch_size = fitting_batch(self._bytes_saved, self.device)
        weights = self._per_sample.weights(self.reading.labels(self._samples.targets))
        self._weights = weights.detach().to(dtype=torch.float64, device="cpu")
        self.total_weight = float(self._weights.sum())
        if not (math.isfinite(self.total_weight) and self.total_weight > 0 and bool((self._weights >= 0).all())):
            raise DataError("every label is ignored or has weight 0; the mean loss is undefined.")

    def __len__(self) -> int:
        """The number of samples N."""
        return len(self._samples)

    # -- what the problem is made of -----------------------------------------------------------------------------

    @property
    def parameters(self) -> dict[str, Tensor]:
        """The parameters theta by name, detached, on the problem's device and in its dtype; shared where possible."""
        wanted = {info.name for info in self.infos}
        return {name: self._cast(p.detach()) for name, p in self.model.named_parameters() if name in wanted}

    @property
    def tensors(self) -> dict[str, Tensor]:
        """All parameters, frozen ones too, and buffers by name, as `parameters` has them; each an object of its own."""
        named = (*self.model.named_parameters(), *self.model.named_buffers())
        return {name: self._cast(tensor.detach()) for name, tensor in named}

    @property
    def samples(self) -> Samples:
        """The inputs and targets as they were given, on their own device and in their own dtype."""
        return self._samples

    @property
    def size(self) -> int:
        """The number of scalar parameters P."""
        return sum(info.size for info in self.infos)

    @property
    def loss_name(self) -> str:
        """The loss, for people."""
        return self._per_sample.name

    @property
    def classes(self) -> bool:
        """Whether the outputs are logits (N, K) with integer labels (N,)."""
        return self._per_sample.classes

    @property
    def ignored_label(self) -> int | None:
        """The label that does not count, if the loss classifies and has one."""
        return self._per_sample.ignored

    @property
    def fisher_form(self) -> Callable[[Any, Any, Tensor], Tensor] | None:
        """(outputs, targets, u) -> u_n' F_f u_n; None where the loss defines no label distribution."""
        return self._per_sample.fisher_form

    @property
    def factor(self) -> CurvatureFactor | None:
        """A factor of the loss's Hessian in the outputs; None where none is known."""
        return self._per_sample.factor

    @property
    def fisher_factor(self) -> CurvatureFactor | None:
        """A factor of the F_f of `fisher_form`; `factor` itself where both are the same."""
        return self._per_sample.fisher_factor

    @property
    def weights(self) -> Tensor:
        """The weights w_n (N,), float64 on the CPU."""
        return self._weights

    def choose(
        self,
        indices: Tensor | None = None,
        *,
        model: nn.Module | None = None,
        dtype: torch.dtype | str | None = None,
        device: str | torch.device | None = None,
        bn: Literal["eval", "train"] | None = None,
        batch_size: int | None = None,
        about: Mapping[str, Any] | None = None,
    ) -> Problem:
        """The same problem on some of its samples, with another network or computed otherwise; None: as it is.

        The samples `indices` become a draw from this problem's population.
        """
        chosen = self._samples if indices is None else self._samples.take(indices)
        other = Problem(
            model or self.model,
            self.loss,
            chosen,
            dtype=dtype or self.dtype,
            device=device if device is not None else self.device,
            bn=bn or self.bn,
            batch_size=batch_size or (None if self.batch_is_free else self.batch_size),
            population=self.population,
            about={**self.about, **(about or {})},
            reading=self.reading,
            training=self.training,
        )
        other.data, other.group = self.data, self.group
        return other

    def reordered(self, order: Tensor) -> Problem:
        """The same problem with its samples in another order, a permutation (N,) of them; nothing is checked again."""
        other = copy.copy(self)
        other._samples, other._weights = self._samples.take(order), self._weights[order]
        return other

    def across(self, group: Group) -> Problem:
        """The same problem with its samples cut among the processes of `group`: this one passes over its own blocks.

        `len`, the weights and every measure stay those of all samples.
        """
        other = copy.copy(self)
        other.group = group
        if group.size > 1 and torch.device(group.device) != self.device:
            other.device = check_device(group.device)
        if group.size > 1 and other.device.type == "cpu" and self.batch_is_free and self.bn == "eval":
            # the processes of a machine share its memory
            other.batch_size = min(self.batch_size, fitting_batch(self._bytes_saved, other.device, group.size))
        return other

    # -- passes over the data ------------------------------------------------------------------------------------

    def batches(self, start: int | None = None, stop: int | None = None, size: int | None = None) -> Iterator[Batch]:
        """Cut samples `start` ... `stop` - 1 into batches of at most `size` (the problem's batch size by default).

        Without start and stop these are the samples of this process's own blocks: all, where it is alone.
        With bn="train" a batch is one group of 128, whatever the size: its samples depend on each other.
        """
        if start is None and stop is None:
            start, stop = self._own_samples()
        start, stop = start or 0, len(self) if stop is None else stop
        size = BN_GROUP if self.bn == "train" else (size or self.batch_size)
        assert self.bn == "eval" or start % BN_GROUP == 0, "a batch statistics group was cut"
        for low in range(start, stop, size):
            high = min(low + size, stop)
            part = self._samples.slice(low, high)
            yield Batch(
                start=low,
                stop=high,
                inputs=tree_map(self._cast, part.inputs),
                targets=tree_map(lambda t: t.to(self.device), self.reading.labels(part.targets)),
                weights=self._weights[low:high].to(self.dtype).to(self.device),
            )

    def blocks(self) -> list[tuple[int, int]]:
        """The fixed blocks of consecutive samples, as (start, stop); the last may be smaller."""
        return [(low, min(low + self.block_size, len(self))) for low in range(0, len(self), self.block_size)]

    def own_blocks(self) -> list[tuple[int, int, int]]:
        """The blocks of this process, consecutive ones, as (number, start, stop)."""
        blocks = self.blocks()
        return [(b, *blocks[b]) for b in self.group.share(len(blocks))]

    def _own_samples(self) -> tuple[int, int]:
        own = self.own_blocks()
        return (own[0][1], own[-1][2]) if own else (0, 0)

    @property
    def own_count(self) -> int:
        """The number of samples in this process's blocks."""
        start, stop = self._own_samples()
        return stop - start

    def outputs(self, theta: Theta, inputs: Any, *, fold: bool = False, plain: bool = False) -> Any:
        """f_theta(x) for a batch of inputs, as `reading` reads it; differentiable in theta and the inputs, the model
        untouched.

        With `fold` a convolution and the normalisation after it are computed as one: faster, most of all when it is
        differentiated twice, but a module's own output is then another one. With `plain` normalisation is computed by
        PyTorch's own kernel, the fastest where nothing is differentiated.
        """
        if plain:
            return self._run(theta, inputs, plain=True)
        if fold and self._folds:
            try:
                return self._run(theta, inputs, self._folds)
            except NotFoldedError:  # a network that goes another way with other samples
                self._folds = ()
        return self._run(theta, inputs)

    def _run(
        self, theta: Theta, inputs: Any, folds: tuple[Fold, ...] = (), watch: bool = False, plain: bool = False
    ) -> Any:
        constants = {name: self._cast(p.detach()) for name, p in self.model.named_parameters() if name not in theta}
        constants |= {name: self._cast(b.detach()).clone() for name, b in self.model.named_buffers()}
        if self._writes_into_inputs:
            inputs = tree_map(lambda t: t.clone() if isinstance(t, Tensor) else t, inputs)
        arguments = (
            tuple(inputs) if isinstance(inputs, (tuple, list)) else (() if isinstance(inputs, dict) else (inputs,))
        )
        keywords = inputs if isinstance(inputs, dict) else {}
        tensors = {**constants, **theta}
        mode = None if plain or not self._normalises else Watch(tensors) if watch else AffineBatchNorm(folds, tensors)
        with (
            evaluation_mode(self.model, self.bn),
            differentiable_kernels(self.model),
            single_samples(self.bn),
            self.exchanged(),
            mode or nullcontext(),
        ):
            outputs = self.reading.outputs(functional_call(self.model, tensors, arguments, keywords))
        if isinstance(mode, Watch):
            self._folds = mode.folds(outputs)
        return outputs

    def losses(self, theta: Theta, batch: Batch, *, fold: bool = False) -> Tensor:
        """l_n (N,) of a batch; `fold` as in `outputs`."""
        return self._per_sample.values(self.outputs(theta, batch.inputs, fold=fold), batch.targets)

    def losses_of(self, outputs: Any, batch: Batch) -> Tensor:
        """l_n (N,) from outputs that are known already."""
        return self._per_sample.values(outputs, batch.targets)

    def objective(self, theta: Theta, batch: Batch, *, fold: bool = False) -> Tensor:
        """The batch's share of L: sum over its samples of w_n l_n / sum of all weights. The shares add up to L."""
        return (self.losses(theta, batch, fold=fold) * batch.weights).sum() / self.total_weight

    def exchanged(self) -> AbstractContextManager[Any]:
        """The block in which the network's functions are those that can be differentiated twice."""
        return Exchanged() if self._exchanges else nullcontext()

    # -- checks --------------------------------------------------------------------------------------------------

    @full_products()
    def _read_loss(self, reading: Reading | None) -> tuple[PerSampleLoss, float]:
        """The form of the loss on the first samples, and the bytes that a forward pass saves for each sample."""
        self._weights = torch.ones(len(self), dtype=torch.float64)
        self.reading = reading or PLAIN
        batch = next(self.batches(0, min(len(self), BN_GROUP if self.bn == "train" else 8)))
        try:
            with torch.random.fork_rng():
                with torch.no_grad():
                    outputs = self._first_run(batch, reading)
                    if self.bn == "train" and len(self) % BN_GROUP == 1:  # a group that may have no statistics
                        self.outputs(self.parameters, next(self.batches(len(self) - 1, len(self))).inputs)
                again, saved, moves = self._saved(batch)
                with torch.no_grad():  # what no function call shows is found by its result
                    if self._folds and not agree(outputs, self.outputs(self.parameters, batch.inputs, fold=True)):
                        self._folds = ()
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            if any(words in str(error).lower() for words in ("out of memory", "can't allocate memory")):
                raise
            raise model_error(error, batch.inputs, self.bn, len(self)) from error
        check_finite_outputs(outputs)
        if not agree(outputs, again):
            raise ModelError(
                "two evaluations of the model on the same inputs differ; a measure needs a fixed function: "
                f"{self._what_is_random(batch)}."
            )
        if not moves:
            raise ModelError(
                "the outputs do not depend on any parameter that requires a gradient, so that nothing can be measured: "
                "look for a detach() or no_grad() in the forward pass, or at which parameters are frozen."
            )
        charge("forward", 2 * len(batch))
        check_labels(self.loss, self.reading.labels(self._samples.targets), outputs)
        with torch.no_grad():
            per_sample = per_sample_loss(self.loss, outputs, batch.targets)
        if reading is None and isinstance(outputs, Tensor) and outputs.ndim > 2:
            refuse_copied_tokens(self._samples.inputs, self._samples.targets, per_sample.ignored)
        return per_sample, saved / len(batch)

    def _first_run(self, batch: Batch, reading: Reading | None) -> Any:
        """The outputs, read; what is found on the way: the folds, the reading, and whether inputs are written into."""
        inputs = tree_map(lambda t: t.clone(), batch.inputs)  # a network may begin with an activation in place
        with Exchanged() as exchanged:
            outputs = self._run(self.parameters, inputs, watch=self.bn == "eval")
        self._exchanges = exchanged.met
        self._writes_into_inputs = any(t._version for t in tree_leaves(inputs))
        if reading is None:
            self.reading = choose_reading(self.loss, outputs)
            outputs = self.reading.outputs(outputs)
        return outputs

    def _what_is_random(self, batch: Batch) -> str:
        model = duplicate(self.model).to(device=self.device, dtype=self.dtype)
        return random_module(model, batch.inputs, bn=self.bn) or "turn off what is random in its forward pass"

    def _saved(self, batch: Batch) -> tuple[Any, int, bool]:
        """The outputs once more, the bytes that autograd saves for them, and whether they depend on the parameters.

        The bytes are 0 where they cannot be counted.
        """
        theta = {name: tensor.detach().requires_grad_() for name, tensor in self.parameters.items()}
        saved = SavedBytes(theta.values())
        with torch.enable_grad():
            try:
                with saved:
                    outputs = self.outputs(theta, batch.inputs)
            except RuntimeError as error:
                if not SavedBytes.refused(error):
                    raise
                outputs, saved.total = self.outputs(theta, batch.inputs), 0
        moves = any(isinstance(part, Tensor) and part.requires_grad for part in tree_leaves(outputs))
        return tree_map(lambda t: t.detach() if isinstance(t, Tensor) else t, outputs), saved.total, moves

    def _cast(self, tensor: Tensor) -> Tensor:
        return tensor.to(device=self.device, dtype=self.dtype if tensor.is_floating_point() else None)
