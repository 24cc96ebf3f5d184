"""A trace from its parts: how many probes each part gets, and the record of what comes out.

Legend: B blocks, k probes a block, T tensors, S groups.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from landscape.linalg.means import sampling_stderr
from landscape.linalg.trace import BlockEstimate, block_estimate, probe_variance, probes_wanted
from landscape.measures.distribution import histogram, quantiles
from landscape.measures.metering import Progress, announce
from landscape.measures.trace_parts import Blocks, Component
from landscape.parameters import sum_groups
from landscape.problem import Problem
from landscape.records import Record


@dataclass(frozen=True)
class TraceEstimate:
    """What probes say of a trace.

    Attributes:
        blocks: the blocks of samples.
        parts: the values of each part by block, probe and tensor, (B, k, T).
        converged: whether the standard error of the sum is at most what was asked (see `BlockEstimate.within`).
        share: n/N, of the samples in their population.
    """

    blocks: Blocks
    parts: Mapping[str, np.ndarray]
    converged: bool
    share: float

    @property
    def probes(self) -> dict[str, int]:
        """The probes a block of each part."""
        return {name: part.shape[1] for name, part in self.parts.items()}

    def whole(self) -> BlockEstimate:
        """The trace."""
        return self._sum([part.sum(2) for part in self.parts.values()])

    def of(self, tensors: Sequence[int]) -> BlockEstimate:
        """The trace of the diagonal blocks of the tensors with these numbers."""
        return self._sum([part[..., tensors].sum(2) for part in self.parts.values()])

    def apart(self) -> dict[str, BlockEstimate]:
        """The parts of the trace."""
        return {name: self._sum([part.sum(2)]) for name, part in self.parts.items()}

    def _sum(self, values: Sequence[np.ndarray]) -> BlockEstimate:
        return block_estimate(values, self.blocks.omega, sampled_share=self.share)


def estimate_trace(
    problem: Problem,
    blocks: Blocks,
    components: Mapping[str, Component],
    *,
    rtol: float,
    budget: float,
    on_progress: Progress | None,
    factors: np.ndarray | float = 1.0,
) -> TraceEstimate:
    """Probe the parts of a trace until its standard error is `rtol` times its value, or the budget is spent.

    All parts start with as many as make a standard error trustworthy, within the budget two, and without those no
    estimate has converged; then each gets as many as lower the common standard error at the least cost. With
    `factors` (T,) it is the sum of the tensors' traces, each times its factor, that is estimated.
    """
    share = len(problem) / problem.population
    wanted = _within(budget, components, dict.fromkeys(components, probes_wanted(len(blocks.spans))))
    announce(on_progress, cost_of(components, wanted))
    found: dict[str, np.ndarray] = {}
    while True:
        for name, component in components.items():
            known = found.get(name)
            more = component.sweep(range(0 if known is None else known.shape[1], wanted[name]))
            found[name] = more if known is None else np.concatenate([known, more], axis=1)
        parts = {name: (found[name] + _column(components[name].fixed)) * factors for name in components}
        estimate = block_estimate([part.sum(2) for part in parts.values()], blocks.omega, sampled_share=share)
        target = rtol * abs(estimate.value)
        converged = estimate.within(target)
        more_wanted = _allocate(components, parts, blocks.omega, wanted, target, budget)
        converged, more_wanted = problem.group.first((converged, more_wanted))
        if converged or more_wanted == wanted:
            return TraceEstimate(blocks, parts, converged, share)
        wanted = more_wanted
        if on_progress is not None:
            on_progress(f"{estimate.value:.4g} ± {estimate.stderr:.2g}", cost_of(components, wanted))


def probed_record(
    problem: Problem, found: TraceEstimate, groups: Mapping[str, Sequence[str]], details: Mapping[str, Any]
) -> Record:
    """The record of a trace that was probed, with `details` among its own."""
    names = [info.name for info in problem.infos]
    whole = found.whole()
    by_group = {group: found.of([names.index(name) for name in members]) for group, members in groups.items()}
    return Record(
        value=whole.value,
        stderr=whole.stderr,
        sampling_stderr=whole.sampling_stderr,
        converged=found.converged,
        groups={group: e.value for group, e in by_group.items()},
        details={
            "groups_stderr": {group: e.stderr for group, e in by_group.items()},
            "tensors": {name: found.of([t]).value for t, name in enumerate(names)},
            "probes": max(found.probes.values()),
            "blocks": len(found.blocks.spans),
            **details,
        },
    )


def exact_record(
    problem: Problem, values_NT: np.ndarray, groups: Mapping[str, Sequence[str]], details: Mapping[str, Any]
) -> Record:
    """The record of a trace whose share of each sample and tensor is known, w_n/W times the sample's own."""
    weights = problem.weights.numpy()
    counted = weights > 0
    own_N = values_NT.sum(1)
    own_N[counted] *= problem.total_weight / weights[counted]
    tensors = dict(zip(problem.parameters, map(float, values_NT.sum(0)), strict=True))
    return Record(
        value=float(values_NT.sum()),
        stderr=0.0,
        sampling_stderr=sampling_stderr(own_N, weights, sampled_share=len(problem) / problem.population),
        groups=sum_groups(tensors, groups),
        details={
            "tensors": tensors,
            "quantiles": quantiles(own_N[counted]),
            "histogram": histogram(own_N[counted]),
            **details,
        },
    )


def _column(fixed: np.ndarray | float) -> np.ndarray | float:
    return fixed[:, None, :] if isinstance(fixed, np.ndarray) else fixed


def cost_of(components: Mapping[str, Component], probes: Mapping[str, int]) -> float:
    """Gradient-equivalents of so many probes of each part."""
    return sum(c.first + c.cost * probes[name] for name, c in components.items())


def _within(budget: float, components: Mapping[str, Component], probes: dict[str, int]) -> dict[str, int]:
    """As many of `probes` as the budget allows: first one of each, then two (a variance), then more."""
    probes = dict(probes)
    while cost_of(components, probes) > budget + 1e-9 and max(probes.values()) > 1:
        least = 2 if max(probes.values()) > 2 else 1
        larger = [name for name in probes if probes[name] > least]
        probes[max(larger, key=lambda name: components[name].cost * probes[name])] -= 1
    return probes


def _allocate(
    components: Mapping[str, Component],
    parts: Mapping[str, np.ndarray],
    omega: np.ndarray,
    done: dict[str, int],
    target: float,
    budget: float,
) -> dict[str, int]:
    """How many probes of each part bring the standard error to `target` at the least cost, at most twice as many.

    With the variance V_i of one probe of cost c_i the cost sum c_i k_i is least, for a given sum V_i / k_i = target^2,
    at k_i = sqrt(V_i / c_i) sum_j sqrt(V_j c_j) / target^2.
    """
    variances = {name: done[name] * probe_variance(part.sum(2), omega) for name, part in parts.items()}
    wanted = dict(done)
    total = sum(math.sqrt(v * components[name].cost) for name, v in variances.items())
    for name, v in variances.items():
        if components[name].cost == 0.0:  # it is known exactly
            continue
        needed = math.sqrt(v / components[name].cost) * total / target**2 if target > 0 else math.inf
        if math.isnan(needed):  # one probe tells no variance
            needed = math.inf
        wanted[name] = max(done[name], math.ceil(min(needed, 2 * done[name])))
    if wanted == done:  # each alone is precise enough, the sum is not
        wanted = {name: done[name] + (variances[name] > 0) for name in done}
    fits = _within(budget, components, wanted)
    return {name: max(done[name], fits[name]) for name in done}
