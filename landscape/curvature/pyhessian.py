"""PyHessian (Yao et al. 2020) as a second engine: its own eigenvalues and trace on the same problem.

It switches the model to eval mode and writes into `.grad`, so it gets a copy. It averages batches by their number of
samples, so it can only serve losses that weight every sample alike. Its stopping rules (a small change of the last
estimate) are its own; what they are worth is judged here by residuals and standard errors.
"""

from __future__ import annotations

import copy
import warnings

import numpy as np
import torch
from pyhessian import hessian as PyHessian
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from landscape.curvature.products import Linearisation
from landscape.errors import NotApplicableError
from landscape.problem import Problem
from landscape.work import charge


def pyhessian_trace(problem: Problem, *, max_probes: int, seed: int) -> list[float]:
    """The values v'Hv of the probes that PyHessian drew until its own rule stopped it.

    Raises:
        NotApplicableError: the problem is outside of what PyHessian computes.
    """
    with torch.random.fork_rng(), warnings.catch_warnings(), sdpa_kernel(SDPBackend.MATH):
        # of the cycle between weights and gradients that it makes; they go with the copy
        warnings.filterwarnings("ignore", message="Using backward\\(\\) with create_graph=True")
        torch.manual_seed(seed)
        return [float(v) for v in _engine(problem).trace(maxIter=max_probes)]


def pyhessian_eigenvalues(problem: Problem, *, top: int, max_products: int, seed: int) -> tuple[np.ndarray, Tensor]:
    """PyHessian's eigenvalues of largest magnitude, (k,) in the order found, and its unit vectors (P, k).

    Raises:
        NotApplicableError: the problem is outside of what PyHessian computes.
    """
    with torch.random.fork_rng(), warnings.catch_warnings(), sdpa_kernel(SDPBackend.MATH):
        # of the cycle between weights and gradients that it makes; they go with the copy
        warnings.filterwarnings("ignore", message="Using backward\\(\\) with create_graph=True")
        torch.manual_seed(seed)
        values, vectors = _engine(problem).eigenvalues(maxIter=max_products, top_n=top)
    columns = [torch.cat([part.reshape(-1) for part in vector]) for vector in vectors]
    return np.array(values, dtype=float), torch.stack(columns, dim=1)


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
    # of a function without a second derivative PyHessian would make a number all the same: this raises
    Linearisation(problem, problem.parameters, next(problem.batches(0, 1)))
    model = copy.deepcopy(problem.model).to(device=problem.device, dtype=problem.dtype)
    model.register_forward_hook(_charge)
    samples = [(batch.inputs, index) for index, batch in enumerate(batches)]

    def mean_loss(outputs: Tensor, index: Tensor) -> Tensor:
        return problem.losses_of(problem.reading.outputs(outputs), batches[int(index)]).mean()

    loader = [(inputs, torch.tensor(index)) for inputs, index in samples]
    return PyHessian(model, mean_loss, dataloader=loader, cuda=problem.device.type == "cuda")


def _charge(module: nn.Module, inputs: tuple[Tensor, ...], outputs: Tensor) -> None:
    charge("hessian_product", len(inputs[0]))
