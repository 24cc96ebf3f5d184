"""Hessian products through the layers, functions and losses of torch, each against differences of plain gradients.

PyTorch's own second derivatives are not all right (`torch._weight_norm`), and not all there (`hardsigmoid`); a layer
that a new version breaks, or that a rule of ours does, fails here by name.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from landscape import Problem
from landscape.curvature.hessian import HessianOperator

N, INPUTS, CLASSES = 12, 5, 3
Build = Callable[[], nn.Module]


class Apply(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class First(nn.Module):
    """A layer that returns its result first, called with several copies of its input."""

    def __init__(self, layer: nn.Module, copies: int = 1) -> None:
        super().__init__()
        self.layer, self.copies = layer, copies

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.layer(*[x] * self.copies)[0]
        return result


class Halves(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.layer(x[:, :4], x[:, 4:])
        return result


def then_tanh(layer: nn.Module) -> nn.Module:
    """So that a linear layer has a second derivative in what comes before it."""
    return nn.Sequential(layer, nn.Tanh())


def gram(x: Tensor) -> Tensor:
    return torch.bmm(x, x.transpose(1, 2)) + torch.eye(x.shape[1], dtype=x.dtype)


ACTIVATIONS = (
    *("CELU", "ELU", "GELU", "GLU", "Hardsigmoid", "Hardswish", "Hardtanh", "LeakyReLU", "LogSigmoid", "Mish", "PReLU"),
    *("RReLU", "ReLU6", "SELU", "SiLU", "Sigmoid", "Softplus", "Softshrink", "Softsign", "Tanhshrink"),
)
OF_VECTORS: dict[str, Build] = {
    **{name: getattr(nn, name) for name in ACTIVATIONS},
    "GELU, tanh": lambda: nn.GELU("tanh"),
    "softmax": lambda: nn.Softmax(1),
    "log-softmax": lambda: nn.LogSoftmax(1),
    "layer norm": lambda: nn.LayerNorm(8),
    "layer norm, plain": lambda: nn.LayerNorm(8, elementwise_affine=False),
    "layer norm, no bias": lambda: nn.LayerNorm(8, bias=False),
    "RMS norm": lambda: nn.RMSNorm(8),
    "bilinear": lambda: Halves(nn.Bilinear(4, 4, 3)),
    "cosine": lambda: Apply(lambda x: F.cosine_similarity(x[:, :4], x[:, 4:])[:, None]),
    "pair distance": lambda: Apply(lambda x: F.pairwise_distance(x[:, :4], x[:, 4:])[:, None]),
    "normalize": lambda: Apply(F.normalize),
    "std": lambda: Apply(lambda x: x.std(1, keepdim=True)),
    "norm of order 3": lambda: Apply(lambda x: x.norm(3, dim=1, keepdim=True)),
    "log-sum-exp": lambda: Apply(lambda x: x.logsumexp(1, keepdim=True)),
    "cumulative product": lambda: Apply(lambda x: torch.cumprod(torch.sigmoid(x), 1)),
    "product": lambda: Apply(lambda x: x.prod(1, keepdim=True)),
    "Fourier": lambda: Apply(lambda x: torch.fft.rfft(x).abs()),
    "weight norm": lambda: then_tanh(nn.utils.parametrizations.weight_norm(nn.Linear(8, 6))),
    "weight norm, whole": lambda: then_tanh(nn.utils.parametrizations.weight_norm(nn.Linear(8, 6), dim=None)),
    "weight norm by hooks": lambda: then_tanh(nn.utils.weight_norm(nn.Linear(8, 6))),
    "spectral norm": lambda: then_tanh(nn.utils.parametrizations.spectral_norm(nn.Linear(8, 6))),
    "spectral norm by hooks": lambda: then_tanh(nn.utils.spectral_norm(nn.Linear(8, 6))),
}
OF_SEQUENCES: dict[str, Build] = {
    "conv 1d, dilated": lambda: then_tanh(nn.Conv1d(4, 3, 3, dilation=2)),
    "pixel shuffle": lambda: then_tanh(nn.Sequential(nn.Unflatten(2, (2, 3)), nn.PixelShuffle(2))),
    "attention": lambda: Apply(lambda x: F.scaled_dot_product_attention(x, x, x)),
    "causal attention": lambda: Apply(lambda x: F.scaled_dot_product_attention(x, x, x, is_causal=True)),
    "multi-head attention": lambda: First(nn.MultiheadAttention(6, 2, batch_first=True), 3),
    "transformer": lambda: nn.TransformerEncoderLayer(6, 2, 8, batch_first=True, activation="gelu"),
    "RNN": lambda: First(nn.RNN(6, 5, batch_first=True)),
    "GRU": lambda: First(nn.GRU(6, 5, batch_first=True)),
    "LSTM": lambda: First(nn.LSTM(6, 5, batch_first=True)),
    "einsum": lambda: Apply(lambda x: torch.einsum("nij,nkj->nik", x, torch.tanh(x))),
    "inverse": lambda: Apply(lambda x: torch.linalg.inv(gram(x))),
    "Cholesky": lambda: Apply(lambda x: torch.linalg.cholesky(gram(x))),
    "eigenvalues": lambda: Apply(lambda x: torch.linalg.eigvalsh(gram(x))),
    "singular values": lambda: Apply(torch.linalg.svdvals),
}
OF_IMAGES: dict[str, Build] = {
    "conv": lambda: then_tanh(nn.Conv2d(2, 3, 3, padding=1)),
    "conv, reflected": lambda: then_tanh(nn.Conv2d(2, 3, 3, padding=1, padding_mode="reflect")),
    "conv, grouped": lambda: then_tanh(nn.Conv2d(2, 4, 3, groups=2, stride=2)),
    "conv, transposed": lambda: then_tanh(nn.ConvTranspose2d(2, 3, 3)),
    "batch norm": lambda: nn.BatchNorm2d(2),
    "group norm": lambda: nn.GroupNorm(2, 2),
    "instance norm": lambda: nn.InstanceNorm2d(2, affine=True),
    "response norm": lambda: nn.LocalResponseNorm(2),
    "average pool": lambda: then_tanh(nn.AvgPool2d(2)),
    "max pool": lambda: then_tanh(nn.MaxPool2d(2)),
    "power pool": lambda: nn.LPPool2d(2, 2),
    "adaptive average": lambda: then_tanh(nn.AdaptiveAvgPool2d(3)),
    "adaptive max": lambda: then_tanh(nn.AdaptiveMaxPool2d(3)),
    "nearest": lambda: then_tanh(nn.Upsample(scale_factor=1.5)),
    "bilinear up": lambda: then_tanh(nn.Upsample(scale_factor=1.5, mode="bilinear")),
    "bicubic up": lambda: then_tanh(nn.Upsample(scale_factor=1.5, mode="bicubic")),
    "unfold": lambda: then_tanh(nn.Unfold(2)),
    "grid sample": lambda: Apply(lambda x: F.grid_sample(x, x.permute(0, 2, 3, 1).tanh(), align_corners=False)),
}
CLASS, REAL = torch.arange(N) % CLASSES, torch.linspace(-2, 2, N * CLASSES, dtype=torch.float64).view(N, CLASSES).sin()
LOSSES: dict[str, tuple[nn.Module, Tensor]] = {
    "cross-entropy, smoothed": (nn.CrossEntropyLoss(label_smoothing=0.1), CLASS),
    "cross-entropy of shares": (nn.CrossEntropyLoss(), REAL.softmax(1)),
    "squared": (nn.MSELoss(), REAL),
    "absolute": (nn.L1Loss(), REAL),
    "Huber": (nn.HuberLoss(), REAL),
    "smooth absolute": (nn.SmoothL1Loss(), REAL),
    "binary": (nn.BCEWithLogitsLoss(), (REAL > 0).double()),
    "binary of many": (nn.MultiLabelSoftMarginLoss(), (REAL > 0).double()),
    "Poisson": (nn.PoissonNLLLoss(), REAL.abs()),
    "divergence": (nn.KLDivLoss(reduction="batchmean"), REAL.softmax(1)),
    "soft margin": (nn.SoftMarginLoss(), REAL.sign()),
}


def network(*parts: nn.Module) -> nn.Sequential:
    return nn.Sequential(*parts, nn.Flatten(), nn.LazyLinear(CLASSES))


BUILDERS: dict[str, Build] = {
    **{name: (lambda layer=layer: network(nn.Linear(INPUTS, 8), layer())) for name, layer in OF_VECTORS.items()},
    **{
        name: (lambda layer=layer: network(nn.Linear(INPUTS, 24), nn.Unflatten(1, (4, 6)), layer()))
        for name, layer in OF_SEQUENCES.items()
    },
    **{
        name: (lambda layer=layer: network(nn.Linear(INPUTS, 72), nn.Unflatten(1, (2, 6, 6)), layer()))
        for name, layer in OF_IMAGES.items()
    },
}


def differ(model: nn.Module, loss: nn.Module, x: Tensor, y: Tensor) -> None:
    """H v of the problem against (g(theta + a v) - g(theta - a v)) / 2a of the plain network, a = 1e-5.

    Error budget: the third derivative a^2 = 1e-10, rounding 1e-16 / a = 1e-11, and 1e-5 for a kink that is crossed by a
    few of the values; a wrong rule is wrong by per cents.
    """
    problem = Problem(model, loss, (x, y))
    v = torch.randn(problem.size, dtype=torch.float64)
    v /= v.norm()
    pieces = v.split([p.numel() for p in model.parameters()])

    def gradient(step: float) -> Tensor:
        with torch.no_grad():
            moved = {
                name: (p + step * d.view_as(p)).requires_grad_()
                for (name, p), d in zip(model.named_parameters(), pieces, strict=True)
            }
        value = loss(torch.func.functional_call(model, moved, (x,)), y)
        return torch.cat([g.reshape(-1) for g in torch.autograd.grad(value, list(moved.values()))])

    expected = (gradient(1e-5) - gradient(-1e-5)) / 2e-5
    found = HessianOperator(problem).matmat(v[:, None])[:, 0]
    assert float((found - expected).norm()) <= 1e-5 * float(expected.norm()) + 1e-9


@pytest.mark.parametrize("name", BUILDERS)
def test_second_derivatives_of_layers(name: str) -> None:
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # normalisation by hooks
        torch.manual_seed(0)
        x = torch.randn(N, INPUTS, dtype=torch.float64)
        model = BUILDERS[name]()
        model(x.float())  # the lazy layer, and the vectors of spectral normalisation
        differ(model.double().eval(), nn.CrossEntropyLoss(), x, CLASS)


@pytest.mark.parametrize("name", LOSSES)
def test_second_derivatives_of_losses(name: str) -> None:
    loss, y = LOSSES[name]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        x = torch.randn(N, INPUTS, dtype=torch.float64)
        model = nn.Sequential(nn.Linear(INPUTS, 6), nn.Tanh(), nn.Linear(6, CLASSES)).double()
        differ(model, loss, x, y)
