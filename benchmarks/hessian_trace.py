"""The Hessian trace at 1% standard error: what each way needs, from its measured error and its measured time.

A probe of PyHessian's (and of any Hutchinson estimate over the whole data) is v'Hv with one v for all images; its
standard deviation s is measured, and (s / (0.01 |T|))^2 probes are needed. Ours is exact on these networks; of one
that it has to probe, the standard error e after one run is taken: the time for 1% is that run's, times
(e / (0.01 |T|))^2.
"""

from __future__ import annotations

import math
import statistics

import torch

from benchmarks import peers
from benchmarks.clock import Answer, Contender, Race, race, whole
from benchmarks.context import Context
from benchmarks.outcome import Bar, Outcome, row
from landscape.measures import hessian_trace

TITLE = "Hessian trace at 1% standard error"
RTOL = 0.01
ALL = 10_000


def run(context: Context) -> Outcome:
    """Ours and three peers; in a short run on fewer images."""
    subject = context.subject.first(context.pick(64, 256, ALL))
    probes = context.pick(2, 8, 6)
    problem = subject.problem()

    def ours(seed: int) -> Answer:
        record = hessian_trace(problem, rtol=RTOL, budget=context.pick(8, 30, 30), seed=seed)
        return Answer(record.value, counted=record.cost, extra={"stderr": record.stderr})

    def pyhessian(seed: int) -> Answer:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            (value,) = engine.trace(maxIter=1, tol=0.0)
        return Answer(float(value), products=1)

    def curvlinops(seed: int) -> Answer:
        v = peers.random_block(problem.size, 1, seed, subject.device).sign()
        return Answer(float((v * (peers.curvlinops_hessian(subject) @ v)).sum()), products=1)

    def eigenthings(seed: int) -> Answer:
        found = peers.eigenthings().hutchinson(peers.eigenthings_hessian(subject), num_samples=1, seed=seed)
        return Answer(found.estimate, products=1)

    context.say("ours, and one probe after another of the peers")
    engine = peers.pyhessian(subject)
    races = race(
        [
            Contender(peers.OURS, "hessian_trace", ours, repeats=1),
            Contender(peers.PYHESSIAN, "trace()", pyhessian),
            Contender(peers.CURVLINOPS, "Hutchinson", curvlinops, repeats=context.pick(1, 1, 2)),
            Contender(peers.EIGENTHINGS, "hutchinson()", eigenthings, repeats=context.pick(1, 1, 2)),
        ],
        whole(subject.gradient_pass),
        probes,
    )
    peers.release(engine)
    return _outcome(context, subject.name, len(subject), races)


def _outcome(context: Context, name: str, images: int, races: list[Race]) -> Outcome:
    mine, pyhessian, *_ = races
    outcome = Outcome(TITLE, name, images)
    if mine.failed or pyhessian.failed:
        outcome.rows = [row(one) for one in races]
        return outcome
    trace = statistics.mean(a.value for a in mine.answers if a.value is not None)
    stderr = statistics.median(a.extra["stderr"] for a in mine.answers)
    values = [a.value for one in races[1:] for a in one.answers if a.value is not None]
    deviation = statistics.stdev(values) if len(values) > 1 else math.nan
    target = RTOL * abs(trace)
    needed = (deviation / target) ** 2
    factor = max(1.0, (stderr / target) ** 2)
    uncertainty = 2 / math.sqrt(2 * (len(values) - 1))
    notes = [f"{stderr / abs(trace):.2%} measured, carried to 1%" if stderr else "exact"] + [
        f"{needed:,.0f} probes needed"
    ] * 3
    scales = [factor] + [needed] * 3
    outcome.rows = [row(one, scale=s, note=n) for one, s, n in zip(races, scales, notes, strict=True)]
    outcome.remarks = [
        f"Trace {trace:.5g}. One probe over all images deviates by {deviation:.4g} ({len(values)} probes of the three "
        f"peers, whose estimator is the same; the peers' needs are therefore uncertain by {uncertainty:.0%}).",
    ]
    outcome.bars = [
        Bar.quotient(
            f"Hessian trace at 1% over {images:,} images: times less than PyHessian needs",
            outcome.rows[1],
            outcome.rows[0],
            50.0,
            aim=100.0,
            note=f"PyHessian's need uncertain by {uncertainty:.0%}",
        )
    ]
    return outcome
