"""Norms of the weights themselves: of each layer, and of the way from the initial weights. They take no data.

Legend: L weight layers.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from landscape.errors import NotApplicableError
from landscape.measures.metering import Progress, announce, metered
from landscape.parameters import group_parameters
from landscape.problem import Problem
from landscape.records import Record

_WEIGHTS = ("conv.weight", "linear.weight", "embedding.weight")


@metered
def spectral_norms(problem: Problem, *, on_progress: Progress | None = None) -> Record:
    """The spectral norm sigma_1(W_l) of each weight layer, and their geometric mean.

        value = (prod_l sigma_1(W_l))^(1/L)

    W_l is the weight as a matrix of one row an output unit: for a convolution (C_out, C_in k^2), the operator on a
    patch, whose norm is between 1/k and 1 times that of the whole convolution. The product over layers bounds the
    Lipschitz constant of a network without skips; its geometric mean orders networks of one architecture alike and does
    not overflow.

    Args:
        problem: the problem.
        on_progress: hears the expected cost.

    Returns:
        A record: `value`, exact; `groups` the norm by layer; `log_product` sum_l log sigma_1; by layer also
        `frobenius` and `stable_rank`, ||W||_F^2 / sigma_1^2.

    Cost: no pass over the data; a singular value decomposition of each weight.

    Raises:
        NotApplicableError: there is no weight layer, or one of them is zero.

    Reference: Bartlett, Foster and Telgarsky 2017, equation 1.2; Yoshida and Miyato 2017, section 3 (the matrix).
    """
    announce(on_progress, 0.0)
    theta = problem.parameters
    spectral: dict[str, float] = {}
    frobenius: dict[str, float] = {}
    for info in problem.infos:
        if info.role in _WEIGHTS:
            matrix = theta[info.name].double().flatten(1).cpu()
            label = info.layer if info.layer not in spectral else info.name
            spectral[label] = float(torch.linalg.matrix_norm(matrix, 2))
            frobenius[label] = float(matrix.norm())
    if not spectral:
        raise NotApplicableError("the network has no linear, convolution or embedding weight")
    zero = next((layer for layer, norm in spectral.items() if norm == 0), None)
    if zero is not None:
        raise NotApplicableError(f"the weight of {zero} is zero")
    log_product = sum(math.log(norm) for norm in spectral.values())
    return Record(
        value=math.exp(log_product / len(spectral)),
        stderr=0.0,
        sampling_stderr=0.0,
        groups=spectral,
        details={
            "log_product": log_product,
            "frobenius": frobenius,
            "stable_rank": {layer: (frobenius[layer] / norm) ** 2 for layer, norm in spectral.items()},
        },
    )


@metered
def frobenius_distance(problem: Problem, *, by: str = "role", on_progress: Progress | None = None) -> Record:
    """The distance of the parameters from where the training began, ||theta - theta_0||_2.

    Args:
        problem: the problem; it knows the initial weights where its checkpoint does.
        by: how parameters are grouped.
        on_progress: hears the expected cost.

    Returns:
        A record: `value`, exact; `groups`: the distance by substructure (their squares add up); `norm` ||theta||,
        `initial_norm` ||theta_0||, `cosine` of the angle between the two.

    Cost: no pass over the data.

    Raises:
        NotApplicableError: the initial weights are not known.

    Reference: Nagarajan and Kolter 2019 (uniform convergence), section 2; Jiang et al. 2020, appendix C.4.
    """
    initial = problem.training.initial
    if initial is None:
        raise NotApplicableError(
            "the initial weights are not known; name a checkpoint of them (--initial), or analyze final.pt in its run "
            "folder"
        )
    announce(on_progress, 0.0)
    theta = {name: tensor.double().cpu() for name, tensor in problem.parameters.items()}
    start = {name: initial[name].double().cpu() for name in theta}
    squares = {name: float((theta[name] - start[name]).square().sum()) for name in theta}
    groups = group_parameters(problem.infos, by)
    norms = [math.sqrt(sum(float(t.square().sum()) for t in tensors.values())) for tensors in (theta, start)]
    inner = sum(_inner(theta[name], start[name]) for name in theta)
    return Record(
        value=math.sqrt(sum(squares.values())),
        stderr=0.0,
        sampling_stderr=0.0,
        groups={group: math.sqrt(sum(squares[name] for name in names)) for group, names in groups.items()},
        details={
            "norm": norms[0],
            "initial_norm": norms[1],
            "cosine": inner / (norms[0] * norms[1]) if norms[0] * norms[1] > 0 else math.nan,
        },
    )


def _inner(a: Tensor, b: Tensor) -> float:
    return float((a * b).sum())
