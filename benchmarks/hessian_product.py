"""One exact Hessian-vector product, many vectors on one batch."""

from __future__ import annotations

from collections.abc import Callable

import torch
from pyhessian.utils import hessian_vector_product

from benchmarks import peers
from benchmarks.clock import Answer, Contender, race, whole
from benchmarks.context import Context
from benchmarks.outcome import Bar, Outcome, row
from benchmarks.subject import BATCH
from landscape.curvature.products import Linearisation, hessian_products

TITLE = "Exact Hessian-vector products on one batch"


def run(context: Context) -> Outcome:
    """Ours, the peers' and plain double backward for k vectors; a ratio is for one vector."""
    subject = context.subject.first(context.pick(16, BATCH, BATCH))
    counts = [k for k in (1, 4, 8) if k <= context.pick(4, 8, 8)]
    problem = subject.problem()
    theta, (batch,) = problem.parameters, problem.batches()
    engine = peers.pyhessian(subject)

    def ours(k: int) -> Callable[[int], Answer]:
        def multiply(seed: int) -> Answer:
            hessian_products(problem, theta, batch, peers.random_block(problem.size, k, seed, subject.device))
            return Answer(products=k)

        return multiply

    kept = Linearisation(problem, theta, batch)

    def ours_reused(seed: int) -> Answer:
        kept.products(peers.random_block(problem.size, 1, seed, subject.device), keep=True)
        return Answer(products=1)

    def reused(seed: int) -> Answer:
        generator = torch.Generator().manual_seed(seed)
        v = [torch.randn(p.shape, generator=generator).to(p.device) for p in engine.params]
        hessian_vector_product(engine.gradsH, engine.params, v)
        return Answer(products=1)

    def rebuilt(k: int) -> Callable[[int], Answer]:
        def multiply(seed: int) -> Answer:
            fresh = peers.pyhessian(subject)
            for j in range(k):
                generator = torch.Generator().manual_seed(k * seed + j)
                v = [torch.randn(p.shape, generator=generator).to(p.device) for p in fresh.params]
                hessian_vector_product(fresh.gradsH, fresh.params, v)
            peers.release(fresh)
            return Answer(products=k)

        return multiply

    def curvlinops(k: int) -> Callable[[int], Answer]:
        def multiply(seed: int) -> Answer:
            peers.curvlinops_hessian(subject) @ peers.random_block(problem.size, k, seed, subject.device)
            return Answer(products=k)

        return multiply

    def eigenthings(seed: int) -> Answer:
        peers.eigenthings_hessian(subject).matvec(peers.random_block(problem.size, 1, seed, subject.device)[:, 0])
        return Answer(products=1)

    contenders = [
        *(Contender(peers.OURS, f"k = {k}, its graph built", ours(k), lambda: ours(1)(0)) for k in counts),
        Contender(peers.PYHESSIAN, "k = 1 on a graph that is there", reused, lambda: reused(0)),
        Contender(peers.OURS, "k = 1 on a graph that is there", ours_reused, lambda: ours_reused(0)),
        *(Contender(peers.PYHESSIAN, f"k = {k}, its graph built", rebuilt(k)) for k in counts[-1:]),
        *(Contender(peers.CURVLINOPS, f"k = {k}", curvlinops(k)) for k in counts),
        Contender(peers.EIGENTHINGS, "k = 1", eigenthings, lambda: eigenthings(0)),
    ]
    races = race(contenders, whole(subject.gradient_pass), context.pick(1, 2, 7))
    peers.release(engine)
    rows = [
        row(one, scale=1 / one.answers[0].products if one.answers and one.answers[0].products else 1.0) for one in races
    ]
    most, theirs, ours_kept = rows[len(counts) - 1 : len(counts) + 2]
    outcome = Outcome(TITLE, subject.name, len(subject), rows=rows)
    outcome.remarks = ["A ratio is for one vector: time / k. The limit by backward passes is 2 gradients."]
    k = counts[-1]
    outcome.bars = [
        Bar.row(f"Hessian product, {k} vectors on one batch: gradients each", most, 2.5),
        Bar.quotient("Hessian product on a graph that is there: PyHessian's / ours", theirs, ours_kept, 1.0),
    ]
    return outcome
