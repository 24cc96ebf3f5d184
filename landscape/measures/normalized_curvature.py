"""The trace of the Fisher and of the Gauss-Newton matrix of a layer at its weights scaled to unit norm.

The function of a layer that feeds a batch normalisation does not change when its weights are scaled, so that its
curvature at w / ||w|| is that at w times ||w||^2: a size of the curvature apart from the size of the weights.

Legend: N samples, K outputs, T parameter tensors, B blocks, k probes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from landscape.curvature.gauss_newton import all_columns
from landscape.curvature.per_sample import PerSampleGradients
from landscape.errors import NotApplicableError
from landscape.linalg.precision import wide
from landscape.linalg.probes import rademacher
from landscape.linalg.trace import block_estimate
from landscape.problem import Batch, Problem

Kind = Literal["fisher", "gauss-newton"]
Cotangents = Callable[[Tensor, Batch], Sequence[Tensor]]

_MOST_COLUMNS = 16  # outputs of a sample up to which the trace is exact
_OWN_PROBES = 1_000_006  # keeps the signs apart from those of other measures


def normalized_curvature_trace(
    problem: Problem,
    layers: Mapping[str, Sequence[str]],
    *,
    kind: Kind,
    probes: int = 8,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """||theta_l||^2 Tr C_l of each layer l, C_l the layer's diagonal block of a curvature matrix.

        gauss-newton    C = E J_theta' J_theta          J_theta = df/dtheta
        fisher          C = E J_theta' H_f J_theta      H_f the Hessian of the loss in the outputs

    For softmax cross-entropy the second is the Fisher matrix with labels from the model.

    Args:
        problem: the problem.
        layers: layer name -> the names of its parameters; of layers that feed a batch normalisation, where the
            product means what it says above.
        kind: which matrix.
        probes: random sign vectors a sample, where a sample has more than 16 outputs; with fewer every output is taken.
        seed: of the signs, which are fresh for every block of samples.

    Returns:
        Layer name -> (value, standard error); the error is 0 where every output is taken.

    Cost: 1/3 gradient-equivalent and 2/3 an output or a probe.

    Raises:
        NotApplicableError: the outputs are not one tensor, the loss has no known factor (fisher), or samples depend on
            each other (bn="train").

    Reference: WD section 4.3, equation 13 and figure 7.
    """
    factor = problem.factor
    if kind == "fisher" and factor is None:
        raise NotApplicableError(f"the curvature of the loss {problem.loss_name} in the outputs is not known")
    with torch.no_grad():
        outputs = problem.outputs(problem.parameters, next(problem.batches(0, 1)).inputs)
    if not isinstance(outputs, Tensor):
        raise NotApplicableError("the outputs are not one tensor")
    exact = outputs[0].numel() <= _MOST_COLUMNS

    def cotangents(f: Tensor, batch: Batch) -> list[Tensor]:
        signs = all_columns(f) if exact else [_signs(problem, k, batch, f, seed) for k in range(probes)]
        if kind == "gauss-newton":
            return list(signs)
        assert factor is not None, "refused above"
        return [factor.times(f, batch.targets, e) for e in signs]

    squares_kNT = _squared_products(problem, cotangents, outputs[0].numel() if exact else probes)
    weights = problem.weights.numpy()
    spans = [(low, high) for low, high in problem.blocks() if weights[low:high].sum() > 0]
    omega = np.array([weights[low:high].sum() for low, high in spans]) / problem.total_weight
    theta = problem.parameters
    columns = {name: t for t, name in enumerate(theta)}
    result = {}
    for layer, names in layers.items():
        of_layer_kN = squares_kNT[:, :, [columns[name] for name in names]].sum(2)
        blocks_Bk = np.stack([of_layer_kN[:, low:high].sum(1) for low, high in spans]) / omega[:, None]
        if exact:
            blocks_Bk = blocks_Bk.sum(1, keepdims=True)
        estimate = block_estimate([blocks_Bk], omega, sampled_share=1.0)
        square = sum(float(theta[name].double().square().sum()) for name in names)
        result[layer] = (square * estimate.value, 0.0 if exact else square * estimate.stderr)
    return result


def _squared_products(problem: Problem, cotangents: Cotangents, count: int) -> np.ndarray:
    """w_n/W times ||J_n' c||^2 by cotangent, sample and tensor: (k, N, T)."""
    gradients = PerSampleGradients(problem)
    columns = {name: t for t, name in enumerate(problem.parameters)}
    squares = torch.zeros(count, len(problem), len(columns), dtype=torch.float64)
    share = problem.weights.double() / problem.total_weight
    for batch in problem.batches():
        shape, kind = (count, len(batch), len(columns)), wide(problem.device)
        sums_kNT = torch.zeros(shape, dtype=kind, device=problem.device)

        def choose(f: Tensor, batch: Batch = batch) -> Sequence[Tensor]:
            return cotangents(f, batch)

        def reduce(number: int, name: str, piece: int, rows: slice, G: Tensor, sums_kNT: Tensor = sums_kNT) -> None:
            sums_kNT[number, rows, columns[name]] += G.square_().sum(1, dtype=sums_kNT.dtype)

        gradients.pull(batch, choose, reduce)
        squares[:, batch.start : batch.stop] = sums_kNT.double().cpu()
    result: np.ndarray = problem.group.sum_array((squares * share[None, :, None]).numpy())
    return result


def _signs(problem: Problem, probe: int, batch: Batch, outputs: Tensor, seed: int) -> Tensor:
    """Random signs of the shape of a batch's outputs: those of its blocks, whatever the batch size."""
    block, pieces = problem.block_size, []
    for b in range(batch.start // block, (batch.stop - 1) // block + 1):
        low, high = b * block, min((b + 1) * block, len(problem))
        size = (high - low) * outputs[0].numel()
        e = rademacher(size, seed, _OWN_PROBES, probe, b, dtype=outputs.dtype).view(-1, *outputs.shape[1:])
        pieces.append(e[max(batch.start - low, 0) : batch.stop - low])
    return torch.cat(pieces).to(outputs.device)
