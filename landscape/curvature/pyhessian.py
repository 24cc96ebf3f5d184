"""PyHessian (Yao et al. 2020) as a second engine: its own eigenvalues and trace on the same problem.

It switches the model to eval mode and writes into `.grad`, so it gets a copy. It averages batches by their number of
samples, so it can only serve losses that weight every sample alike. Its stopping rules (a small change of the last
estimate) are its own; what they are worth is judged here by residuals and standard errors.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from pyhessian import hessian as PyHessian
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from landscape.curvature.second_derivatives import check_second_derivative
from landscape.errors import NotApplicableError
from landscape.parameters import flatten
from landscape.problem import Batch, Problem
from landscape.problem.running import duplicate
from landscape.work import charge


def pyhessian_trace(problem: Problem, *, max_probes: int, seed: int) -> list[float]:
    """The values v'Hv of the probes that PyHessian drew until its own rule stopped it.

    Raises:
        NotApplicableError: the problem is outside of what PyHessian computes.
    """
    with _beside(problem, seed):
        return [float(v) for v in _engine(problem).trace(maxIter=max_probes)]


def pyhessian_eigenvalues(problem: Problem, *, top: int, max_products: int, seed: int) -> tuple[np.ndarray, Tensor]:
    """PyHessian's eigenvalues of largest magnitude, (k,) in the order found, and its unit vectors (P, k).

    Raises:
        NotApplicableError: the problem is outside of what PyHessian computes.
    """
    with _beside(problem, seed):
        engine = _engine(problem)
        values, vectors = engine.eigenvalues(maxIter=max_products, top_n=top)
    names = [name for name, p in engine.model.named_parameters() if p.requires_grad]
    columns = []
    for vector in vectors:
        parts = dict(zip(names, vector, strict=True))
        zeros = {name: torch.zeros_like(p) for name, p in problem.parameters.items()}
        columns.append(flatten({name: parts.get(name, zero) for name, zero in zeros.items()}))
    return np.array(values, dtype=float), torch.stack(columns, dim=1)


@contextmanager
def _beside(problem: Problem, seed: int) -> Iterator[None]:
    """PyHessian's surroundings: torch's generator from `seed`, and functions that can be differentiated twice."""
    with (
        torch.random.fork_rng(),
        warnings.catch_warnings(),
        sdpa_kernel(SDPBackend.MATH),
        problem.exchanged(),
    ):
        # of the cycle between weights and gradients that it makes; they go with the copy
        warnings.filterwarnings("ignore", message="Using backward\\(\\) with create_graph=True")
        torch.manual_seed(seed)
        yield


def _engine(problem: Problem) -> PyHessian:
    if problem.bn == "train":
        raise NotApplicableError("PyHessian evaluates BatchNorm by its running statistics only")
    if problem.device.type not in ("cpu", "cuda"):
        raise NotApplicableError(f"PyHessian runs on cpu and cuda only, not on {problem.device.type}")
    weights = problem.weights
    if bool((weights != weights[0]).any()):
        raise NotApplicableError("PyHessian averages samples with equal weights only")
    batches = list(problem.batches(0, len(problem)))  # it knows no group: every process does the whole
    if not all(isinstance(batch.inputs, Tensor) for batch in batches):
        raise NotApplicableError("PyHessian takes inputs of one tensor only")
    used = _used(problem, batches[0])
    model = duplicate(problem.model).to(device=problem.device, dtype=problem.dtype)
    for name, parameter in model.named_parameters():
        # it fails on a gradient that is not there; a row and a column of zeros change no eigenvalue and no trace
        parameter.requires_grad_(parameter.requires_grad and name in used)
    model.register_forward_hook(_charge)
    samples = [(batch.inputs, index) for index, batch in enumerate(batches)]

    def mean_loss(outputs: Tensor, index: Tensor) -> Tensor:
        return problem.losses_of(problem.reading.outputs(outputs), batches[int(index)]).mean()

    loader = [(inputs, torch.tensor(index)) for inputs, index in samples]
    return PyHessian(model, mean_loss, dataloader=loader, cuda=problem.device.type == "cuda")


def _used(problem: Problem, batch: Batch) -> set[str]:
    """The parameters that the loss depends on.

    Raises:
        NotApplicableError: a function has no second derivative; PyHessian would make a number all the same.
    """
    theta = {name: tensor.detach().requires_grad_() for name, tensor in problem.parameters.items()}
    value = problem.objective(theta, batch)
    found = torch.autograd.grad(value, list(theta.values()), create_graph=True, allow_unused=True)
    check_second_derivative([*found, value], "use --hvp finite-difference with --dtype float64")
    return {name for name, g in zip(theta, found, strict=True) if g is not None}


def _charge(module: nn.Module, inputs: tuple[Tensor, ...], outputs: Tensor) -> None:
    charge("hessian_product", len(inputs[0]))
