"""Checks of the loss, its gradient and its Hessian products against plain PyTorch and against differences."""

from __future__ import annotations

import torch
from torch import Tensor

from landscape.workflows.verification.differences import LAST_DISPLACEMENT, agreeing, slope_by_differences
from landscape.workflows.verification.finding import Figure, Finding, equal
from landscape.workflows.verification.subject import Subject

# float64: sums of N losses and of P products in another order, 1e-16 each, with a network's depth in between
_ROUNDING = 1e-9
_DIFFERENCE = (
    1e-3  # ten times what two differences that agree may be apart: what the agreed difference itself may be wrong by
)


def loss_is_the_own_mean(subject: Subject) -> Finding:
    """L against the loss's own value over all samples at once, by the plain network."""
    problem, reference = subject.problem, subject.reference
    with torch.no_grad():
        by_batches = sum(float(reference.loss(batch)) for batch in problem.batches(0, len(problem)))
        figures = [equal("mean loss, plain network", subject.loss, by_batches, rtol=_ROUNDING, floor=1e-12)]
        (whole,) = problem.batches(0, len(problem), size=len(problem)) if problem.bn == "eval" else (None,)
        if whole is not None:
            own = problem.loss(reference.outputs(whole), whole.targets)
            if isinstance(own, Tensor) and own.numel() == 1:
                figures.append(
                    equal("mean loss, as the loss means it", subject.loss, float(own), rtol=_ROUNDING, floor=1e-12)
                )
    return Finding.of(figures)


def gradient_by_backward(subject: Subject) -> Finding:
    """grad L against `.backward()` on a copy of the network, and its norm against the slope of L along it.

    The slope is (L(theta + a v) - L(theta - a v)) / 2a for v = grad L / ||grad L||. It is left out where no two steps
    agree: the gradient is lost in the rounding of L, or there are kinks.
    """
    figures = [_vectors("gradient", subject.gradient, subject.reference.gradient(), _ROUNDING)]
    size = float(subject.gradient.norm())
    slope = slope_by_differences(subject.problem, subject.gradient / size) if size > 0 else None
    if slope is not None:
        figures.append(equal("its norm, and the slope of the loss along it", size, slope, rtol=_DIFFERENCE))
    return Finding.of(figures)


def product_by_double_backward(subject: Subject) -> Finding:
    """H v against the gradient of grad L . v on a copy of the network."""
    v = subject.direction(0)
    return Finding.of([_vectors("H v", subject.product(v), subject.reference.product(v), _ROUNDING)])


def product_by_differences(subject: Subject) -> Finding:
    """H v against (grad L(theta + a v) - grad L(theta - a v)) / 2a of the plain network, ||v|| = 1.

    The step a starts at 1e-6 and is halved until two of them agree; where none do above 1e-8 the loss has kinks (ReLU,
    max-pooling) too close to theta, and a difference says nothing about the second derivative.
    """
    v = subject.direction(0)
    product = subject.product(v)
    theta, reference = subject.reference.theta, subject.reference
    rounding = 1e-13 * float(subject.reference.theta.norm())

    found = agreeing(
        lambda a: (reference.gradient(theta + a * v) - reference.gradient(theta - a * v)) / (2 * a), rounding
    )
    if found.value is None:
        return Finding(
            "kinks",
            reason=f"no two differences agree above a step of {LAST_DISPLACEMENT:g} (at best {found.apart:.1g} apart): "
            "the loss has kinks there, so differences say nothing; the product stands against the double backward",
        )
    allowed = _DIFFERENCE + rounding / found.step / max(float(found.value.norm()), 1e-300)
    return Finding.of([_vectors(f"H v, differences at a step of {found.step:g}", product, found.value, allowed)])


def product_is_symmetric(subject: Subject) -> Finding:
    """u' H v = v' H u."""
    u, v = subject.direction(1), subject.direction(0)
    Hv, Hu = subject.product(v), subject.product(u)
    scale = float(Hv.norm() + Hu.norm())
    left, right = float(u @ Hv), float(v @ Hu)
    difference = abs(left - right) / scale if scale > 0 else 0.0
    return Finding.of([Figure("u'Hv = v'Hu, relative to |Hu| + |Hv|", left, right, difference, _ROUNDING)])


def _vectors(what: str, ours: Tensor, other: Tensor, rtol: float) -> Figure:
    """Two vectors by the norm of their difference, relative to the larger norm."""
    a, b = float(ours.norm()), float(other.norm())
    scale = max(a, b)
    difference = float((ours - other).norm()) / scale if scale > 0 else 0.0
    return Figure(f"{what}: norms, and relative norm of the difference", a, b, difference, rtol)
