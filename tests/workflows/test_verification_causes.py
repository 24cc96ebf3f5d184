"""A check that fails names what is wrong with the network, and not something else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from landscape import Problem
from landscape.workflows.verification import verify


class Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.tanh()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> Tensor:
        slope: Tensor = 1 - ctx.saved_tensors[0].tanh() ** 2
        return g * slope


class TooLarge(torch.autograd.Function):
    """Its backward pass is not the derivative of its forward pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.tanh()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        slope: Tensor = 1 - ctx.saved_tensors[0].tanh() ** 2
        return 1.1 * g * slope


class Kept(torch.autograd.Function):
    """Its backward pass uses a value of the forward pass that autograd does not follow."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.slope = 1 - x.tanh() ** 2
        return x.tanh()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        slope: Tensor = ctx.slope
        return g * slope


def half_detached(h: Tensor) -> Tensor:
    return h.tanh() + 0.5 * h.tanh().detach()


def written_over(h: Tensor) -> Tensor:
    e = h.exp()
    e += 1
    return e


def by_the_batch(h: Tensor) -> Tensor:
    return F.batch_norm(h, None, None, training=True)


def by_hand(h: Tensor) -> Tensor:
    return (h - h.mean(0)) / (h.std(0, correction=0) + 1e-3)


def fused(h: Tensor) -> Tensor:
    q = h.view(-1, 2, 1, 4)
    found: Tensor = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(q, q, q)[0]
    return found.reshape(-1, 8)


class Network(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 8), nn.Linear(8, 3)
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.last(self.function(self.first(x)))
        return result


def problem(function: Callable[[Tensor], Tensor]) -> Problem:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        data = torch.randn(24, 4, dtype=torch.float64), torch.arange(24) % 3
        return Problem(Network(function).double(), nn.CrossEntropyLoss(), data)


FAULTS: dict[str, tuple[Callable[[Tensor], Tensor], str, str]] = {
    "cut off": (half_detached, "gradient", "detach(), .data or no_grad() cuts a part off"),
    "another derivative": (TooLarge.apply, "gradient", "autograd function returns another derivative"),
    "not followed": (Kept.apply, "differences", "uses values that autograd does not follow"),
    "differentiable once": (Once.apply, "product", "Once has no second derivative"),
    "written over": (written_over, "product", "changes in place what a derivative needs"),
    "fused kernel": (fused, "product", "a fused kernel has no second derivative"),
    "batch statistics": (by_the_batch, "batch_size", "takes its statistics from the batch in evaluation mode"),
    "batch statistics by hand": (by_hand, "batch_size", "lets a sample's output depend on the other samples"),
}
SAME_SENTENCE = {"cut off", "another derivative"}  # two ways to the same wrong slope


@pytest.mark.parametrize("fault", FAULTS)
def test_the_cause_is_named_and_no_other(fault: str) -> None:
    function, check, words = FAULTS[fault]
    finding = verify(problem(function), [check]).findings[check]
    assert finding.verdict == "failed"
    causes = " ".join(finding.causes)
    assert words in f"{finding.reason} {causes}"
    told = {other for other, (_, _, others) in FAULTS.items() if others in causes}
    assert told <= ({fault} if fault not in SAME_SENTENCE else SAME_SENTENCE)


def test_unused_parameters_are_no_fault_and_pyhessian_leaves_them_out() -> None:
    sound = problem(torch.tanh)
    sound.model.register_parameter("spare", nn.Parameter(torch.ones(3, dtype=torch.float64)))
    with_spare = Problem(sound.model, nn.CrossEntropyLoss(), (sound.samples.inputs, sound.samples.targets))
    found = verify(with_spare, ["gradient", "product", "top_eigenvalue", "trace"])
    assert {name: finding.verdict for name, finding in found.findings.items() if finding.verdict != "passed"} == {}


@pytest.mark.filterwarnings("ignore:.*weight_norm. is deprecated:FutureWarning")
@pytest.mark.parametrize("norm", [nn.utils.weight_norm, nn.utils.spectral_norm])
def test_normalised_weights_pass_and_are_left_as_they_were(norm: Callable[[nn.Module], nn.Module]) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(norm(nn.Linear(4, 5)), nn.Tanh(), nn.Linear(5, 3)).double().eval()
        data = torch.randn(24, 4, dtype=torch.float64), torch.arange(24) % 3
    model(data[0])  # the weight has a graph now, which a copy of the network cannot have
    before = dict(vars(model[0]))
    found = verify(Problem(model, nn.CrossEntropyLoss(), data))
    assert found.passed
    assert vars(model[0]).keys() == before.keys()
    assert vars(model[0])["weight"] is before["weight"]
