"""Larger networks, as a GPU takes them: products, per-sample gradients and the exact trace.

Weights and images are random: the time does not ask what is in them. Products are measured on a graph that is there, in
float32, and ours with factors rounded to TF32 as well, with the error that the rounding adds.
"""

from __future__ import annotations

import functools
import gc
from collections.abc import Callable

import torch
from pyhessian import hessian as PyHessian
from pyhessian.utils import hessian_vector_product
from torch import Tensor, nn

import landscape
from benchmarks import peers
from benchmarks.clock import Answer, Contender, Race, race, whole
from benchmarks.context import Context
from benchmarks.memory import random_network
from benchmarks.outcome import Bar, Outcome, row
from benchmarks.subject import LossFunction, Subject
from landscape.curvature.products import Linearisation
from landscape.float32_products import tf32_products
from landscape.measures import connectivity, fisher_rao, hessian_trace

TITLE = "Larger networks"


def run(context: Context) -> Outcome:
    """A ResNet-18 in CIFAR form and a ResNet-50-D in ImageNet form."""
    sizes = [("resnet18", context.pick(2, 16, 512), 32, 10)]
    if context.on_gpu:
        sizes.append(("resnet50-d", context.pick(2, 8, 64), 224, 1_000))
    outcome = Outcome(TITLE, "random weights and images", sizes[0][1])
    for name, images, pixels, classes in sizes:
        context.say(f"{name}, {images} images of {pixels} pixels")
        network, x, y = random_network(name, images, context.device, pixels=pixels, classes=classes)
        subject = Subject(name, context.references, (), network.eval(), x, y, fallback=False)
        races = _races(context, subject, traced=classes <= 16)
        rows = [row(one) for one in races]
        outcome.rows += rows
        label = f"{name}, {images} images of {pixels} pixels"
        outcome.bars.append(
            Bar.quotient(
                f"Hessian product on a graph that is there, {label}: PyHessian's / ours", rows[2], rows[0], 1.0
            )
        )
        outcome.bars.append(Bar.row(f"connectivity per sample, {label}: gradient passes", rows[4], 2.0))
        outcome.remarks.append(_errors(subject, label))
        del network, subject, races
        if context.on_gpu:
            gc.collect()
            torch.cuda.empty_cache()
    return outcome


def _races(context: Context, subject: Subject, *, traced: bool) -> list[Race]:
    problem = landscape.Problem(subject.model, LossFunction(), (subject.inputs, subject.targets))
    (batch,) = problem.batches(0, len(subject), len(subject))

    # made by the first, untimed product, where a failure (of memory, say) is the contender's own
    @functools.cache
    def kept() -> Linearisation:
        return Linearisation(problem, problem.parameters, batch)

    @functools.cache
    def rounded() -> Linearisation:
        return Linearisation(problem, problem.parameters, batch)

    @functools.cache
    def engine() -> PyHessian:
        data = (subject.inputs, subject.targets)
        return PyHessian(subject.copy(), LossFunction(), data=data, cuda=context.on_gpu)

    def vector(seed: int) -> Tensor:
        return peers.random_block(problem.size, 1, seed, subject.device)

    def in_tf32(seed: int) -> Answer:
        with tf32_products():
            rounded().products(vector(seed), keep=True)
        return Answer(products=1)

    def pyhessian(seed: int) -> Answer:
        pieces = vector(seed)[:, 0].split([p.numel() for p in engine().params])
        v = [piece.view_as(p) for piece, p in zip(pieces, engine().params, strict=True)]
        hessian_vector_product(engine().gradsH, engine().params, v)
        return Answer(products=1)

    def curvlinops(seed: int) -> Answer:
        peers.curvlinops_hessian(subject) @ vector(seed)
        return Answer(products=1)

    def ours(seed: int) -> Answer:
        kept().products(vector(seed), keep=True)
        return Answer(products=1)

    def measured(measure: Callable[[landscape.Problem], landscape.Record]) -> Callable[[int], Answer]:
        def work(_: int) -> Answer:
            record = measure(problem)
            return Answer(record.value, counted=record.cost)

        return work

    name = f"{subject.name}, {len(subject)} images"
    contenders = [
        (peers.OURS, "a Hessian product, its graph there", ours),
        (peers.OURS, "the same in TF32", in_tf32),
        (peers.PYHESSIAN, "the same", pyhessian),
        (peers.CURVLINOPS, "a Hessian product", curvlinops),
        (peers.OURS, "connectivity", measured(connectivity)),
        (peers.OURS, "fisher_rao, the network and each role", measured(fisher_rao)),
    ]
    if traced:
        contenders.append((peers.OURS, "hessian_trace, exact", measured(hessian_trace)))
    races = race(
        [Contender(who, f"{name}: {what}", work, lambda work=work: work(0)) for who, what, work in contenders],
        whole(subject.gradient_pass),
        context.pick(1, 1, 5),
    )
    if races[2].failed is None:
        peers.release(engine())
    return races


def _errors(subject: Subject, label: str) -> str:
    """What float32, and TF32, make of a product, beside float64 on at most 32 images."""
    few = subject.first(32)
    v = peers.random_block(sum(p.numel() for p in few.parameters), 1, 0, few.device).double()

    def product(dtype: torch.dtype) -> Tensor:
        problem = landscape.Problem(few.model, nn.CrossEntropyLoss(), (few.inputs, few.targets), dtype=dtype)
        (batch,) = problem.batches(0, len(few), len(few))
        return Linearisation(problem, problem.parameters, batch).products(v.to(dtype)).double()

    exact, single = product(torch.float64), product(torch.float32)
    with tf32_products():
        rounded = product(torch.float32)
    errors = [float((h - exact).norm() / exact.norm()) for h in (single, rounded)]
    forms = [abs(float((v * h).sum() / (v * exact).sum()) - 1) for h in (single, rounded)]
    return (
        f"A product of {label} beside float64 (on {len(few)} images): off by {errors[0]:.1e} of its norm in float32, "
        f"{errors[1]:.1e} in TF32; its form v'Hv by {forms[0]:.1e} and {forms[1]:.1e}."
    )
