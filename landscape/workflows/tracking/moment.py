"""What a quantity may look at when it is measured."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import optim

from landscape.errors import NotApplicableError, OptionError
from landscape.parameters import group_parameters
from landscape.problem import Problem
from landscape.problem.fed_layers import normalized_layers
from landscape.records import Record
from landscape.training.strides import Stride, Strides


@dataclass(frozen=True)
class Value:
    """One value of a moment; `group` is empty for the whole, `stderr` NaN where unknown."""

    quantity: str
    value: float
    stderr: float = 0.0
    group: str = ""


@dataclass
class Subject:
    """What is followed: the same at every moment.

    Attributes:
        problem: on the tracked samples; it follows the weights of the network that is trained.
        optimizer: that of the training; None where it is not known.
        by: the substructures.
        seed: of probes.
        strides: what sums up the steps; None where no quantity asks for it.
    """

    problem: Problem
    optimizer: optim.Optimizer | None = None
    by: str = "role"
    seed: int = 0
    strides: Strides | None = None
    _layers: dict[str, tuple[str, ...]] | None = None

    @property
    def groups(self) -> dict[str, tuple[str, ...]]:
        """The substructures."""
        return group_parameters(self.problem.infos, self.by)

    @property
    def fine(self) -> str:
        """The substructures of what is a matter of layers: tensors if those are asked for, else layers."""
        return "tensor" if self.by == "tensor" else "layer"

    def normalized_layers(self) -> Mapping[str, Sequence[str]]:
        """The layers that feed a batch normalisation, with their weights.

        Without their biases, which the normalisation takes out of the batch again: a bias turns no weight.

        Raises:
            OptionError: there is none.
        """
        if self._layers is None:
            self._layers = normalized_layers(self.problem)
        if not self._layers:
            raise OptionError("no layer of this network feeds a batch normalisation")
        return self._layers

    def must_have_optimizer(self) -> optim.Optimizer:
        """The optimizer.

        Raises:
            OptionError: it is not known.
        """
        if self.optimizer is None:
            raise OptionError("it needs the optimizer; give it to the tracker")
        return self.optimizer


@dataclass(frozen=True)
class Moment:
    """The subject at one time.

    Attributes:
        subject: what is followed.
        records: the measures that the quantities asked for, by name.
        rate: the learning rate where it is not the one that the optimizer holds (before the first step).
    """

    subject: Subject
    records: Mapping[str, Record] = field(default_factory=dict)
    rate: float | None = None

    def record(self, name: str) -> Record:
        """The record of a measure.

        Raises:
            NotApplicableError: it does not apply; the message is the reason.
        """
        record = self.records.get(name, Record(math.nan))
        if record.skipped is not None:
            raise NotApplicableError(record.skipped)
        return record

    def rate_of(self, names: Sequence[str]) -> float:
        """The learning rate of the parameters `names`, which is that of their first."""
        if self.rate is not None:
            return self.rate
        optimizer = self.subject.must_have_optimizer()
        by_id = {id(p): float(group["lr"]) for group in optimizer.param_groups for p in group["params"]}
        parameters = dict(self.subject.problem.model.named_parameters())
        rates = [by_id[id(parameters[name])] for name in names if id(parameters[name]) in by_id]
        return rates[0] if rates else 0.0

    def strides(self) -> Mapping[str, Stride]:
        """The strides of all parameters (the group "") and of each substructure since the last moment."""
        if self.subject.strides is None:
            return {}
        everything = tuple(info.name for info in self.subject.problem.infos)
        whole = self.subject.strides.means({"": everything})
        return {**whole, **self.subject.strides.means(self.subject.groups)}
