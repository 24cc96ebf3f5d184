"""What is likely wrong with a network on which a check failed: found by running its modules, not by their names.

Each finder looks at one thing and returns sentences; all run on a copy.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from landscape.problem import Problem
from landscape.problem.module_traces import call, first_difference, module_trace, random_module
from landscape.problem.running import evaluation_mode

_FEW = 4


def likely_causes(problem: Problem) -> list[str]:
    """Why the numbers of this network may be wrong; empty where nothing was found."""
    found: list[str] = []
    for finder in (_random_modules, _dependent_samples, _moving_buffers, _unused_parameters, _second_derivative):
        try:
            found += finder(problem)
        except RuntimeError as error:
            found.append(_of_error(error))
    return list(dict.fromkeys(found))


def _of_error(error: RuntimeError) -> str:
    first = str(error).splitlines()[0]
    if "inplace operation" in first:
        return f"a module changes in place what a derivative needs: {first}"
    if "is not implemented" in first and "derivative" in first:
        return f"a fused kernel has no second derivative (try --hvp forward): {first}"
    return f"the network fails: {first}"


def _copy(problem: Problem) -> nn.Module:
    return copy.deepcopy(problem.model).to(device=problem.device, dtype=problem.dtype)


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
    leaves = list(theta.values())
    with sdpa_kernel(SDPBackend.MATH):
        first = torch.autograd.grad(problem.objective(theta, batch), leaves, create_graph=True, allow_unused=True)
        slope = [g.sum() for g in first if g is not None and g.requires_grad]
        if slope:
            torch.autograd.grad(torch.stack(slope).sum(), leaves, allow_unused=True)
    return []
