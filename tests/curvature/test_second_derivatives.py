"""The trap: a function marked once_differentiable, whose second derivative PyTorch leaves out without a word."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

import landscape
from landscape import Problem


class Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.tanh()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return g * (1 - x.tanh() ** 2)


class Network(nn.Module):
    def __init__(self, once: bool) -> None:
        super().__init__()
        self.once = once
        self.first, self.second = nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        return self.second(Once.apply(h) if self.once else h.tanh())


def problem(once: bool) -> Problem:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        data = torch.randn(20, 3, dtype=torch.float64), torch.arange(20) % 2
        return Problem(Network(once).double(), nn.CrossEntropyLoss(), data)


@pytest.mark.parametrize("engine", ["landscape", "pyhessian"])
def test_measures_of_the_second_derivative_are_refused_and_the_function_named(engine: str) -> None:
    found = landscape.analyze(problem(once=True), ["hessian_trace", "top_eigenvalues"], engine=engine).measures
    for record in found.values():
        assert record.skipped is not None
        assert "Once has no second derivative (it is marked once_differentiable)" in record.skipped


def test_measures_of_the_first_derivative_are_those_of_the_plain_function() -> None:
    names = ["connectivity", "connectivity_batch", "margin", "jacobian_norm", "ggn_trace"]
    once, plain = (landscape.analyze(problem(one), names).measures for one in (True, False))
    for name in names:
        assert once[name].skipped is None
        assert once[name].value == pytest.approx(plain[name].value, rel=1e-12), name
    fisher_rao = landscape.analyze(problem(once=True), ["fisher_rao"]).measures["fisher_rao"]
    assert "nor has it a forward mode" in str(fisher_rao.skipped)


def test_finite_differences_still_give_the_eigenvalues() -> None:
    """The remedy that the message names, against the dense Hessian of the plain function; rtol 1e-3 is asked for."""
    plain = problem(once=False)
    x, labels = plain.samples.inputs, plain.samples.targets
    names = [name for name, _ in plain.model.named_parameters()]
    sizes = [p.numel() for _, p in plain.model.named_parameters()]
    shapes = [p.shape for _, p in plain.model.named_parameters()]

    def loss(flat: Tensor) -> Tensor:
        parts = {n: t.view(s) for n, t, s in zip(names, flat.split(sizes), shapes, strict=True)}
        return nn.functional.cross_entropy(torch.func.functional_call(plain.model, parts, x), labels)

    at = torch.cat([p.detach().reshape(-1) for p in plain.model.parameters()])
    dense = torch.linalg.eigvalsh(torch.autograd.functional.hessian(loss, at))
    record = landscape.analyze(problem(once=True), ["top_eigenvalues"], hvp="finite-difference", rtol=1e-3, budget=5000)
    assert record.measures["top_eigenvalues"].value == pytest.approx(float(dense[-1]), rel=1e-3)


class Centres(nn.Module):
    """Distances to centres: PyTorch has neither a second derivative of `cdist` nor a forward mode."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 4)
        self.centres = nn.Parameter(torch.linspace(-1, 1, 8, dtype=torch.float64).view(2, 4).sin())

    def forward(self, x: Tensor) -> Tensor:
        return -torch.cdist(self.first(x).tanh(), self.centres)


def test_a_kernel_without_a_second_derivative_is_named_and_the_other_measures_go_on() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        data = torch.randn(20, 3, dtype=torch.float64), torch.arange(20) % 2
        network = Problem(Centres().double(), nn.CrossEntropyLoss(), data)
    found = landscape.analyze(network).measures
    for name in ("hessian_trace", "top_eigenvalues", "spectral_density", "fisher_rao"):
        assert "_cdist_backward" in str(found[name].skipped), name
        assert "\n" not in str(found[name].skipped)
    for name in ("connectivity", "connectivity_batch", "margin", "jacobian_norm"):
        assert found[name].skipped is None, name
    forward = landscape.analyze(network, ["top_eigenvalues"], hvp="forward").measures["top_eigenvalues"]
    assert "forward AD with _cdist_forward); use --hvp exact, or finite-difference" in str(forward.skipped)
    by_differences = landscape.analyze(network, ["top_eigenvalues"], hvp="finite-difference").measures
    assert by_differences["top_eigenvalues"].value > 0
