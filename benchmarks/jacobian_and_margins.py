"""Input-output Jacobian norm and input margins of all images, K = 10 classes."""

from __future__ import annotations

import torch
from torch.func import functional_call, jacrev, vmap

from benchmarks import peers
from benchmarks.clock import Answer, Contender, race
from benchmarks.context import Context
from benchmarks.outcome import Bar, Outcome, row
from landscape.measures import jacobian_norm, margin

TITLE = "Jacobian norm and margins"


def run(context: Context) -> Outcome:
    """Beside torch.func's own way to per-sample Jacobians, vmap(jacrev)."""
    subject = context.subject.first(context.pick(16, 256, 512))
    problem = subject.problem()
    state = {**dict(subject.model.named_parameters()), **dict(subject.model.named_buffers())}
    state = {name: tensor.detach() for name, tensor in state.items()}

    def norm(_: int) -> Answer:
        record = jacobian_norm(problem)
        return Answer(record.value, counted=record.cost)

    def margins(_: int) -> Answer:
        record = margin(problem)
        return Answer(record.value, counted=record.cost)

    def plain(_: int) -> Answer:
        def logits(x: torch.Tensor) -> torch.Tensor:
            return functional_call(subject.model, state, (x[None],))[0]

        squares = [vmap(jacrev(logits))(x).square().sum() for x, _ in subject.batches(64)]
        return Answer(float(sum(squares)) / len(subject))

    races = race(
        [
            Contender(peers.OURS, "jacobian_norm, its spectral norm beside it", norm, subject.gradient_pass),
            Contender(peers.PYTORCH, "vmap(jacrev), the Frobenius norm alone", plain),
            Contender(peers.OURS, "margin", margins),
        ],
        subject.backward_pass,
        context.pick(1, 2, 5),
    )
    truth = races[0].answers[0].value if races[0].answers else None
    rows = [row(one, reference=truth if one is not races[2] else None) for one in races]
    outcome = Outcome(TITLE, subject.name, len(subject), "one backward pass over the same images", rows)
    outcome.bars = [
        Bar.row("Jacobian norm, K = 10: backward passes", rows[0], 12.0),
        Bar.row("margins, K = 10: backward passes", rows[2], 12.0),
    ]
    return outcome
