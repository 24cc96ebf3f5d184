"""The whole default analysis at rtol 0.05, beside PyHessian's trace() alone."""

from __future__ import annotations

import statistics
from dataclasses import replace

import torch

import landscape
from benchmarks import peers
from benchmarks.clock import Answer, Contender, race, whole
from benchmarks.context import Context
from benchmarks.outcome import Bar, Outcome, Row, row

TITLE = "The whole default analysis"
RTOL = 0.05
DRAWS = 10_000
PYHESSIAN_MOST = 100  # probes, its default


def run(context: Context) -> Outcome:
    """Every default measure, each with its cost."""
    subject = context.subject.first(context.pick(32, 128, 2_048))
    problem = subject.problem()
    seen: list[landscape.Analysis] = []

    def ours(seed: int) -> Answer:
        analysis = landscape.analyze(problem, rtol=RTOL, seed=seed)
        seen.append(analysis)
        return Answer(counted=analysis.total["cost"])

    def pyhessian(seed: int) -> Answer:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            engine = peers.pyhessian(subject)
            values = engine.trace()
        peers.release(engine)
        stderr = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else None
        return Answer(statistics.mean(values), products=len(values), extra={"stderr": stderr, "probes": values})

    races = race(
        [
            Contender(peers.OURS, f"all measures, rtol {RTOL:g}", ours, subject.gradient_pass, repeats=1),
            Contender(peers.PYHESSIAN, "trace() alone, its default tolerance", pyhessian),
        ],
        whole(subject.gradient_pass),
        2 if context.on_gpu else context.pick(1, 1, 3),
    )
    rows = [row(one) for one in races]
    probes = [value for answer in races[1].answers for value in answer.extra["probes"]]
    outcome = Outcome(TITLE, subject.name, len(subject), rows=list(rows))
    if seen and races[0].units:
        unit = races[0].units[0].wall
        outcome.rows += [
            Row(
                peers.OURS,
                f"of it {name}",
                repeats=1,
                ratio=dict.fromkeys(("median", "min", "max"), record.seconds / unit),
                counted=record.cost,
                value=record.value,
                note="" if record.converged else "budget reached",
            )
            for name, record in seen[0].measures.items()
            if record.skipped is None
        ]
        outcome.remarks = [_trace_remark(seen[0], races[1].answers)]
    made = statistics.median(answer.products or 0 for answer in races[1].answers) if probes else 0

    def alone(what: str, needed: float, note: str) -> Row:
        return replace(row(races[1], scale=needed / made, note=note), what=f"trace() alone, {what}")

    if seen and len(probes) > 1:
        low, middle, high = _stops(probes)
        note = f"{middle:.0f} probes, quartiles {low:.0f} and {high:.0f}, of {DRAWS:,} draws from its {len(probes)}"
        rows.append(alone("where it stops in the median", middle, note))
        truth = seen[0].measures["hessian_trace"].value
        needed = (statistics.stdev(probes) / (RTOL * abs(truth))) ** 2
        rows.append(alone(f"to a standard error of {RTOL:.0%}", needed, f"{needed:,.0f} probes needed"))
        outcome.rows[2:2] = rows[2:]
    outcome.bars = [
        Bar.row("the whole default analysis: gradient-equivalents of time", rows[0], 150.0),
        Bar("the whole default analysis: gradient-equivalents counted", "at most", 150.0, rows[0].counted),
    ]
    for one in rows[2:]:
        outcome.bars.append(
            Bar.quotient(f"the whole default analysis: PyHessian's {one.what} / ours", one, rows[0], 1.0)
        )
    return outcome


def _stops(probes: list[float]) -> list[float]:
    """Quartiles of where PyHessian's trace() stops: its rule is met by chance, and a few seeds say little of where."""
    generator = torch.Generator().manual_seed(0)
    chosen = torch.randint(len(probes), (DRAWS, PYHESSIAN_MOST), generator=generator)
    stops = peers.pyhessian_stops(torch.tensor(probes, dtype=torch.float64)[chosen])
    return [float(stops.double().quantile(q)) for q in (0.25, 0.5, 0.75)]


def _trace_remark(analysis: landscape.Analysis, answers: list[Answer]) -> str:
    mine = analysis.measures["hessian_trace"]
    text = f"The trace in it: {mine.value:.4g} ± {mine.stderr:.2g}"
    shown = [a for a in answers if a.value is not None and a.extra.get("stderr") is not None]
    return text + "".join(
        f"; PyHessian's, seed {seed}: {a.value:.4g} ± {a.extra['stderr']:.2g} after {a.products} probes"
        for seed, a in enumerate(shown)
    )
