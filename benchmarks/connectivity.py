"""Connectivity sharpness per sample on a ResNet-18 at batch 128: time, and memory beside a training step's."""

from __future__ import annotations

import torch
from torch.func import functional_call, grad, vmap

import landscape
from benchmarks import peers
from benchmarks.clock import Answer, Contender, race, whole
from benchmarks.context import Context
from benchmarks.memory import peak, peak_on_gpu, random_network
from benchmarks.outcome import Bar, Outcome, row
from benchmarks.subject import LossFunction
from landscape.measures import connectivity

TITLE = "Connectivity sharpness per sample"
_MODEL = "resnet18"
_VMAP_CHUNK = 8


def run(context: Context) -> Outcome:
    """Beside vmap(grad), torch's own way to per-sample gradients, in chunks that fit."""
    images = context.pick(4, 128, 128)  # the bar's own
    network, x, y = random_network(_MODEL, images, context.device)
    problem = landscape.Problem(network.eval(), LossFunction(), (x, y))
    parameters = list(network.parameters())

    def gradient_pass() -> None:
        torch.autograd.grad(LossFunction()(network(x), y), parameters)

    def ours(_: int) -> Answer:
        record = connectivity(problem)
        return Answer(record.value, counted=record.cost)

    def plain(_: int) -> Answer:
        theta = {name: p.detach() for name, p in network.named_parameters()}
        buffers = dict(network.named_buffers())

        def loss(part: dict[str, torch.Tensor], one: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
            return LossFunction()(functional_call(network, {**buffers, **part}, (one[None],)), label[None])

        total = 0.0
        for low in range(0, images, _VMAP_CHUNK):
            rows = slice(low, low + _VMAP_CHUNK)
            found = vmap(grad(loss), in_dims=(None, 0, 0))(theta, x[rows], y[rows])
            total += sum(float((g * theta[name]).abs().sum(dtype=torch.float64)) for name, g in found.items())
        return Answer(total / images)

    context.say("time")
    repeats = context.pick(1, 2, 5)
    races = race(
        [
            Contender(peers.OURS, "connectivity", ours),
            Contender(peers.PYTORCH, f"vmap(grad), {_VMAP_CHUNK} images at once", plain, repeats=context.pick(1, 1, 2)),
        ],
        whole(gradient_pass),
        repeats,
    )
    truth = races[0].answers[0].value if races[0].answers else None
    rows = [row(one, reference=truth) for one in races]
    name = f"ResNet-18 ({problem.size:,} parameters), random weights and images, one batch"
    outcome = Outcome(TITLE, name, images, rows=rows)
    outcome.bars = [Bar.row("connectivity per sample, ResNet-18 at batch 128: gradient passes", rows[0], 2.0)]
    context.say("memory")
    kinds = ("connectivity", "step")
    if context.on_gpu:
        work, step = (peak_on_gpu(kind, _MODEL, images, context.device) for kind in kinds)
    else:
        work, step = (peak(kind, _MODEL, images) for kind in kinds)
    ours_net, step_net = work["peak"] - work["idle"], step["peak"] - step["idle"]
    above = (
        "memory of the tensors above network and images" if context.on_gpu else "resident memory above the idle process"
    )
    outcome.remarks = [
        f"Peak {above}: connectivity {ours_net / 2**20:,.0f} MiB, a training step (SGD with momentum) "
        f"{step_net / 2**20:,.0f} MiB; idle {step['idle'] / 2**20:,.0f} MiB.",
        f"All per-sample gradients held at once would be {4 * problem.size * images / 2**30:.1f} GiB.",
    ]
    outcome.bars.append(
        Bar(
            "connectivity: peak memory above idle / a training step's",
            "at most",
            1.5,
            ours_net / step_net if step_net else None,
        )
    )
    return outcome
