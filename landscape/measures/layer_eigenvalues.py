"""The largest Hessian eigenvalue of each layer's own diagonal block.

Legend: P_s parameters of a block s, m Lanczos steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from landscape.curvature.hessian import HessianOperator
from landscape.curvature.layer_order import Use, uses
from landscape.curvature.products import Way
from landscape.measures.eigenvalues import rayleigh_sampling_stderr
from landscape.measures.krylov import Spectrum, affordable_products, krylov_run, until_certain
from landscape.measures.metering import Progress, announce, metered
from landscape.parameters import group_parameters
from landscape.problem import Problem
from landscape.records import Record
from landscape.work import WEIGHTS, through_part

WEIGHT_BLOCKS = "weights"
_MORE = 1.5  # times a block's share of the products; most settle with fewer
_LAYERS = 1_000_008  # keeps the starts apart from those of other runs


@metered
def layer_top_eigenvalues(
    problem: Problem,
    *,
    rtol: float = 0.05,
    budget: float = 200.0,
    seed: int = 0,
    by: str = "role",
    hvp: Way = "exact",
    blocks: str = WEIGHT_BLOCKS,
    on_progress: Progress | None = None,
) -> Record:
    """The largest eigenvalue lambda_1(H_ss) of each diagonal block H_ss of the Hessian, one for every weight tensor.

    Lanczos on each block alone. A product with H_ss needs the graph of the layers from s on alone, so that the blocks
    of late layers, the last one's above all, cost next to nothing. By interlacing lambda_1(H_ss) <= lambda_1(H).

    Args:
        problem: the problem.
        rtol: relative error of each eigenvalue to reach.
        budget: gradient-equivalents at most, for all blocks together: each may take half as many products again as
            would be its share, and what it leaves goes to the next. The last layers come first.
        seed: of the start vectors.
        by: where the blocks are such a grouping they are the record's groups; they are told in any case.
        hvp: how products are made (see `landscape.curvature.products`).
        blocks: `weights`, a block for each tensor of two or more dimensions (every tensor where there is none), or a
            grouping of the parameters as for `by` of other measures: `layer`, `role`, `tensor`, patterns.
        on_progress: hears which block is at work.

    Returns:
        A record: `value` the largest of the blocks' eigenvalues with its error bound; `blocks`: {value, stderr (error
        bound), most_negative (lowest Ritz value), products, settled (whether the error is at most rtol)} of each;
        `largest`, the block of `value`; `last_layer`, the block of the weights that the forward pass uses last, and
        `last_layer_value`. `sampling_stderr` is to first order that of `value`.

    Cost: a product counts 2.4 gradient-equivalents times the share of the network's multiplications in the layers from
    the block on.

    Reference: TP section 3.2 (the last weight layer's block); Parlett 1998, chapters 10 and 13.
    """
    members = _members(problem, blocks)
    order = uses(problem)
    shares = {name: max(order[n].share if n in order else 1.0 for n in names) for name, names in members.items()}
    last = _last_weights(problem, order)
    announce(on_progress, budget)
    kept = 0.0 if len(problem) >= problem.population else WEIGHTS["hessian_product"]
    left, waiting = budget - kept, dict(shares)
    found: dict[str, tuple[Spectrum, bool]] = {}
    for name in sorted(members, key=lambda name: shares[name]):
        share = left / (WEIGHTS["hessian_product"] * sum(waiting.values()))
        mine = affordable_products(left, WEIGHTS["hessian_product"] * shares[name])
        most = max(1, min(mine, int(_MORE * share + 1e-9)))
        with through_part(shares[name]):
            run = krylov_run(
                HessianOperator(problem, way=hvp, names=members[name]),
                problem.group,
                fewest=1,
                most=most,
                top=1,
                rtol=rtol,
                seed=seed,
                keys=(_LAYERS, list(members).index(name)),
            )
        found[name] = until_certain(run, most, 2, rtol)
        left -= WEIGHTS["hessian_product"] * shares[name] * run.steps
        del waiting[name]
        if on_progress is not None:
            first = run.space.tridiagonal.ritz().values[0]
            on_progress(f"{name} {first:.4g}, {len(waiting)} to go", budget - left + kept)
    ritz = {name: found[name][0].space.tridiagonal.ritz() for name in members}
    values = {name: float(ritz[name].values[0]) for name in members}
    errors = {name: ritz[name].error_bound(0) for name in members}
    largest = max(values, key=lambda name: values[name])
    last_block = next((name for name, names in members.items() if last in names), None)
    vector = found[largest][0].space.ritz_vectors(ritz[largest].vectors[:, :1])
    with through_part(shares[largest]):
        sampling = rayleigh_sampling_stderr(problem, vector, names=members[largest])
    return Record(
        value=values[largest],
        stderr=errors[largest],
        sampling_stderr=sampling,
        converged=all(certain for _, certain in found.values()),
        groups=_named(problem, values, blocks, by),
        details={
            "groups_stderr": _named(problem, errors, blocks, by),
            "blocks": {
                name: {
                    "value": values[name],
                    "stderr": errors[name],
                    "most_negative": float(ritz[name].values[-1]),
                    "products": found[name][0].steps,
                    "settled": found[name][1],
                }
                for name in members
            },
            "largest": largest,
            "last_layer": last_block,
            "last_layer_value": None if last_block is None else values[last_block],
        },
    )


def _members(problem: Problem, blocks: str) -> Mapping[str, Sequence[str]]:
    """Block name -> the names of its parameters."""
    if blocks != WEIGHT_BLOCKS:
        return group_parameters(problem.infos, blocks)
    weights = [info.name for info in problem.infos if len(info.shape) >= 2]
    return {name: (name,) for name in weights or [info.name for info in problem.infos]}


def _last_weights(problem: Problem, order: Mapping[str, Use]) -> str:
    """The weights, of two or more dimensions if there are such, that the forward pass uses last."""
    weights = [info.name for info in problem.infos if len(info.shape) >= 2] or [info.name for info in problem.infos]
    seen = [name for name in weights if name in order]
    return max(seen, key=lambda name: order[name].last) if seen else weights[-1]


def _named(problem: Problem, values: Mapping[str, float], blocks: str, by: str) -> dict[str, float]:
    """The blocks' values by group, where the blocks are the groups that `by` asks for; else none."""
    if blocks == by or (blocks == WEIGHT_BLOCKS and by == "tensor"):
        return dict(values)
    layers = {info.name: info.layer for info in problem.infos}
    named = {layers[name]: value for name, value in values.items()} if blocks == WEIGHT_BLOCKS and by == "layer" else {}
    return named if len(named) == len(values) else {}
