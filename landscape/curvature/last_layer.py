"""The largest Hessian eigenvalue of the last weight layer's block, from features that are computed once.

With logits f = W h + b, features h and p = softmax(f), cross-entropy has in W the Hessian

    (H V) = (1/N) sum_n s_n h_n',     s_n = p_n * u_n - p_n (p_n . u_n),     u_n = V h_n

for V of the shape of W: no product needs the rest of the network, and H is positive semidefinite.

Legend: N samples, F features, K classes.

Reference: two-phase adaptive learning rate, section 3.2 (power iteration on the largest output-side layer).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from landscape.errors import OptionError

ITERATIONS = 10


def product(features_NF: Tensor, p_NK: Tensor, V_KF: Tensor) -> Tensor:
    """H V, (K, F). Cost: 4 N K F operations."""
    u_NK = features_NF @ V_KF.T
    s_NK = p_NK * (u_NK - (p_NK * u_NK).sum(1, keepdim=True))
    return s_NK.T @ features_NF / features_NF.shape[0]


def top_eigenvalue(features_NF: Tensor, logits_NK: Tensor, *, iterations: int = ITERATIONS, seed: int = 0) -> float:
    """The largest eigenvalue of H by power iteration: v <- H v / ||H v||; the Rayleigh quotient of the last v.

    A lower bound of the eigenvalue. The start is drawn from `seed` on the CPU, the same for every device. 0 where the
    Hessian is 0.

    Cost: `iterations` + 1 products; one synchronisation with the device.
    """
    p_NK = torch.softmax(logits_NK, 1)
    generator = torch.Generator().manual_seed(seed)
    shape = (logits_NK.shape[1], features_NF.shape[1])
    V_KF = torch.randn(shape, generator=generator, dtype=features_NF.dtype).to(features_NF.device)
    V_KF = V_KF / V_KF.norm()
    tiny = torch.finfo(V_KF.dtype).tiny
    for _ in range(iterations):
        HV_KF = product(features_NF, p_NK, V_KF)
        V_KF = HV_KF / HV_KF.norm().clamp_min(tiny)
    return float((V_KF * product(features_NF, p_NK, V_KF)).sum())


class LastLayer:
    """The last linear layer of a network, whose outputs are the network's."""

    def __init__(self, model: nn.Module, inputs: Tensor) -> None:
        """Find the layer, and see on a few `inputs` that it is the last one.

        Raises:
            OptionError: the network does not end in a linear layer.
        """
        linears = [module for module in model.modules() if isinstance(module, nn.Linear)]
        if linears:
            self._layer = linears[-1]
            _, logits, outputs = self._run(model, inputs)
            if outputs is not None and outputs.shape == logits.shape and torch.equal(outputs, logits):
                return
        raise OptionError(
            "schedule two-phase follows the last weight layer, and this network does not end in a linear layer; "
            "choose another schedule or network."
        )

    def features_and_logits(self, model: nn.Module, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """What the layer gets for `inputs` (N, ...) and what it gives, (N, F) and (N, K), in eval mode.

        The model is left in eval mode. Cost: one forward pass.
        """
        features, logits, _ = self._run(model, inputs)
        assert features is not None, "the layer was found by a forward pass"
        return features, logits

    @torch.no_grad()
    def _run(self, model: nn.Module, inputs: Tensor) -> tuple[Tensor | None, Tensor, Tensor | None]:
        seen: list[tuple[Tensor, Tensor]] = []
        handle = self._layer.register_forward_hook(lambda module, args, output: seen.append((args[0], output)))
        model.eval()
        try:
            logits: Tensor = model(inputs)
        finally:
            handle.remove()
        features, outputs = seen[-1] if seen else (None, None)
        return features, logits, outputs
