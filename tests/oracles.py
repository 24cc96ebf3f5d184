"""Dense references: P x P matrices and whole Jacobians of small networks, in float64 and by loops.

Nothing here uses the project's own code. A network, one of torch's losses with its own reduction and the whole data
make L; derivatives are taken one row, one sample and one output at a time. `tests/curvature/test_oracles.py` holds
these against finite differences.

Legend: N samples, P parameters, K classes, d input values, S labels a sample.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel


@dataclass(frozen=True)
class Function:
    """L and its parts as functions of one flat vector theta (P,); `weights` are the w_n (N,)."""

    model: nn.Module
    loss: Callable[[Any, Any], Tensor]
    inputs: Tensor
    targets: Tensor
    weights: np.ndarray

    @property
    def named(self) -> dict[str, Tensor]:
        """The parameters that require a gradient."""
        return {name: p.detach() for name, p in self.model.named_parameters() if p.requires_grad}

    @property
    def theta(self) -> Tensor:
        return torch.cat([t.reshape(-1) for t in self.named.values()])

    def columns(self, names: Sequence[str]) -> np.ndarray:
        """The positions in theta of the named parameters."""
        positions, start = [], 0
        for name, t in self.named.items():
            if name in names:
                positions.append(np.arange(start, start + t.numel()))
            start += t.numel()
        return np.concatenate(positions)

    def outputs(self, theta: Tensor, inputs: Tensor) -> Tensor:
        pieces = torch.split(theta, [t.numel() for t in self.named.values()])
        named = {n: p.view(t.shape) for (n, t), p in zip(self.named.items(), pieces, strict=True)}
        training = [module.training for module in self.model.modules()]
        self.model.eval()
        try:
            with sdpa_kernel(SDPBackend.MATH):  # the fused kernels have no second derivative
                result: Tensor = functional_call(self.model, named, (inputs.clone(),))  # some write into them
        finally:
            for module, flag in zip(self.model.modules(), training, strict=True):
                module.training = flag
        return result

    def mean_loss(self, theta: Tensor) -> Tensor:
        """L by the loss's own mean over all the data at once."""
        return self.loss(self.outputs(theta, self.inputs), self.targets)


def remembered(matrix: Callable[[Function], np.ndarray]) -> Callable[[Function], np.ndarray]:
    """Compute a matrix once a process for functions that are the same in every tensor and setting: loops take long."""
    known: dict[Any, np.ndarray] = {}

    @functools.wraps(matrix)
    def found(f: Function) -> np.ndarray:
        key = (_settings(f.model), _settings(f.loss), *map(_bytes, (f.inputs, f.targets, f.weights)))
        if key not in known:
            known[key] = matrix(f)
            known[key].setflags(write=False)
        return known[key]

    return found


def _settings(part: Any) -> Any:
    """All that decides what a module computes; a plain function is itself."""
    if not isinstance(part, nn.Module):
        return part
    plain = (bool, int, float, str, tuple, type(None), types.FunctionType)
    return tuple(
        (
            name,
            type(module),
            *(
                (key, value)
                for key, value in sorted(vars(module).items())
                if isinstance(value, plain) and key != "training"
            ),
            *((key, _bytes(t), t.requires_grad) for key, t in module.named_parameters(recurse=False)),
            *((key, _bytes(t)) for key, t in module.named_buffers(recurse=False)),
        )
        for name, module in part.named_modules(remove_duplicate=False)
    )


def _bytes(values: Tensor | np.ndarray) -> Any:
    array = values.detach().numpy() if isinstance(values, Tensor) else np.asarray(values)
    return array.shape, array.dtype.str, array.tobytes()


def gradient(f: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    leaf = at.detach().clone().requires_grad_()
    (g,) = torch.autograd.grad(f(leaf), leaf)
    return g


def second_derivative(f: Callable[[Tensor], Tensor], at: Tensor) -> np.ndarray:
    """The Hessian of a scalar function, row by row."""
    leaf = at.detach().clone().requires_grad_()
    (g,) = torch.autograd.grad(f(leaf), leaf, create_graph=True)
    rows = [
        torch.autograd.grad(entry, leaf, retain_graph=True, allow_unused=True, materialize_grads=True)[0]
        if entry.requires_grad
        else torch.zeros_like(leaf)
        for entry in g
    ]
    return torch.stack(rows).detach().numpy()


@remembered
def hessian(f: Function) -> np.ndarray:
    """H (P, P) of L."""
    return second_derivative(f.mean_loss, f.theta)


@remembered
def per_sample_gradients(f: Function) -> np.ndarray:
    """dl_n/dtheta (N, P), one sample after another; zero where every label of a sample is ignored."""
    rows = []
    for n in range(len(f.inputs)):
        one, label = f.inputs[n : n + 1], f.targets[n : n + 1]
        g = gradient(lambda t, one=one, label=label: f.loss(f.outputs(t, one), label), f.theta)
        rows.append(torch.zeros_like(g) if f.weights[n] == 0 else g)
    return torch.stack(rows).numpy()


@remembered
def parameter_jacobian(f: Function) -> np.ndarray:
    """df_n/dtheta (N, K, S, P); S = 1 where the outputs are (N, K)."""
    samples = []
    for n in range(len(f.inputs)):
        leaf = f.theta.clone().requires_grad_()
        outputs = f.outputs(leaf, f.inputs[n : n + 1])[0]
        rows = [torch.autograd.grad(v, leaf, retain_graph=True)[0] for v in outputs.reshape(-1)]
        samples.append(torch.stack(rows).reshape(len(outputs), -1, len(leaf)))
    return torch.stack(samples).numpy()


def input_jacobian(f: Function) -> np.ndarray:
    """df_n/dx_n (N, K, d), one sample after another."""
    rows = []
    for n in range(len(f.inputs)):
        x = f.inputs[n : n + 1].clone().requires_grad_()
        outputs = f.outputs(f.theta, x)[0]
        rows.append(torch.stack([torch.autograd.grad(v, x, retain_graph=True)[0].reshape(-1) for v in outputs]))
    return torch.stack(rows).numpy()


def softmax(f: np.ndarray, axis: int = 1) -> np.ndarray:
    e = np.exp(f - f.max(axis=axis, keepdims=True))
    return np.asarray(e / e.sum(axis=axis, keepdims=True))


def label_fisher(f: Function, kind: str, label_weights: np.ndarray) -> np.ndarray:
    """F (P, P) with labels from the model.

    Args:
        f: the function.
        kind: `softmax` (categorical labels), `bernoulli` (a label an output), `gaussian` (squared error).
        label_weights: (N, S) for softmax: the weight of each label in the mean; else unused.
    """
    J = parameter_jacobian(f)  # (N, K, S, P)
    outputs = f.outputs(f.theta, f.inputs).detach().numpy().reshape(J.shape[:3])
    total = np.zeros((J.shape[-1],) * 2)
    for n in range(len(J)):
        for s in range(J.shape[2]):
            if kind == "softmax":
                p = softmax(outputs[n, :, s], axis=0)
                inner, weight = np.diag(p) - np.outer(p, p), label_weights[n, s] / label_weights.sum()
            elif kind == "bernoulli":
                p = 1 / (1 + np.exp(-outputs[n, :, s]))
                inner, weight = np.diag(p * (1 - p)) / len(p), 1 / (len(J) * J.shape[2])
            else:  # the mean of K squares is a Gaussian's -log p with variance K/2
                inner, weight = 2 / J.shape[1] * np.eye(J.shape[1]), 1 / (len(J) * J.shape[2])
            total += weight * J[n, :, s].T @ inner @ J[n, :, s]
    return total


@remembered
def gauss_newton(f: Function) -> np.ndarray:
    """G = sum_n w_n J_n' H_f J_n / W (P, P) with H_f the second derivative of the sample's loss in its outputs."""
    J = parameter_jacobian(f)
    outputs = f.outputs(f.theta, f.inputs).detach()
    total = np.zeros((J.shape[-1],) * 2)
    for n in range(len(J)):
        if f.weights[n] == 0:
            continue
        shape, label = outputs[n : n + 1].shape, f.targets[n : n + 1]
        inner = second_derivative(
            lambda o, shape=shape, label=label: f.loss(o.view(shape), label), outputs[n].reshape(-1)
        )
        rows = J[n].reshape(-1, J.shape[-1])
        total += f.weights[n] * rows.T @ inner @ rows
    return total / f.weights.sum()


def output_gauss_newton(f: Function) -> np.ndarray:
    """sum_n w_n J_n' J_n / W (P, P), a sample's outputs as one vector."""
    J = parameter_jacobian(f)
    rows = J.reshape(len(J), -1, J.shape[-1])
    return np.asarray(np.einsum("n,nkp,nkq->pq", f.weights / f.weights.sum(), rows, rows))
