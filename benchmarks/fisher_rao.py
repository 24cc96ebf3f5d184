"""The Fisher-Rao norm: one forward-mode product, beside a Gauss-Newton product of the peers."""

from __future__ import annotations

from benchmarks import peers
from benchmarks.clock import Answer, Contender, race, whole
from benchmarks.context import Context
from benchmarks.outcome import Bar, Outcome, row
from landscape.measures import fisher_rao
from landscape.parameters import flatten

TITLE = "Fisher-Rao norm"
_WHOLE = "*"


def run(context: Context) -> Outcome:
    """theta' F theta; with softmax cross-entropy F is the Gauss-Newton matrix G: the peers give theta' (G theta)."""
    subject = context.subject.first(context.pick(32, 256, 512))
    problem = subject.problem()
    theta = flatten(problem.parameters)

    def ours(by: str) -> Answer:
        record = fisher_rao(problem, by=by)
        return Answer(record.value, counted=record.cost)

    def curvlinops(_: int) -> Answer:
        return Answer(float(theta @ (peers.curvlinops_gauss_newton(subject) @ theta)), products=1)

    def eigenthings(_: int) -> Answer:
        return Answer((theta @ peers.eigenthings_gauss_newton(subject).matvec(theta)).item(), products=1)

    races = race(
        [
            Contender(peers.OURS, "the whole network", lambda _: ours(_WHOLE), lambda: ours(_WHOLE)),
            Contender(peers.OURS, "the network and each role", lambda _: ours("role")),
            Contender(peers.CURVLINOPS, "one GGN product", curvlinops, lambda: curvlinops(0)),
            Contender(peers.EIGENTHINGS, "one GGN product", eigenthings, lambda: eigenthings(0)),
        ],
        whole(subject.gradient_pass),
        context.pick(1, 2, 5),
    )
    truth = races[0].answers[0].value if races[0].answers else None
    rows = [row(one, reference=truth) for one in races]
    outcome = Outcome(TITLE, subject.name, len(subject), rows=rows)
    outcome.remarks = ["`error` is the distance from our own value: two implementations, one number."]
    outcome.bars = [Bar.row("Fisher-Rao, the whole network: gradient passes", rows[0], 2.0)]
    return outcome
