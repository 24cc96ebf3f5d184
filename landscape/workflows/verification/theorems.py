"""Checks by what theory says of the network: identities and inequalities that hold exactly."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call

from landscape.curvature.gauss_newton import columns, squared_products
from landscape.curvature.per_sample import PerSampleGradients
from landscape.errors import LandscapeError
from landscape.measures import connectivity, connectivity_batch, fisher_rao
from landscape.problem import Batch
from landscape.problem.running import evaluation_mode
from landscape.reparameterisation.structure import find_structure
from landscape.reparameterisation.variants import rescaled_variant
from landscape.workflows.verification.finding import Figure, Finding, equal
from landscape.workflows.verification.subject import Subject

_ROUNDING = 1e-9
_MOST_CLASSES = 64  # a pass a class and sample


def connectivity_by_loops(subject: Subject) -> Finding:
    """C on few samples against a loop of `.backward()` over them, and C against the sum of its parts."""
    problem, few = subject.problem, subject.few
    try:
        whole, small = connectivity(problem, by="tensor"), connectivity(few, by="tensor")
    except LandscapeError as error:
        return Finding.skip(str(error))
    theta, weights = subject.reference.theta, few.weights

    def loss(outputs: Any, batch: Batch) -> Tensor:
        return few.losses_of(outputs, batch).sum()

    looped = sum(
        float(weights[n]) * float((subject.reference.per_sample(n, loss) * theta).abs().sum())
        for n in range(len(few))
        if float(weights[n]) > 0
    )
    return Finding.of(
        [
            equal(f"C of {len(few)} samples, one by one", small.value, looped / few.total_weight, rtol=_ROUNDING),
            equal("C and the sum over tensors", whole.value, sum(whole.groups.values()), rtol=_ROUNDING),
        ]
    )


def batches_below_samples(subject: Subject) -> Finding:
    """C_m <= C, for batches of several sizes, and C_1 = C."""
    few = subject.few
    try:
        C = connectivity(few).value
        of_size = {m: connectivity_batch(few, connectivity_batch=m).value for m in (1, 4, len(few))}
    except LandscapeError as error:
        return Finding.skip(str(error))
    figures = [equal("C_1 = C", of_size.pop(1), C, rtol=_ROUNDING)]
    for m, value in of_size.items():
        above = max(0.0, value - C) / C if C > 0 else value
        figures.append(Figure(f"C_{m} <= C, relative excess", value, C, above, _ROUNDING))
    return Finding.of(figures)


def euler_identity(subject: Subject) -> Finding:
    """Where the outputs are homogeneous in the parameters, f(c theta) = c^k f(theta), J_theta theta = k f (Euler).

    Then theta' F theta = k^2 E Var_p(f): Lemma 1 of WD, where k is the number of weight layers of a network without
    biases and with ReLU or no activation.
    """
    problem = subject.problem
    form = problem.fisher_form
    if form is None or problem.bn == "train":
        return Finding.skip("the Fisher-Rao norm does not apply to this loss or mode")
    degree = _degree(subject)
    if degree is None:
        return Finding.skip("the outputs are not homogeneous in the parameters (biases, normalisation, ...)")
    expected = 0.0
    with torch.no_grad():
        for batch in problem.batches(0, len(problem)):
            outputs = subject.reference.outputs(batch)
            values = form(outputs, batch.targets, degree * outputs)
            expected += float((values * batch.weights).sum()) / problem.total_weight
    value = fisher_rao(problem, by="*").value
    return Finding.of([equal(f"Fisher-Rao norm and {degree}^2 E Var_p(f)", value, expected, rtol=_ROUNDING)])


def rescaling(subject: Subject) -> Finding:
    """rho: hidden units times 2 or 1/2, their outgoing weights by as much: f, C and the Fisher-Rao norm stay."""
    problem = subject.problem
    if problem.bn == "train":
        return Finding.skip("with --bn train the statistics move with the weights")
    structure = find_structure(problem)
    if not structure.units:
        return Finding.skip("no hidden unit was found that can be rescaled without changing the function")
    factors = np.where(np.arange(len(structure.units)) % 2 == 0, 2.0, 0.5)
    variant = rescaled_variant(problem, structure, factors)
    figures = [
        Figure("the largest change of an output", variant.size, variant.size, variant.change, _ROUNDING * variant.size)
    ]
    for name, measure in (("connectivity", connectivity), ("Fisher-Rao norm", fisher_rao)):
        try:
            before, after = measure(problem).value, measure(variant.problem).value
        except LandscapeError:
            continue
        figures.append(equal(f"{name}, {len(structure.units)} units rescaled", before, after, rtol=_ROUNDING))
    return Finding.of(figures)


def _degree(subject: Subject) -> int | None:
    """k of f(c theta) = c^k f(theta), found by evaluating the copy; None where there is none."""
    reference, problem = subject.reference, subject.problem
    batch = next(problem.batches(0, min(len(problem), 8)))
    if not isinstance(batch.inputs, Tensor):
        return None

    def outputs(c: float) -> Any:
        scaled = {name: c * p.detach() for name, p in reference.named.items()}
        with torch.no_grad(), evaluation_mode(reference.model):
            return problem.reading.outputs(functional_call(reference.model, scaled, (batch.inputs.clone(),)))

    f, twice = outputs(1.0), outputs(2.0)
    if not isinstance(f, Tensor) or float(f.norm()) == 0:
        return None
    k = round(math.log2(float(twice.norm()) / float(f.norm()))) if float(twice.norm()) > 0 else 0
    holds = k >= 1 and float((twice - 2.0**k * f).norm()) <= _ROUNDING * float(twice.norm())
    return k if holds else None


def fisher_is_gauss_newton(subject: Subject) -> Finding:
    """For softmax cross-entropy Tr F = Tr G: E sum_y p_y ||grad log p_y||^2 by loops, against the exact trace of G."""
    few = subject.few
    batch = next(few.batches(0, 1))
    outputs = subject.reference.outputs(batch)
    if few.factor is None or not few.classes or not isinstance(outputs, Tensor) or outputs.ndim != 2:
        return Finding.skip("the loss is no cross-entropy of one label a sample")
    if few.bn == "train":
        return Finding.skip("with --bn train the samples of a group depend on each other")
    classes = outputs.shape[1]
    if classes > _MOST_CLASSES:
        return Finding.skip(f"{classes} classes: a pass for each of them and each sample would take long")
    plain = few.loss is torch.nn.functional.cross_entropy or getattr(few.loss, "label_smoothing", 0.0) == 0.0
    if not plain or not isinstance(few.loss, torch.nn.CrossEntropyLoss):
        return Finding.skip("labels that are smoothed or weighted by hand are no distribution of the model")

    def log_p(y: int) -> Callable[[Any, Batch], Tensor]:
        return lambda f, one: torch.log_softmax(f, 1)[0, y]

    total = 0.0
    for n in range(len(few)):
        (one,) = few.batches(n, n + 1)
        if float(one.weights[0]) > 0:
            with torch.no_grad():
                p = torch.softmax(subject.reference.outputs(one), 1)[0]
            for y in range(classes):
                g = subject.reference.per_sample(n, log_p(y))
                total += float(one.weights[0]) * float(p[y]) * float(g @ g)
    fisher = total / few.total_weight
    gradients = PerSampleGradients(few)
    trace = 0.0
    for part in few.batches(0, len(few)):
        squares = squared_products(few, gradients, part, columns(few, part, "gauss-newton"))
        trace += float(squares.plain.sum())
    return Finding.of([equal(f"Tr G and Tr F of {len(few)} samples", trace, fisher, rtol=1e-8, floor=1e-12)])
