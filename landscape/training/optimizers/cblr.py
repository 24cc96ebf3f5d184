"""CBLR: the rate of each weight from the radius of curvature of the loss along it.

    d = g + lambda theta,   h_i = H_ii + lambda
    R_i = (1 + d_i^2)^{3/2} / |h_i|,   theta_i <- theta_i - gamma min(R_i, cap) d_i

H_ii is the diagonal of the Hessian of the mini-batch loss (train mode). It is estimated at the first step and at
every `interval`-th after it as the mean of v * Hv over `probes` random sign vectors v (Bekas' estimator), and averaged
over the estimates with factor b: D <- b D + (1 - b) estimate, H = D / (1 - b^estimates).

*Our reading*: the running average (one estimate of one batch is mostly noise), the cap (R_i has a pole where H_ii
passes 0), and decay as in equation 22. A tensor whose median R_i is 0 or not finite takes as R_i the median of the
other tensors' medians; where no tensor has one, 1.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from landscape.training.optimizers.family import OptimizerFamily, Options, Parameters
from landscape.training.optimizers.layer_rates import complete
from landscape.training.passes import MultiPassOptimizer, Passes


class CblrOptions(Options):
    """gamma = `lr`, lambda = `weight_decay`, b = `beta`; `cap` of R_i; `interval` and `probes` of the diagonal."""

    lr: float = Field(default=0.01, gt=0)
    weight_decay: float = Field(default=5e-4, ge=0)
    interval: int = Field(default=10, ge=1)
    probes: int = Field(default=1, ge=1)
    beta: float = Field(default=0.9, ge=0, lt=1)
    cap: float = Field(default=100.0, gt=0)


def curvature_radius(d: Tensor, h: Tensor) -> Tensor:
    """R_i of the first derivatives `d` and the second derivatives `h`; infinite where h_i = 0."""
    return (1 + d.square()).pow(1.5) / h.abs()


def estimate_diagonal(passes: Passes, parameters: list[Tensor], probes: int) -> list[Tensor]:
    """The mean of v * Hv over `probes` random sign vectors, drawn from the global generator of the device.

    Unbiased; its variance for weight i is the sum over j != i of H_ij^2, divided by `probes`.
    Cost: one gradient, and about 1.5 gradients a probe.
    """
    signs = [[torch.randint_like(p, 2).mul_(2).sub_(1) for p in parameters] for _ in range(probes)]
    products = passes.hessian_products(parameters, signs)
    return [
        torch.stack([v[i] * product[i] for v, product in zip(signs, products, strict=True)]).mean(0)
        for i in range(len(parameters))
    ]


class Cblr(MultiPassOptimizer):
    """CBLR over `parameters`; state of one running diagonal, a step count and a count of estimates a parameter."""

    def __init__(self, parameters: Parameters, options: CblrOptions) -> None:
        super().__init__(parameters, options.model_dump())

    @torch.no_grad()
    def step_with(self, passes: Passes) -> None:
        """Take a step along `.grad`; tensors without one stay. Cost at every `interval`-th step: the estimate."""
        self._follow_diagonal(passes)
        moves = []
        for group in self.param_groups:
            for theta in group["params"]:
                if theta.grad is None:
                    continue
                state = self.state[theta]
                state["step"] += 1
                diagonal = state["diagonal"] / (1 - group["beta"] ** state["estimates"])
                d = theta.grad + group["weight_decay"] * theta
                moves.append((theta, d, curvature_radius(d, diagonal + group["weight_decay"]), group))
        if not moves:
            return
        medians_T = torch.stack([radius.median() for _, _, radius, _ in moves])
        good_T = torch.isfinite(medians_T) & (medians_T > 0)
        for (theta, d, radius, group), good, median in zip(
            moves, good_T.unbind(), complete(medians_T).unbind(), strict=True
        ):
            theta.sub_(torch.where(good, radius, median).clamp_(max=group["cap"]) * d, alpha=group["lr"])

    def _follow_diagonal(self, passes: Passes) -> None:
        """Estimate the diagonal of the tensors whose turn it is, those of all groups from the same products."""
        due = []
        for group in self.param_groups:
            for theta in group["params"]:
                if theta.grad is None:
                    continue
                state = self.state[theta]
                if not state:
                    state.update(step=0, estimates=0, diagonal=torch.zeros_like(theta))
                if state["step"] % group["interval"] == 0:
                    due.append((theta, group["beta"]))
        if not due:
            return
        estimates = estimate_diagonal(passes, [theta for theta, _ in due], self.defaults["probes"])
        for (theta, beta), estimate in zip(due, estimates, strict=True):
            state = self.state[theta]
            state["estimates"] += 1
            state["diagonal"].mul_(beta).add_(estimate, alpha=1 - beta)


CBLR = OptimizerFamily(
    name="cblr",
    options=CblrOptions,
    build=Cblr,
    about="each weight's rate from its radius of curvature, by an estimated Hessian diagonal",
    reference="arXiv:2012.08795, equations 9 to 11; Bekas, Kokiopoulou and Saad, An estimator for the diagonal of a "
    "matrix, Applied Numerical Mathematics 57, 2007",
)
