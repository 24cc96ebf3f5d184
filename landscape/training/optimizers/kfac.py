"""K-FAC: the gradient preconditioned by a Kronecker-factored curvature of each linear layer and convolution.

    g~_l = (1/T) (S + sqrt(delta/T) / pi I)^-1 G_l (A + pi sqrt(delta/T) I)^-1,   pi = sqrt((tr A/dim A)/(tr S/dim S))
    nu = min(1, sqrt(kappa / (eta^2 sum_l <G_l, g~_l>)))
    v <- mu v + nu g~,   theta <- (1 - eta lambda) theta - eta v          decoupled decay, outside the momentum
                         theta <- theta - eta v, with G + lambda theta for G   coupled decay

G_l is the gradient of the layer's weights (O, I), its bias as a last column; A, S, T as in `kronecker`, of the model's
Fisher matrix (`kfac-f`) or of the Gauss-Newton matrix (`kfac-g`). T A (x) S + delta I is T times a product
damped by delta/T, which pi splits between the factors. A and S are initialised over all training samples, then
averaged with factor 0.95 over batches, every `statistics`-th step; the inverses follow every `inverses`-th.

Parameters without factors (those of normalisation layers, convolutions in groups) take plain momentum SGD, without
nu; the sum of the clip is over the factored layers (*our reading*). Which parameter belongs to which layer is
asked of the model at each step.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from landscape.training.optimizers.cotangents import Kind, Noise, cotangents
from landscape.training.optimizers.family import OptimizerFamily, Options, Parameters
from landscape.training.optimizers.kronecker import Factors, Layer, cotangent_factors, factored_layers, recording
from landscape.training.passes import Logits, MultiPassOptimizer, Passes

AVERAGE = 0.95


class KfacOptions(Options):
    """eta = `lr`, mu = `momentum`, lambda = `weight_decay`, delta = `damping`, kappa = `clip`; the intervals."""

    lr: float = Field(default=0.01, gt=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=5e-4, ge=0)
    decoupled: bool = True
    damping: float = Field(default=1e-3, gt=0)
    clip: float = Field(default=1e-3, gt=0)
    statistics: int = Field(default=10, ge=1)
    inverses: int = Field(default=100, ge=1)


def damped_inverses(factors: Factors, damping: float) -> tuple[Tensor, Tensor]:
    """The inverses of A + pi sqrt(delta/T) I and of T (S + sqrt(delta/T)/pi I); pi = 1 where a trace is 0."""
    A, S, locations = factors.A, factors.S, factors.locations
    mean_a, mean_s = A.trace() / len(A), S.trace() / len(S)
    pi = torch.where((mean_a > 0) & (mean_s > 0), (mean_a / mean_s).sqrt(), 1.0)
    root = (damping / locations) ** 0.5
    return _inverse(A, pi * root), _inverse(S, root / pi) / locations


def _inverse(M: Tensor, shift: Tensor) -> Tensor:
    # The one without a check of the result: a check would wait for the device.
    factor = torch.linalg.cholesky_ex(M + shift * torch.eye(len(M), dtype=M.dtype, device=M.device))[0]
    return torch.cholesky_inverse(factor)


def clip_factor(change: Tensor, clip: float) -> Tensor:
    """nu = min(1, sqrt(kappa / change)) with change = eta^2 sum_l <G_l, g~_l>; 1 where that is 0."""
    return (clip / change).sqrt().nan_to_num(nan=1.0, posinf=1.0).clamp(max=1.0)


class Kfac(MultiPassOptimizer):
    """K-FAC over `parameters`.

    State of one velocity a parameter; with the weight of a factored layer A, S, their inverses, T and a step count.

    Args:
        parameters: or groups of them, each with its decay.
        options: the defaults of all groups; damping, clip and intervals are those of `options` for all.
        kind: of the curvature.
    """

    def __init__(self, parameters: Parameters, options: KfacOptions, kind: Kind) -> None:
        super().__init__(parameters, options.model_dump())
        self._options = options
        self._kind = kind

    @torch.no_grad()
    def step_with(self, passes: Passes) -> None:
        """Take a step along `.grad`; parameters without one stay.

        Cost: at the first step a pass over all training samples; at every `statistics`-th one pass over the batch.

        Raises:
            ModelError: a layer runs twice in a pass.
        """
        groups = {theta: group for group in self.param_groups for theta in group["params"] if theta.grad is not None}
        layers = [layer for layer in factored_layers(passes.model) if layer.weight in groups]
        self._follow_curvature(passes, layers)
        directions = {theta: self._decayed_gradient(theta, group) for theta, group in groups.items()}
        products: list[Tensor] = []
        factored: set[Tensor] = set()
        for layer in layers:
            members = _members(layer)
            G_OI = _join([directions[theta] for theta in members])
            state = self.state[layer.weight]
            natural_OI = state["S_inverse"] @ G_OI @ state["A_inverse"]
            lr = groups[layer.weight]["lr"]
            products.append(((lr * G_OI) * (lr * natural_OI)).sum())
            directions.update(_split(natural_OI, members))
            factored.update(members)
        if products:
            nu = clip_factor(torch.stack(products).sum(), self._options.clip)
            for theta in factored:
                directions[theta] = nu * directions[theta]
        for theta, group in groups.items():
            self._move(theta, directions[theta], group)

    def _decayed_gradient(self, theta: Tensor, group: Mapping[str, Any]) -> Tensor:
        assert theta.grad is not None
        return theta.grad if group["decoupled"] else theta.grad + group["weight_decay"] * theta

    def _move(self, theta: Tensor, direction: Tensor, group: Mapping[str, Any]) -> None:
        state = self.state[theta]
        if "velocity" not in state:
            state["velocity"] = torch.zeros_like(theta)
        velocity = state["velocity"].mul_(group["momentum"]).add_(direction)
        if group["decoupled"]:
            theta.mul_(1 - group["lr"] * group["weight_decay"])
        theta.sub_(velocity, alpha=group["lr"])

    def _follow_curvature(self, passes: Passes, layers: list[Layer]) -> None:
        """Initialise or renew the factors and the inverses whose turn it is, and count the step."""
        new = [layer for layer in layers if "step" not in self.state[layer.weight]]
        if new:
            self._initialise(passes, new)
        due = [layer for layer in layers if self._due(layer, self._options.statistics)]
        if due:
            for layer, factors in self._mean_factors(passes, passes.logits(), due).items():
                state = self.state[layer.weight]
                state["A"].lerp_(factors.A, 1 - AVERAGE)
                state["S"].lerp_(factors.S, 1 - AVERAGE)
        for layer in layers:
            state = self.state[layer.weight]
            if layer in new or self._due(layer, self._options.inverses):
                factors = Factors(state["A"], state["S"], state["locations"])
                state["A_inverse"], state["S_inverse"] = damped_inverses(factors, self._options.damping)
            state["step"] += 1

    def _due(self, layer: Layer, interval: int) -> bool:
        step: int = self.state[layer.weight]["step"]
        return step > 0 and step % interval == 0

    def _initialise(self, passes: Passes, layers: list[Layer]) -> None:
        """The factors as the mean over all training samples."""
        for layer, factors in self._mean_factors(passes, passes.all_logits(), layers).items():
            # A process without samples does not see the locations.
            locations = passes.share.spread.largest_of(factors.locations)
            self.state[layer.weight].update(step=0, locations=locations, A=factors.A, S=factors.S)

    def _mean_factors(self, passes: Passes, parts: Iterator[Logits], layers: list[Layer]) -> dict[Layer, Factors]:
        """The factors as the mean over the samples of `parts`, of all processes; T as this process saw it, or 0."""
        seed = int(torch.randint(2**62, ()))  # from the global generator, which stands the same in every process
        flags = {layer: _with_bias(layer) for layer in layers}
        means = {layer: _no_factors(layer, flags[layer]) for layer in layers}
        noise: Noise | None = None
        with recording(layers) as recorder:
            for part in parts:
                noise = noise if noise is not None else Noise(self._kind, seed, part.of)
                logits = part.values.detach()
                s_bK = cotangents(logits, self._kind, noise.rows(part.first, logits))
                for layer, factors in cotangent_factors(recorder, part.values, s_bK, flags).items():
                    A, S = means[layer].A, means[layer].S
                    A.add_(factors.A, alpha=len(logits) / part.of)
                    S.add_(factors.S, alpha=len(logits) / part.of)
                    means[layer] = Factors(A, S, factors.locations)
        passes.share.spread.sum_all([factor for mean in means.values() for factor in (mean.A, mean.S)])
        return means


def _no_factors(layer: Layer, bias: bool) -> Factors:
    inputs = layer.weight[0].numel() + bias
    return Factors(layer.weight.new_zeros(inputs, inputs), layer.weight.new_zeros((len(layer.weight),) * 2), 0)


def _members(layer: Layer) -> list[Tensor]:
    """The parameters of the layer that have a gradient: its weight, and its bias if it has one."""
    members: list[Tensor] = [layer.weight]
    if layer.bias is not None and layer.bias.grad is not None:
        members.append(layer.bias)
    return members


def _with_bias(layer: Layer) -> bool:
    return len(_members(layer)) > 1


def _join(parts: list[Tensor]) -> Tensor:
    """A layer's weight (O, ...) and bias (O,) as one matrix (O, I)."""
    return torch.cat([part.flatten(1) if part.ndim > 1 else part.unsqueeze(1) for part in parts], dim=1)


def _split(matrix_OI: Tensor, members: list[Tensor]) -> dict[Tensor, Tensor]:
    """The parts of what `_join` gave, by parameter."""
    columns = torch.split(matrix_OI, [member[0].numel() for member in members], dim=1)
    return {member: part.reshape(member.shape) for member, part in zip(members, columns, strict=True)}


_REFERENCE = "Martens and Grosse, Optimizing neural networks with Kronecker-factored approximate curvature, ICML 2015; "

KFAC_F = OptimizerFamily(
    name="kfac-f",
    options=KfacOptions,
    build=partial(Kfac, kind="fisher"),
    about="the gradient preconditioned by Kronecker factors of the Fisher matrix",
    reference=f"{_REFERENCE}Zhang et al., Three mechanisms of weight decay, arXiv:1810.12281, appendix F",
)

KFAC_G = OptimizerFamily(
    name="kfac-g",
    options=KfacOptions,
    build=partial(Kfac, kind="gauss-newton"),
    about="the gradient preconditioned by Kronecker factors of the Gauss-Newton matrix",
    reference=f"{_REFERENCE}Zhang et al., Three mechanisms of weight decay, arXiv:1810.12281, appendix F",
)
