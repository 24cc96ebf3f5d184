"""Relative flatness of a linear layer: its weights' inner products times the traces of its Hessian's blocks.

Legend: B blocks, k probes, d outputs and m inputs of the layer.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from landscape.curvature.hessian import block_forms
from landscape.curvature.layer_inputs import weight_layers
from landscape.curvature.products import Way
from landscape.errors import NotApplicableError, OptionError, near
from landscape.linalg.probes import rademacher
from landscape.measures.metering import Progress, metered
from landscape.measures.trace_estimate import estimate_trace
from landscape.measures.trace_parts import Blocks
from landscape.problem import Problem
from landscape.records import Record
from landscape.work import WEIGHTS

_OWN_PROBES = 1_000_021  # keeps the signs apart from those of other measures


@metered
def relative_flatness(
    problem: Problem,
    *,
    layer: str | None = None,
    rtol: float = 0.05,
    budget: float = 200.0,
    seed: int = 0,
    hvp: Way = "exact",
    on_progress: Progress | None = None,
) -> Record:
    """kappa = sum_{s,s'} <w_s, w_s'> Tr H_{s,s'} for one layer with weight rows w_s, s = 1 .. d.

    H_{s,s'} (m, m) is the block of the loss's Hessian in the weights of the units s and s'. With V = W U for random
    signs U (m, m), v' H v has the expectation kappa, so that probes estimate it with a standard error as they do a
    trace. Layer-wise rescalings of a network of ReLU do not change it.

    Args:
        problem: the problem.
        layer: name of a linear layer; the last one by default.
        rtol: stop at this relative standard error.
        budget: gradient-equivalents at most.
        seed: of the probes.
        hvp: how products are made.
        on_progress: hears the running estimate.

    Returns:
        A record: `value` kappa with `stderr` and `sampling_stderr`; `layer`, `probes` a block, `blocks`.

    Cost: 2.4 gradient-equivalents a probe by convention; less, since no gradient goes below the layer.

    Raises:
        NotApplicableError: the network has no linear layer.
        OptionError: `layer` is none of them (near names are offered).

    Reference: Petzka et al. 2021, "Relative flatness and generalization", definition 3 and equation 6.
    """
    linears = {info.layer: info.name for info in problem.infos if info.role == "linear.weight"}
    if not linears:
        raise NotApplicableError("the network has no linear layer")
    if layer is not None and layer not in linears:
        raise OptionError(f"relative_flatness: no linear layer {layer!r}.{near(layer, linears)}")
    chosen = _last(problem, linears) if layer is None else layer
    name = linears[chosen]
    blocks = Blocks.of(problem)
    component = _Neurons(problem, blocks, name, seed, hvp)
    found = estimate_trace(problem, blocks, {"layer": component}, rtol=rtol, budget=budget, on_progress=on_progress)
    whole = found.whole()
    return Record(
        value=whole.value,
        stderr=whole.stderr,
        sampling_stderr=whole.sampling_stderr,
        converged=found.converged,
        details={"layer": chosen, "probes": found.parts["layer"].shape[1], "blocks": len(blocks.spans)},
    )


def _last(problem: Problem, linears: Mapping[str, str]) -> str:
    """The linear layer that runs last."""
    ran: list[str] = []
    modules = weight_layers(problem)
    handles = [
        module.register_forward_hook(lambda *_, layer=layer: ran.append(layer))
        for layer, name in linears.items()
        for module in modules.get(name, ())
    ]
    try:
        with torch.no_grad():
            problem.outputs(problem.parameters, next(problem.batches(0, 1)).inputs)
    finally:
        for handle in handles:
            handle.remove()
    if not ran:
        raise NotApplicableError("no linear layer of the network is run as a module")
    return ran[-1]


class _Neurons:
    """(W U)' H (W U) of one layer for signs U; see `landscape.measures.trace_parts.Component`."""

    def __init__(self, problem: Problem, blocks: Blocks, name: str, seed: int, hvp: Way) -> None:
        self._problem, self._blocks, self._name, self._seed, self._hvp = problem, blocks, name, seed, hvp
        self.cost, self.first = WEIGHTS["hessian_product"], 0.0
        self.fixed: np.ndarray | float = 0.0

    def sweep(self, probes: range) -> np.ndarray:
        """The forms of these probes by block and tensor, (B, k, T); zero but for the layer's weight."""
        problem, name = self._problem, self._name
        W = problem.parameters[name]
        column = [info.name for info in problem.infos].index(name)
        values = np.zeros((len(self._blocks.spans), len(probes), len(problem.infos)))
        own = {b for b, _, _ in problem.own_blocks()}
        for row, (b, low, high) in enumerate(self._blocks.spans):
            if b in own:
                V = torch.stack([(W @ self._signs(k, b, W)).reshape(-1) for k in probes], dim=1)
                forms = block_forms(problem, {name: W}, low, high, V, way=self._hvp)
                values[row, :, column] = forms.sum(0).numpy()
        result: np.ndarray = problem.group.sum_array(values) / self._blocks.omega[:, None, None]
        return result

    def _signs(self, probe: int, block: int, W: torch.Tensor) -> torch.Tensor:
        m = W.shape[1]
        signs = rademacher(m * m, self._seed, _OWN_PROBES, probe, block, dtype=W.dtype, device=W.device)
        return signs.view(m, m)
