"""The distribution of normalised input margins.

Legend: N samples, K classes, d input values.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from landscape.curvature.jacobian import InputJacobian, LayerJacobian
from landscape.errors import NotApplicableError
from landscape.linalg.means import quantile_stderr
from landscape.measures.distribution import histogram, quantiles
from landscape.measures.metering import Progress, announce, metered
from landscape.problem import Batch, Problem
from landscape.records import Record


@metered
def margin(
    problem: Problem, *, seed: int = 0, layers: Sequence[str] = (), on_progress: Progress | None = None
) -> Record:
    """Distances to the decision boundary in input space, to first order, normalised by the spread of the inputs.

        d_n = (f_i - f_j) / ||grad_x (f_i - f_j)||_2 / sqrt(Tr Cov(x)),   i the label, j = argmax_{k != i} f_k

    d_n is negative where the sample is misclassified. The signature is the three quartiles and the two fences (the most
    extreme margins within 1.5 interquartile ranges of the quartiles). With `layers` also in the output h of each of
    these modules: the gradient is that in h, the spread that of h.

    Args:
        problem: the problem.
        seed: of the bootstrap.
        layers: names of modules whose outputs are one floating tensor a sample.
        on_progress: hears the expected cost.

    Returns:
        A record: `value` the median, exact on the chosen samples; `q1 median q3 lower_fence upper_fence`,
            `middle_mean` (mean of the
        margins within [Q1, Q3], TP), `misclassified` (share of negative margins), `total_variation` (Tr Cov(x)),
        `undefined` (samples whose gradient is zero, left out), `histogram`; `hidden`: the same signature by layer.
        `sampling_stderr` by bootstrap.

    Cost: 1 gradient-equivalent, and one more for each layer.

    Raises:
        NotApplicableError: the outputs are not (N, K) logits with integer labels, the inputs are not one floating
            tensor, samples depend on each other (bn="train"), or every gradient is zero.
        OptionError: the network has no such module (near names are offered), or its output is no floating tensor.

    Reference: Elsayed et al. 2018; Jiang et al. 2018; TP appendix A.1 (whose text says gradient with respect to the
    parameters; it is the input).
    """
    if not problem.classes:
        raise NotApplicableError("margins need logits of shape (N, K) and integer labels")
    if problem.bn == "train":
        raise NotApplicableError("with --bn train the samples of a group depend on each other")
    announce(on_progress, 1.0 + len(layers))
    for layer in (None, *layers):  # whether it applies is known to every process
        _jacobian(problem, next(problem.batches(0, 1)), layer)
    places: list[str | None] = [None, *layers]
    of_place = {place: _distances(problem, place) for place in places}
    defined, undefined, variation = of_place[None]
    share = len(problem) / problem.population
    hidden = {
        place: {**_signature(found), "total_variation": spread, "undefined": lost}
        for place, (found, lost, spread) in of_place.items()
        if place is not None
    }
    signature = _signature(defined)
    return Record(
        value=signature["median"],
        stderr=0.0,
        sampling_stderr=quantile_stderr(defined, 0.5, sampled_share=share, seed=seed),
        details={
            **signature,
            "total_variation": variation,
            "undefined": undefined,
            "histogram": histogram(defined, anchor=0.0),
            **({"hidden": hidden} if hidden else {}),
        },
    )


def _distances(problem: Problem, layer: str | None) -> tuple[np.ndarray, int, float]:
    """The normalised margins that are defined, how many are not, and the total variation of what they are taken in."""
    values_N2 = np.zeros((len(problem), 2))  # the margin before it is normalised, and whether the sample counts
    sums: list[Tensor] = []
    for batch in problem.batches():
        jacobian = _jacobian(problem, batch, layer)
        kept = (batch.weights > 0) & (batch.targets >= 0)
        labels = torch.where(kept, batch.targets, 0)
        f = jacobian.outputs.detach()
        true = torch.nn.functional.one_hot(labels, f.shape[1]).to(f)
        other = torch.nn.functional.one_hot(f.masked_fill(true.bool(), -torch.inf).argmax(1), f.shape[1]).to(f)
        gap = ((true - other) * f).sum(1)
        rows = slice(batch.start, batch.stop)
        margins = gap / jacobian.vjp(true - other).norm(dim=1)
        values_N2[rows, 0] = torch.where(kept, margins, 0).double().cpu()
        values_N2[rows, 1] = kept.cpu()
        if layer is not None:
            sums.append(_sums(jacobian.at))
    variation = total_variation(problem) if layer is None else _variation(problem, sums)
    values_N2 = problem.group.sum_array(values_N2)
    distances = values_N2[values_N2[:, 1] > 0, 0] / np.sqrt(variation) if variation > 0 else np.empty(0)
    defined = distances[np.isfinite(distances)]
    if len(defined) == 0:
        where = "the inputs" if layer is None else f"the outputs of {layer}"
        raise NotApplicableError(f"the gradient of every margin, or the spread of {where}, is zero")
    return defined, len(distances) - len(defined), variation


def _jacobian(problem: Problem, batch: Batch, layer: str | None) -> InputJacobian | LayerJacobian:
    theta = problem.parameters
    return InputJacobian(problem, theta, batch) if layer is None else LayerJacobian(problem, theta, batch, layer)


def _signature(defined: np.ndarray) -> dict[str, float]:
    """Quartiles, fences, the mean of the middle and the share of negative ones."""
    q = quantiles(defined)
    reach = 1.5 * (q["q3"] - q["q1"])
    inside = defined[(defined >= q["q1"] - reach) & (defined <= q["q3"] + reach)]
    middle = defined[(defined >= q["q1"]) & (defined <= q["q3"])]
    return {
        **q,
        "lower_fence": float(inside.min()),
        "upper_fence": float(inside.max()),
        "middle_mean": float(middle.mean()) if len(middle) else q["median"],
        "misclassified": float((defined < 0).mean()),
    }


def total_variation(problem: Problem) -> float:
    """Tr Cov(x) over the chosen samples: the sum over input values of their population variance."""
    mean = _input_mean(problem)
    total = 0.0
    for batch in problem.batches():
        total += float((batch.inputs.double().reshape(len(batch), -1) - mean).square().sum())
    return float(problem.group.sum_array(np.array(total))) / len(problem)


def _input_mean(problem: Problem) -> Tensor:
    first = next(problem.batches(0, 1)).inputs
    total = torch.zeros(first.numel(), dtype=torch.float64, device=problem.device)
    for batch in problem.batches():
        total += batch.inputs.double().reshape(len(batch), -1).sum(0)
    return problem.group.sum(total) / len(problem)


def _sums(h_N: Tensor) -> Tensor:
    """Of vectors h_n: (sum_n ||h_n||^2, sum_n h_n), one vector in float64."""
    h_Nd = h_N.double().flatten(1)
    return torch.cat([h_Nd.square().sum()[None], h_Nd.sum(0)])


def _variation(problem: Problem, sums: Sequence[Tensor]) -> float:
    """Tr Cov(h) = E ||h||^2 - ||E h||^2 over all samples."""
    if not sums:  # a process without samples does not know the size: it has the others' by their sum
        raise NotApplicableError("margins in a layer need at least a block of samples for each process")
    total = problem.group.sum(torch.stack(list(sums)).sum(0)) / len(problem)
    return float((total[0] - total[1:].square().sum()).clamp_min(0))
