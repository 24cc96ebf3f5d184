"""Checks that nothing but the network and the samples decides a number, and that measuring leaves no trace."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from landscape.curvature.hessian import HessianOperator, gradient
from landscape.errors import NotApplicableError
from landscape.measures import connectivity, evaluate, fisher_rao, hessian_trace
from landscape.problem import Problem
from landscape.workflows.verification.finding import Figure, Finding, equal
from landscape.workflows.verification.subject import Subject

_ROUNDING = 1e-9
_GPU_ROUNDING = 1e-12  # atomic additions: some thousand float64 sums of 1e-16 each
_ORDER = 1_000_012


def repeated(subject: Subject) -> Finding:
    """Loss, gradient and product once more: the same bits, on a GPU to the rounding of sums in another order."""
    problem, v = subject.problem, subject.direction(0)
    first, second = (HessianOperator(problem).matmat(v[:, None])[:, 0] for _ in range(2))
    loss, slope = evaluate(problem).loss, gradient(problem)
    if problem.device.type != "cpu":
        figures = [
            equal("loss", subject.loss, loss, rtol=_GPU_ROUNDING, floor=1e-12),
            _near("gradient", subject.gradient, slope, _GPU_ROUNDING),
            _near("H v", first, second, _GPU_ROUNDING),
        ]
        moved = any(figure.difference for figure in figures)
        return Finding.of(figures, "equal to rounding: kernels of a GPU add in an order that changes" if moved else "")
    return Finding.of(
        [
            Figure("loss", subject.loss, loss, abs(subject.loss - loss), 0.0),
            _same("gradient", subject.gradient, slope),
            _same("H v", first, second),
        ]
    )


def batch_size(subject: Subject) -> Finding:
    """Loss, gradient, product, connectivity and a trace, with batches that do not divide the samples."""
    problem = subject.problem
    if problem.bn == "train":
        return Finding.skip("with --bn train a batch is a statistics group of 128, whatever the batch size")
    return _alike(subject, problem.choose(batch_size=max(1, min(7, len(problem) - 1))), "batches of 7", trace=True)


def sample_order(subject: Subject) -> Finding:
    """Loss, gradient, product and connectivity with the samples in another order."""
    problem = subject.problem
    if problem.bn == "train":
        return Finding.skip("with --bn train a sample's statistics come from the samples around it")
    order = np.random.default_rng([subject.seed, _ORDER]).permutation(len(problem))
    return _alike(subject, problem.choose(torch.from_numpy(order)), "shuffled", trace=False)


def untouched(subject: Subject, before: dict[str, Any]) -> Finding:
    """The network and the random generators as they were before all checks."""
    after = snapshot(subject.problem)
    changed = [key for key in before if not _equal(before[key], after.get(key))]
    figure = Figure("weights, buffers, gradients, flags and generators that changed", len(changed), 0, len(changed), 0)
    return Finding.of([figure], reason=", ".join(changed[:5]))


def snapshot(problem: Problem) -> dict[str, Any]:
    """All of a model and of the generators that measuring could change."""
    model = problem.model
    kept: dict[str, Any] = {
        "torch's generator": torch.get_rng_state(),
        "numpy's generator": np.random.get_state(legacy=False)["state"]["key"].tolist(),
        "Python's generator": random.getstate(),
    }
    for name, module in model.named_modules():
        kept[f"train/eval flag of {name or 'the model'}"] = module.training
    for name, parameter in model.named_parameters():
        kept[name] = parameter.detach().clone()
        kept[f"gradient of {name}"] = None if parameter.grad is None else parameter.grad.clone()
        kept[f"requires_grad of {name}"] = parameter.requires_grad
    for name, buffer in model.named_buffers():
        kept[f"buffer {name}"] = buffer.detach().clone()
    return kept


def _alike(subject: Subject, other: Problem, how: str, *, trace: bool) -> Finding:
    problem, v = subject.problem, subject.direction(0)
    figures = [
        equal(f"loss, {how}", subject.loss, evaluate(other).loss, rtol=_ROUNDING, floor=1e-12),
        _near(f"gradient, {how}", subject.gradient, gradient(other)),
        _near(f"H v, {how}", subject.product(v), HessianOperator(other).matmat(v[:, None])[:, 0]),
    ]
    rest: dict[str, Callable[[Problem], float]] = {
        "connectivity": lambda p: connectivity(p).value,
        "Fisher-Rao norm": lambda p: fisher_rao(p, by="*").value,
    }
    if trace:  # its probes belong to blocks of samples in their own order
        rest["trace"] = lambda p: hessian_trace(p, budget=8.0, seed=subject.seed).value
    for name, measure in rest.items():
        try:
            figures.append(equal(f"{name}, {how}", measure(problem), measure(other), rtol=_ROUNDING, floor=1e-12))
        except NotApplicableError:
            continue
    return Finding.of(figures)


def _same(what: str, a: torch.Tensor, b: torch.Tensor) -> Figure:
    apart = float((a - b).abs().max()) if len(a) else 0.0
    return Figure(f"{what}: norms, and the largest difference", float(a.norm()), float(b.norm()), apart, 0.0)


def _near(what: str, a: torch.Tensor, b: torch.Tensor, allowed: float = _ROUNDING) -> Figure:
    scale = max(float(a.norm()), float(b.norm()), 1e-12)
    apart = float((a - b).norm()) / scale
    return Figure(
        f"{what}: norms, and relative norm of the difference", float(a.norm()), float(b.norm()), apart, allowed
    )


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and torch.equal(torch.nan_to_num(a), torch.nan_to_num(b))
    return bool(a == b)
