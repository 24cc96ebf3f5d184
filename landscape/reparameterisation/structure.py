"""The units of a network that may be rescaled, found by following a forward pass and then seen on its outputs.

A unit is a channel (or several that are added up, as in the stream of a residual network) whose incoming tensors can be
multiplied by c > 0 and whose outgoing ones divided by c with the function unchanged. There are two kinds:

    rho      it is taken in by weights; rho_{c,l,k} of Bias Decay Matters, eq. 9, for any network
    scale    it is taken in by the running statistics of a batch normalisation: the weights before it

Legend: U units.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from landscape.problem import Problem
from landscape.reparameterisation.following import Entry, Follow, Statistics
from landscape.reparameterisation.function_rules import FUNCTIONS
from landscape.reparameterisation.labels import FIXED
from landscape.reparameterisation.layer_rules import LAYERS

Kind = Literal["rho", "scale"]

# Powers of two: what is scaled by them keeps its digits, so that outputs that differ went another way.
_FACTORS = (0.5, 1.0, 2.0, 4.0)
_SEED = 1
_SAMPLES = 8


@dataclass(frozen=True)
class Unit:
    """A unit, by the layers that make it, each with the channel there; the first one gives its name."""

    places: tuple[tuple[str, int], ...]
    kind: Kind

    @property
    def name(self) -> str:
        """What it is called: LAYER:K."""
        return "{}:{}".format(*self.places[0])

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers that make it."""
        return tuple(dict.fromkeys(layer for layer, _ in self.places))


@dataclass(frozen=True)
class Structure:
    """The units of a network and where their factors go.

    Attributes:
        units: of both kinds; unit u has the label u + 1.
        entries, statistics: with the labels of units; 0 for a channel that stays as it is.
        left_out: what makes channels no units, by layer: a function that is not homogeneous, what they are added to.
    """

    units: tuple[Unit, ...]
    entries: tuple[Entry, ...]
    statistics: tuple[Statistics, ...]
    left_out: Mapping[str, str]

    def of_kind(self, kind: Kind) -> list[int]:
        """The numbers of the units of a kind."""
        return [number for number, unit in enumerate(self.units) if unit.kind == kind]


def find_structure(problem: Problem) -> Structure:
    """The units of the problem's network; `units` is empty where there are none.

    Channels of which a use is not known are no units: a tensor that is used twice or computed, a function that is not
    known to be homogeneous. What was found is then tried on a few samples, all units at once by factors that differ,
    and where the outputs do not stay, layer by layer; units of layers that do not pass are left out.

    Cost: three forward passes of some samples; where the trial fails, one more a layer.
    """
    follow = Follow(problem.tensors, LAYERS, FUNCTIONS)
    inputs = next(problem.batches(0, min(2, len(problem)))).inputs
    with torch.random.fork_rng(), torch.no_grad(), follow:
        outputs = problem.outputs(follow.tensors, inputs, plain=True)
    follow.fix(outputs, "the network's output")
    structure = _resolved(follow)
    if not structure.units or _stays(problem, structure, list(range(len(structure.units)))):
        return structure
    return _proven(problem, structure)


def rescaled(tensors: Mapping[str, Tensor], structure: Structure, factors: np.ndarray) -> dict[str, Tensor]:
    """Tensors of the same function, with the units multiplied by `factors` (U,), all above 0.

    Incoming weights, biases, gamma and beta of unit u are multiplied by c_u, its outgoing weights divided by it. A
    running mean that takes it in is multiplied by c_u, a running variance becomes c_u^2 (var + eps) - eps, so that the
    function of eval mode stays also beside the normalisation's eps. No tensor is changed.
    """
    by_label = np.concatenate([[1.0], factors])
    result = dict(tensors)
    for entry in structure.entries:
        factor = by_label[entry.labels.numpy()] ** entry.power
        result[entry.name] = _times(result[entry.name], factor, entry)
    for one in structure.statistics:
        factor = by_label[one.labels.numpy()]
        mean, var = result[one.mean], result[one.var]
        result[one.mean] = mean * torch.as_tensor(factor).to(mean)
        square = torch.as_tensor(factor**2).to(var)
        # where nothing is scaled not even a rounding is added
        result[one.var] = torch.where(square == 1, var, square * (var + one.eps) - one.eps)
    return result


def least_factor(structure: Structure, tensors: Mapping[str, Tensor]) -> np.ndarray:
    """The smallest factor of each unit, (U,), that leaves every running variance at 0 or above."""
    least = np.zeros(len(structure.units) + 1)
    for one in structure.statistics:
        var = tensors[one.var].double().cpu().numpy()
        np.maximum.at(least, one.labels.numpy(), np.sqrt(one.eps / (var + one.eps)))
    return least[1:]


def _times(tensor: Tensor, factor: np.ndarray, entry: Entry) -> Tensor:
    of_axis = torch.as_tensor(factor).to(tensor)
    if entry.groups > 1:  # a row sees the channels of its own group alone
        of_axis = of_axis.view(entry.groups, -1).repeat_interleave(len(tensor) // entry.groups, dim=0)
        return tensor * of_axis.view(*of_axis.shape, *[1] * (tensor.ndim - 2))
    shape = [1] * tensor.ndim
    shape[entry.axis] = len(of_axis)
    return tensor * of_axis.view(shape)


def _resolved(follow: Follow) -> Structure:
    """Labels made one for each unit, the units in the order of the network's parameters."""
    labels, order = follow.labels, {name: place for place, name in enumerate(follow.tensors)}
    for entry in follow.entries:
        if follow.uses[entry.name] != 1:
            labels.fix(entry.labels, "a tensor that is used more than once")
    for one in follow.statistics:
        if follow.uses[one.mean] != 1 or follow.uses[one.var] != 1:
            labels.fix(one.labels, "a tensor that is used more than once")
    makers: dict[int, list[tuple[int, str, int]]] = defaultdict(list)
    left_out: dict[str, Counter[str]] = defaultdict(Counter)
    for entry in follow.entries:
        if entry.power < 0:
            continue
        layer = entry.name.rpartition(".")[0] or entry.name
        for k, label in enumerate(entry.labels.tolist()):
            root = labels.find(label)
            if root == FIXED:
                left_out[layer][labels.why(label) or ""] += 1
            else:
                makers[root].append((order[entry.name], layer, k))
    taken = {labels.find(label) for e in follow.entries if e.power < 0 for label in e.labels.tolist() if label > 0}
    counted = {labels.find(label) for one in follow.statistics for label in one.labels.tolist() if label > 0}
    found = sorted((min(places), root) for root, places in makers.items() if root in taken | counted)
    units = tuple(
        Unit(
            tuple(dict.fromkeys((layer, k) for _, layer, k in sorted(makers[root]))),
            "scale" if root in counted else "rho",
        )
        for _, root in found
    )
    numbers = {root: number for number, (_, root) in enumerate(found, start=1)}
    return Structure(
        units,
        tuple(replace(e, labels=_renumbered(e.labels, labels.find, numbers)) for e in follow.entries),
        tuple(replace(s, labels=_renumbered(s.labels, labels.find, numbers)) for s in follow.statistics),
        {layer: reasons.most_common(1)[0][0] for layer, reasons in left_out.items()},
    )


def _renumbered(labels: Tensor, find: Any, numbers: Mapping[int, int]) -> Tensor:
    return torch.tensor([numbers.get(find(label), 0) if label > 0 else 0 for label in labels.tolist()])


def _stays(problem: Problem, structure: Structure, chosen: list[int]) -> bool:
    """Whether the outputs stay when the units `chosen` are scaled by powers of two."""
    tensors = problem.tensors
    draw = np.random.default_rng(_SEED)
    factors = np.ones(len(structure.units))
    factors[chosen] = draw.choice(_FACTORS, len(chosen))
    factors = np.where(factors < 1, np.where(least_factor(structure, tensors) > factors, 2.0, factors), factors)
    inputs = next(problem.batches(0, min(_SAMPLES, len(problem)))).inputs
    with torch.random.fork_rng(), torch.no_grad():
        before, after = (
            [leaf for leaf in tree_leaves(problem.outputs(t, inputs, plain=True)) if isinstance(leaf, Tensor)]
            for t in (tensors, rescaled(tensors, structure, factors))
        )
    # error budget: powers of two leave every digit, the eps of a normalisation a rounding
    tolerance = 1e-9 if problem.dtype == torch.float64 else 1e-4
    return all(
        bool(((a - b).abs() <= tolerance * (a.abs().amax() + torch.finfo(a.dtype).tiny)).all())
        for a, b in zip(before, after, strict=True)
        if a.is_floating_point() and a.numel()
    )


def _proven(problem: Problem, structure: Structure) -> Structure:
    """Without the units of the layers that change the outputs by themselves, or together with those before them."""
    by_layer: dict[str, list[int]] = defaultdict(list)
    for number, unit in enumerate(structure.units):
        by_layer[unit.layers[0]].append(number)
    kept: list[int] = []
    left_out = dict(structure.left_out)
    for layer, numbers in by_layer.items():
        if _stays(problem, structure, [*kept, *numbers]):
            kept += numbers
        else:
            left_out[layer] = "the outputs change"
    new = np.zeros(len(structure.units) + 1, dtype=np.int64)
    new[np.array(sorted(kept), dtype=np.int64) + 1] = np.arange(1, len(kept) + 1)
    return Structure(
        tuple(structure.units[number] for number in sorted(kept)),
        tuple(replace(e, labels=torch.as_tensor(new[e.labels.numpy()])) for e in structure.entries),
        tuple(replace(s, labels=torch.as_tensor(new[s.labels.numpy()])) for s in structure.statistics),
        left_out,
    )
