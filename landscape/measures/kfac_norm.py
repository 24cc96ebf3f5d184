"""The Gauss-Newton norm in the Kronecker-factored approximation.

Legend: N samples, K outputs, B blocks, k probes, L layers, T locations, G groups of channels, O outputs of a group.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from landscape.curvature.gauss_newton import Cotangents, all_columns
from landscape.curvature.layer_outputs import LayerOutputs
from landscape.curvature.output_metrics import one_tensor
from landscape.errors import NotApplicableError
from landscape.linalg.means import sampling_stderr
from landscape.linalg.precision import wide
from landscape.linalg.trace import block_estimate
from landscape.measures.gauss_newton import DEPENDENT
from landscape.measures.metering import Progress, announce, metered
from landscape.measures.trace_estimate import TraceEstimate, estimate_trace
from landscape.measures.trace_parts import FEW_OUTPUTS, Blocks, block_signs
from landscape.problem import Batch, Problem
from landscape.records import Record
from landscape.work import WEIGHTS

_OWN_PROBES = 1_000_022  # keeps the signs apart from those of other measures


@metered
def kfac_gn_norm(
    problem: Problem,
    *,
    rtol: float = 0.05,
    budget: float = 200.0,
    seed: int = 0,
    by: str = "role",
    on_progress: Progress | None = None,
) -> Record:
    """The squared norm of theta in the K-FAC approximation of the Gauss-Newton matrix of the outputs.

        sum_l T_l tr(W_l A_l W_l' S_l),   A_l = E[a a'],   S_l = E[s s'],   E[s s'] = E[J_l' J_l]

    over the linear layers and convolutions l with T_l locations: a is the layer's input with a 1 appended for the bias,
    W_l its weights with the bias as a last column, J_l the Jacobian of the network's outputs in the layer's output;
    both means run over samples and locations. As z = W_l a is the layer's output, it is T_l tr(Z_l S_l) with Z_l =
    E[z z']: the factor A_l is never formed. A convolution in groups has a pair of factors for each group.

    A linear network without biases and with L + 1 layers has (L + 1) E||f||^2; with whitened inputs that is
    (L + 1) ||J_x||_F^2.

    Args:
        problem: the problem.
        rtol: stop at this relative standard error where probes are used.
        budget: gradient-equivalents at most; decides between the exact way and probes too.
        seed: of the probes.
        by: with `layer` the layers are the record's groups; they are told in any case.
        on_progress: hears the running estimate.

    Returns:
        A record: `value`; `layers`, which add up to it; `left_out`, the parameters that have no such factors
        (of normalisation, embeddings, recurrent layers) and how many; `exact`, else `layers_stderr`, `probes`,
        `blocks`.
        `sampling_stderr` is to first order in both factors.

    Cost: 2/3 + 2K/3 gradient-equivalents for up to 16 outputs, else 2/3 a probe; 1/3 more where the samples are a
    subset.

    Raises:
        NotApplicableError: samples depend on each other (bn="train"), the outputs are not one tensor, no layer has such
            factors, or a layer's weights are used more than once.

    Reference: WD section 4.2, lemma 2 and theorem 1.
    """
    if problem.bn == "train":
        raise NotApplicableError(DEPENDENT)
    outputs = one_tensor(problem)[0].numel()
    forms = _Forms(problem, LayerOutputs(problem), seed)
    blocks, share = forms.blocks, len(problem) / problem.population
    exact_cost = 2 * WEIGHTS["forward"] + WEIGHTS["backward"] * outputs
    exact = outputs <= FEW_OUTPUTS and exact_cost <= budget
    if exact:
        announce(on_progress, exact_cost)
        values_NL = forms.exact()
        probed_BkL = np.repeat(forms.of_blocks(values_NL)[:, None, :], 2, axis=1)
        found = TraceEstimate(blocks, {"trace": probed_BkL}, True, share)
    else:
        found = estimate_trace(problem, blocks, {"trace": forms}, rtol=rtol, budget=budget, on_progress=on_progress)
        values_NL = np.empty(0)
    whole = found.whole()
    by_layer = {name: found.of([column]) for column, name in enumerate(forms.names)}
    values = {name: e.value for name, e in by_layer.items()}
    errors = {name: e.stderr for name, e in by_layer.items()}
    details: dict[str, Any] = {
        "layers": values,
        "exact": exact,
        "outputs": outputs,
        "left_out": {info.name: info.size for info in problem.infos if info.name not in forms.covered},
    }
    if not exact:
        details |= {
            "layers_stderr": errors,
            "probes": found.parts["trace"].shape[1],
            "blocks": len(blocks.spans),
        }
        if by == "layer":
            details["groups_stderr"] = errors
    sampling = 0.0
    if share < 1:
        other_NL = forms.other_side()
        if exact:
            weights = problem.weights.numpy()
            both_N = (values_NL + other_NL).sum(1)
            own_N = np.divide(both_N * problem.total_weight, weights, out=np.zeros(len(weights)), where=weights > 0)
            sampling = sampling_stderr(own_N, weights, sampled_share=share)
        else:
            other_Bk = np.repeat(forms.of_blocks(other_NL).sum(1)[:, None], 2, axis=1)
            parts = [found.parts["trace"].sum(2), other_Bk]
            sampling = block_estimate(parts, blocks.omega, sampled_share=share).sampling_stderr
    return Record(
        value=whole.value,
        stderr=whole.stderr,
        sampling_stderr=sampling,
        converged=found.converged,
        groups=values if by == "layer" else {},
        details=details,
    )


class _Forms:
    """s' Z s of the gradients at the layers' outputs, by sample and layer; a `Component` of a trace.

    Attributes:
        names: the layers.
        covered: their parameters.
        blocks: the blocks of samples.
    """

    def __init__(self, problem: Problem, outputs: LayerOutputs, seed: int) -> None:
        self._problem, self._outputs, self._seed = problem, outputs, seed
        self.names = [layer.name for layer in outputs.layers]
        self.covered = {name for layer in outputs.layers for name in layer.names}
        self.blocks = Blocks.of(problem)
        self.cost, self.first = WEIGHTS["backward"], 2 * WEIGHTS["forward"]
        self.fixed: np.ndarray | float = 0.0
        self._Z = self._output_moments()
        self._S: dict[str, Tensor] = {name: torch.zeros_like(Z) for name, Z in self._Z.items()}
        self._drawn = 0

    def exact(self) -> np.ndarray:
        """w_n/W sum_k s_nk' Z s_nk for every unit vector k of the outputs, (N, L)."""
        values_NL = np.zeros((len(self._problem), len(self.names)))
        for batch in self._problem.batches():
            values_NL[batch.start : batch.stop] = self._of_batch(batch, all_columns).sum(0).numpy()
        self._drawn = 1
        return self._problem.group.sum_array(values_NL)

    def sweep(self, probes: range) -> np.ndarray:
        """As `Component`, with layers in place of tensors."""
        problem = self._problem
        found = np.zeros((len(problem.blocks()), len(probes), len(self.names)))
        if not len(probes):
            return found[[b for b, _, _ in self.blocks.spans]]
        for batch in problem.batches():

            def signs(f: Tensor, batch: Batch = batch) -> list[Tensor]:
                return [block_signs(problem, batch, f, self._seed, _OWN_PROBES, k) for k in probes]

            of_block = np.arange(batch.start, batch.stop) // problem.block_size
            np.add.at(found, of_block, self._of_batch(batch, signs).transpose(0, 1).numpy())
        self._drawn += len(probes)
        counted = [b for b, _, _ in self.blocks.spans]
        result: np.ndarray = problem.group.sum_array(found)[counted] / self.blocks.omega[:, None, None]
        return result

    def other_side(self) -> np.ndarray:
        """w_n/W sum_t z_t' S z_t by sample and layer, (N, L). Cost: a forward pass."""
        S = {name: self._problem.group.sum(total.clone()) / self._drawn for name, total in self._S.items()}
        values_NL = np.zeros((len(self._problem), len(self.names)))
        for batch in self._problem.batches():
            z = self._outputs.outputs(batch)
            values_NL[batch.start : batch.stop] = torch.stack(
                [_form(z[name], S[name]) * self._share(batch) for name in self.names], dim=1
            ).cpu()
        return self._problem.group.sum_array(values_NL)

    def of_blocks(self, values_NL: np.ndarray) -> np.ndarray:
        """Sums over the samples of each block over its weight, (B, L)."""
        sums = np.stack([values_NL[low:high].sum(0) for _, low, high in self.blocks.spans])
        result: np.ndarray = sums / self.blocks.omega[:, None]
        return result

    def _of_batch(self, batch: Batch, cotangents: Cotangents) -> Tensor:
        """w_n/W sum_t s_t' Z s_t by cotangent, sample and layer, (r, N, L); S takes the cotangents too."""
        rows, share = [], self._share(batch)
        for s in self._outputs.gradients(batch, cotangents):
            rows.append(torch.stack([_form(s[name], self._Z[name]) * share for name in self.names], dim=1))
            for name, gradient in s.items():
                self._S[name] += _moment(gradient, share)
        return torch.stack(rows).cpu()

    def _output_moments(self) -> dict[str, Tensor]:
        """Z of each layer, (G, O, O)."""
        found: dict[str, Tensor] = {}
        for batch in self._problem.batches():
            for name, z in self._outputs.outputs(batch).items():
                moment = _moment(z, self._share(batch))
                found[name] = found[name] + moment if name in found else moment
        if not found:  # a process without samples
            one = next(self._problem.batches(0, 1))
            nothing = 0 * self._share(one)
            found = {name: _moment(z, nothing) for name, z in self._outputs.outputs(one).items()}
        return {name: self._problem.group.sum(moment) for name, moment in found.items()}

    def _share(self, batch: Batch) -> Tensor:
        return (batch.weights.to(wide(self._problem.device)) / self._problem.total_weight).to(self._problem.device)


def _moment(x_NGTO: Tensor, share_N: Tensor) -> Tensor:
    """sum_n w_n/W mean_t x x', (G, O, O)."""
    weights = (share_N.to(x_NGTO) / x_NGTO.shape[2]).view(-1, 1, 1, 1)
    flat = x_NGTO.transpose(0, 1).flatten(1, 2)
    return ((x_NGTO * weights).transpose(0, 1).flatten(1, 2).mT @ flat).to(share_N.dtype)


def _form(x_NGTO: Tensor, M_GOO: Tensor) -> Tensor:
    """sum over groups and locations of x' M x for each sample, (N,)."""
    return ((x_NGTO @ M_GOO.to(x_NGTO)) * x_NGTO).flatten(1).sum(1, dtype=M_GOO.dtype)
