"""The traces of the Gauss-Newton and the Fisher matrix of a layer at its weights scaled to unit norm.

The function of a layer that feeds a batch normalisation does not change when its weights are scaled, so that its
curvature at w / ||w|| is that at w times ||w||^2: a size of the curvature apart from the size of the weights.

Legend: N samples, K outputs, T parameter tensors, L layers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from landscape.curvature.output_metrics import Metric, one_tensor
from landscape.errors import NotApplicableError
from landscape.linalg.means import sampling_stderr
from landscape.linalg.trace import BlockEstimate
from landscape.measures.gauss_newton import DEPENDENT, squares_within
from landscape.measures.metering import Progress, announce, metered
from landscape.measures.sharing import Shared
from landscape.measures.trace_estimate import estimate_trace
from landscape.measures.trace_parts import Blocks, Component, Hutchinson
from landscape.problem import Problem
from landscape.problem.fed_layers import normalized_layers
from landscape.records import Record

Kind = Literal["gauss-newton", "fisher"]
Layers = Literal["normalized", "all"]

# The papers' Gauss-Newton matrix has the identity in the outputs.
METRICS: Mapping[Kind, Metric] = {"gauss-newton": "outputs", "fisher": "fisher"}


@metered
def normalized_curvature_trace(
    problem: Problem,
    *,
    rtol: float = 0.05,
    budget: float = 200.0,
    seed: int = 0,
    by: str = "role",
    kind: Kind = "gauss-newton",
    layers: Layers = "normalized",
    members: Mapping[str, Sequence[str]] | None = None,
    shared: Shared | None = None,
    on_progress: Progress | None = None,
) -> Record:
    """||w_l||^2 Tr C_l of each layer l, C_l the diagonal block of its weights w_l in a curvature matrix.

        gauss-newton    C = E J_theta' J_theta          J_theta = df/dtheta
        fisher          C = E J_theta' F_f J_theta      F_f the Fisher information of the model's labels in the outputs

    Both are measured in one go; `kind` says which is the value. Estimated as `ggn_trace`: exact for up to 16 outputs of
    a sample, else by random signs that are fresh for every sample.

    Args:
        problem: the problem.
        rtol: stop at this relative standard error of the sum over the layers, where probes are used.
        budget: gradient-equivalents at most for each kind; decides between the exact way and probes too.
        seed: of the probes.
        by: with `layer` the layers are the record's groups; they are told in any case.
        kind: whose traces are `value` and `layers`.
        layers: `normalized`, those that feed a batch normalisation, where the product means what it says above, or
            `all`, every layer's weights of two or more dimensions.
        members: layer name -> the names of its parameters, in place of `layers`.
        shared: what other measures of the same analysis know.
        on_progress: hears the expected cost.

    Returns:
        A record: `value` the sum over the layers, `layers` with `layers_stderr`, and `kinds`: {value, stderr, layers,
        layers_stderr} of both; `fisher` is missing where the loss defines no label distribution.

    Cost: (1 + 2K)/3 gradient-equivalents for each kind exactly.

    Raises:
        NotApplicableError: no layer feeds a batch normalisation, the outputs are not one tensor, samples depend on each
            other (bn="train"), or the loss defines no label distribution (kind `fisher`).

    Reference: WD section 4.3, equation 13 and figure 7.
    """
    if problem.bn == "train":
        raise NotApplicableError(DEPENDENT)
    if kind == "fisher" and problem.fisher_form is None:
        raise NotApplicableError(f"the loss {problem.loss_name} defines no label distribution")
    one_tensor(problem)
    chosen = members if members is not None else _members(problem, layers)
    shared = shared or Shared(problem)
    found = {
        one: _of_kind(problem, chosen, METRICS[one], rtol, budget, seed, shared, on_progress)
        for one in METRICS
        if one == "gauss-newton" or problem.fisher_form is not None
    }
    kinds = {one.replace("-", "_"): _plain(*estimates[:2]) for one, estimates in found.items()}
    (whole, _, converged), mine = found[kind], kinds[kind.replace("-", "_")]
    return Record(
        value=whole.value,
        stderr=whole.stderr,
        sampling_stderr=whole.sampling_stderr,
        converged=converged,
        groups=mine["layers"] if by == "layer" else {},
        details={
            "layers": mine["layers"],
            "layers_stderr": mine["layers_stderr"],
            **({"groups_stderr": mine["layers_stderr"]} if by == "layer" else {}),
            "kinds": kinds,
        },
    )


def _members(problem: Problem, layers: Layers) -> dict[str, tuple[str, ...]]:
    if layers == "all":
        found: dict[str, tuple[str, ...]] = {}
        for info in problem.infos:
            if len(info.shape) >= 2:
                found[info.layer] = (*found.get(info.layer, ()), info.name)
    else:
        found = normalized_layers(problem)
    if not found:
        what = "has weights of two dimensions" if layers == "all" else "feeds a batch normalisation"
        raise NotApplicableError(f"no layer of this network {what}")
    return found


def _of_kind(
    problem: Problem,
    members: Mapping[str, Sequence[str]],
    metric: Metric,
    rtol: float,
    budget: float,
    seed: int,
    shared: Shared,
    on_progress: Progress | None,
) -> tuple[BlockEstimate, dict[str, BlockEstimate], bool]:
    """The sum over the layers, each layer, and whether the sum is known to `rtol`."""
    theta = problem.parameters
    columns = {name: t for t, name in enumerate(theta)}
    factors_LT = np.zeros((len(members), len(theta)))
    for row, names in enumerate(members.values()):
        square = sum(float(theta[name].double().square().sum()) for name in names)
        factors_LT[row, [columns[name] for name in names]] = square
    blocks = Blocks.of(problem)
    squares = squares_within(problem, blocks, metric, seed=seed, budget=budget, shared=shared)
    if squares is not None and squares.exact:
        announce(on_progress, squares.exact_cost)
        return _exact(problem, squares.values() @ factors_LT.T, members)
    component: Component = squares or Hutchinson(problem, blocks, seed, metric)
    factors_T = factors_LT.sum(0)
    estimate = estimate_trace(
        problem, blocks, {"trace": component}, factors=factors_T, rtol=rtol, budget=budget, on_progress=on_progress
    )
    by_layer = {layer: estimate.of([columns[name] for name in names]) for layer, names in members.items()}
    return estimate.whole(), by_layer, estimate.converged


def _exact(
    problem: Problem, values_NL: np.ndarray, members: Mapping[str, Sequence[str]]
) -> tuple[BlockEstimate, dict[str, BlockEstimate], bool]:
    weights, share = problem.weights.numpy(), len(problem) / problem.population
    own_N = np.divide(values_NL.sum(1) * problem.total_weight, weights, out=np.zeros(len(weights)), where=weights > 0)
    sampling = sampling_stderr(own_N, weights, sampled_share=share)
    by_layer = {layer: BlockEstimate(float(v), 0.0, np.nan) for layer, v in zip(members, values_NL.sum(0), strict=True)}
    return BlockEstimate(float(values_NL.sum()), 0.0, sampling), by_layer, True


def _plain(whole: BlockEstimate, by_layer: Mapping[str, BlockEstimate]) -> dict[str, Any]:
    return {
        "value": whole.value,
        "stderr": whole.stderr,
        "layers": {layer: e.value for layer, e in by_layer.items()},
        "layers_stderr": {layer: e.stderr for layer, e in by_layer.items()},
    }
