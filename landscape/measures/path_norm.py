"""The path norm: the size of all products of weights along paths from an input to an output."""

from __future__ import annotations

import math

import torch

from landscape.curvature.squared_network import PathSums
from landscape.errors import NotApplicableError
from landscape.measures.metering import Progress, announce, metered
from landscape.problem import Problem
from landscape.records import Record
from landscape.work import charge


@metered
def path_norm(problem: Problem, *, power: int = 2, on_progress: Progress | None = None) -> Record:
    """The norm of the vector of all path products, (sum over paths of prod over the path of |w|^p)^(1/p).

    A path leads from an input value or a bias to an output. Batch normalisation by running statistics is an affine
    layer, folded: its scale and shift are weights of the path. The sum comes from one forward pass of an input of ones
    through the network with |w|^p for w and no activations; it is taken in float64. Where a maximum is pooled, the
    largest of the sums counts.

    Args:
        problem: the problem; only the shape of its first sample matters.
        power: p, 1 or 2.
        on_progress: hears the expected cost.

    Returns:
        A record: `value`, exact for the network, whatever the data; `log` of it; `power`.

    Cost: a forward pass of one sample.

    Raises:
        NotApplicableError: the network has an operation over which paths are not defined (tanh, softmax, layer
            normalisation, ...), or its input is not one floating tensor.

    Reference: Neyshabur, Tomioka and Srebro 2015, section 2; Jiang et al. 2020, appendix C.5; Gonon et al. 2024.
    """
    announce(on_progress, 1 / (3 * len(problem)))
    batch = next(problem.batches(0, 1))
    if problem.bn == "train":
        raise NotApplicableError("batch statistics make no fixed weights; paths need --bn eval")
    if not isinstance(batch.inputs, torch.Tensor) or not batch.inputs.is_floating_point():
        raise NotApplicableError("the inputs are not one floating-point tensor, so no path begins there")
    counts = int(problem.weights.nonzero()[0])
    one = problem.choose(torch.tensor([counts]), dtype=torch.float64)
    theta, ones = one.parameters, torch.ones_like(next(one.batches(0, 1)).inputs)
    with torch.no_grad(), PathSums(power):
        sums = one.outputs(theta, ones, plain=True)
    charge("forward", 1)
    total = float(sums.sum())
    return Record(
        value=total ** (1 / power),
        stderr=0.0,
        sampling_stderr=0.0,
        details={"log": math.log(total) / power if total > 0 else math.nan, "power": power},
    )
