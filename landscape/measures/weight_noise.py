"""Weight noise: the share of a layer's weights that no input reaches.

Legend: d values of an input row, G groups of channels, C_out output units.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from landscape.curvature.layer_inputs import input_grams, weight_layers
from landscape.errors import NotApplicableError
from landscape.measures.metering import Progress, announce, metered
from landscape.problem import Problem
from landscape.records import Record
from landscape.work import WEIGHTS


@metered
def weight_noise(
    problem: Problem, *, tolerance: float = 1e-6, largest: int = 4096, on_progress: Progress | None = None
) -> Record:
    """||(I - P) w||^2 / ||w||^2, with P the projector on the span of the inputs that a layer's weights meet.

    The rows of a weight are its units' weight vectors; the inputs are those of a linear layer, or the patches of a
    convolution, over the chosen samples. Plain gradient descent moves w within the span alone: what lies outside is
    left from the initialisation, unless weight decay shrinks it. P comes from the eigenvectors of the inputs' Gram
    matrix whose singular values are above `tolerance` times the largest.

    Args:
        problem: the problem; the training samples without augmentation, where the number is to speak of the training.
        tolerance: of singular values, relative; not below 1e-7, to which a Gram matrix in float64 knows them.
        largest: layers whose rows have more values are left out and named: the cost grows as d^3.
        on_progress: hears the expected cost.

    Returns:
        A record: `value` sum_l ||(I - P_l) w_l||^2 / sum_l ||w_l||^2 over the layers; `groups` the share by layer;
        `ranks` of the spans and `sizes` d by layer; `left_out`. It is exact for the chosen samples; more samples can
        only lower it, so that `sampling_stderr` is not known unless all are used.

    Cost: 1/3 gradient-equivalent, and for each layer an eigendecomposition (d, d).

    Raises:
        NotApplicableError: no linear or convolution layer is left, or all their weights are zero.

    Reference: arXiv:2102.03497, section 3; the ratio is our reading of its weight noise.
    """
    layers = weight_layers(problem)
    sizes = {name: problem.parameters[name][0].numel() for name in layers}
    left_out = [name for name, d in sizes.items() if d > largest]
    layers = {name: modules for name, modules in layers.items() if name not in left_out}
    if not layers:
        raise NotApplicableError("the network has no linear or convolution layer of a size that can be decomposed")
    announce(on_progress, WEIGHTS["forward"])
    grams = input_grams(problem, layers)
    of_layer = {info.name: info.layer for info in problem.infos}
    outside: dict[str, float] = {}
    whole: dict[str, float] = {}
    ranks: dict[str, int] = {}
    for name, gram in grams.items():
        weight = problem.parameters[name].double().flatten(1)
        label = of_layer[name]
        outside[label], ranks[label] = _outside(weight, gram, tolerance)
        whole[label] = float(weight.square().sum())
    total = sum(whole.values())
    if total == 0:
        raise NotApplicableError("all weights are zero")
    return Record(
        value=sum(outside.values()) / total,
        stderr=0.0,
        sampling_stderr=0.0 if len(problem) >= problem.population else math.nan,
        groups={label: outside[label] / whole[label] for label in whole if whole[label] > 0},
        details={
            "ranks": ranks,
            "sizes": {of_layer[name]: sizes[name] for name in layers},
            "left_out": left_out,
            "tolerance": tolerance,
        },
    )


def _outside(weight: Tensor, gram_Gdd: Tensor, tolerance: float) -> tuple[float, int]:
    """||(I - P) w||^2 over the rows of a weight, and the ranks of the groups' spans added up."""
    parts = weight.chunk(len(gram_Gdd))
    outside, rank = 0.0, 0
    for part, gram in zip(parts, gram_Gdd, strict=True):
        values, vectors = torch.linalg.eigh(gram)
        inside = values > tolerance**2 * values[-1].clamp_min(0)
        rank += int(inside.sum())
        outside += float((part @ vectors[:, ~inside]).square().sum())
    return outside, rank
