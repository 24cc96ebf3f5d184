"""What is likely wrong with a network on which a check failed: found by running its modules, not by their names.

Each finder looks at one thing and returns sentences; all run on a copy.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from landscape.curvature.second_derivatives import check_second_derivative
from landscape.errors import LandscapeError
from landscape.parameters import flatten
from landscape.problem import Batch, Problem
from landscape.problem.module_traces import call, first_difference, module_trace, random_module
from landscape.problem.running import duplicate, evaluation_mode
from landscape.workflows.verification.differences import gradient_differences, slope_by_differences

_FEW = 4
_APART = 1e-3  # relative, of a derivative and a difference


def likely_causes(problem: Problem) -> list[str]:
    """Why the numbers of this network may be wrong; empty where nothing was found."""
    found: list[str] = []
    for finder in (
        *(_random_modules, _dependent_samples, _moving_buffers, _unused_parameters),
        *(_second_derivative, _another_derivative),
    ):
        try:
            found += finder(problem)
        except LandscapeError as error:
            found.append(str(error).removesuffix("."))
        except (RuntimeError, ValueError) as error:
            found.append(_of_error(error))
    return list(dict.fromkeys(found))


def _of_error(error: Exception) -> str:
    first = str(error).splitlines()[0]
    if "inplace operation" in first:
        return f"a module changes in place what a derivative needs: {first}"
    if "is not implemented" in first and "derivative" in first:
        return f"a fused kernel has no second derivative (try --hvp forward): {first}"
    return f"the network fails: {first}"


def _copy(problem: Problem) -> nn.Module:
    return duplicate(problem.model).to(device=problem.device, dtype=problem.dtype)


def _random_modules(problem: Problem) -> list[str]:
    batch = next(problem.batches(0, min(_FEW, len(problem))))
    found = random_module(_copy(problem), batch.inputs, bn=problem.bn)
    return [found] if found else []


def _dependent_samples(problem: Problem) -> list[str]:
    if problem.bn == "train" or len(problem) < 2:
        return []
    together = next(problem.batches(0, min(_FEW, len(problem))))
    (alone,) = problem.batches(0, 1)
    count = len(together)

    def same(a: Tensor, b: Tensor) -> bool:
        if a.shape == b.shape:
            return True  # not cut by samples: nothing can be said
        if a.ndim == 0 or len(a) != count or a[:1].shape != b.shape:
            return True
        return torch.allclose(a[:1].double(), b.double(), rtol=1e-4, atol=1e-6)

    model = _copy(problem)
    module = first_difference(module_trace(model, together.inputs), module_trace(model, alone.inputs), same)
    if module is None:
        return []
    return [
        f"{module} lets a sample's output depend on the other samples of its batch: statistics of the batch (a "
        "normalisation in train mode, or one written by hand)"
    ]


def _moving_buffers(problem: Problem) -> list[str]:
    model = _copy(problem)
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    batch = next(problem.batches(0, min(_FEW, len(problem))))
    with torch.random.fork_rng(), torch.no_grad(), evaluation_mode(model):
        call(model, batch.inputs)
    moved = [name for name, buffer in model.named_buffers() if not torch.equal(before[name], buffer)]
    return [f"the forward pass changes the buffer {name} in evaluation mode" for name in moved[:2]]


def _unused_parameters(problem: Problem) -> list[str]:
    theta = {name: tensor.detach().requires_grad_() for name, tensor in problem.parameters.items()}
    batch = next(problem.batches(0, min(_FEW, len(problem))))
    share = problem.objective(theta, batch)
    found = torch.autograd.grad(share, list(theta.values()), allow_unused=True)
    unused = [name for name, g in zip(theta, found, strict=True) if g is None]
    return [f"the loss does not use {', '.join(unused[:3])}"] if unused else []


def _second_derivative(problem: Problem) -> list[str]:
    """An error where the network cannot be differentiated twice, on the kernels that products use."""
    theta = {name: tensor.detach().requires_grad_() for name, tensor in problem.parameters.items()}
    batch = next(problem.batches(0, min(_FEW, len(problem))))
    with sdpa_kernel(SDPBackend.MATH):
        _product(problem, theta, batch, torch.ones(problem.size, dtype=problem.dtype, device=problem.device))
    return []


def _another_derivative(problem: Problem) -> list[str]:
    """What autograd gives that is not the derivative, by differences on a few samples; in float64 alone."""
    if problem.dtype != torch.float64 or problem.bn == "train":
        return []
    few = problem.choose(torch.arange(min(_FEW, len(problem))))
    theta = {name: tensor.detach().requires_grad_() for name, tensor in few.parameters.items()}
    (batch,) = few.batches(0, len(few), size=len(few))
    found = torch.autograd.grad(few.objective(theta, batch), list(theta.values()), allow_unused=True)
    pairs = zip(theta.items(), found, strict=True)
    g = flatten({name: torch.zeros_like(t) if part is None else part for (name, t), part in pairs})
    size = float(g.norm())
    if size == 0:
        return []
    v = g / size
    slope = slope_by_differences(few, v)
    if slope is None:  # kinks
        return []
    if abs(slope - size) > _APART * max(abs(slope), size):
        return [
            "what autograd gives is not the slope of the loss: detach(), .data or no_grad() cuts a part off, or an "
            "autograd function returns another derivative"
        ]
    with sdpa_kernel(SDPBackend.MATH):
        product = _product(few, theta, batch, v)
    difference = gradient_differences(few, v)
    if difference is None or float((product - difference).norm()) <= _APART * float(difference.norm()):
        return []
    return [
        "the second derivative is not that of the first: the backward pass of an autograd function uses values that "
        "autograd does not follow (kept on ctx, detached, or computed without a graph)"
    ]


def _product(problem: Problem, theta: dict[str, Tensor], batch: Batch, v: Tensor) -> Tensor:
    """H v (P,) of a batch's share by plain double backward."""
    leaves = list(theta.values())
    value = problem.objective(theta, batch)
    first = torch.autograd.grad(value, leaves, create_graph=True, allow_unused=True)
    check_second_derivative([*first, value], "only --hvp finite-difference can be right")
    pieces = torch.split(v, [leaf.numel() for leaf in leaves])
    slope = [(g * p.view_as(g)).sum() for g, p in zip(first, pieces, strict=True) if g is not None and g.requires_grad]
    if not slope:
        return torch.zeros_like(v)
    second = torch.autograd.grad(torch.stack(slope).sum(), leaves, allow_unused=True, materialize_grads=True)
    return flatten(dict(zip(theta, second, strict=True)))
