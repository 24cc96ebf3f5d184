"""The table of small float64 problems that the contract tests run over: a new trap adds one row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from oracles import Function
from torch import Tensor, nn

from landscape import Problem

N = 37  # one whole block of 32 and a ragged one


@dataclass(frozen=True)
class Case:
    """A problem with what an oracle has to know of it.

    `smooth` if L has a continuous second derivative (finite differences apply); `fisher` names the labels'
    distribution; `label_weights` (N, S) the weight of each label; `skipped` the measures that do not apply.
    """

    name: str
    model: nn.Module
    loss: Callable[[Any, Any], Tensor]
    inputs: Tensor
    targets: Tensor
    smooth: bool = True
    fisher: str | None = "softmax"
    label_weights: np.ndarray = field(default_factory=lambda: np.ones((N, 1)))
    skipped: frozenset[str] = frozenset()

    def problem(self, **options: Any) -> Problem:
        return Problem(self.model, self.loss, (self.inputs, self.targets), **options)

    @property
    def weights(self) -> np.ndarray:
        return np.asarray(self.label_weights.sum(1))

    @property
    def function(self) -> Function:
        return Function(self.model, self.loss, self.inputs, self.targets, self.weights)


Builder = Callable[[], Case]
BUILDERS: dict[str, Builder] = {}
NOT_CLASSES = frozenset({"margin"})
# no case has been trained; and a path needs piecewise linear activations and floating inputs
TRAINING_STATE = frozenset({"frobenius_distance", "effective_learning_rate", "preconditioned_sharpness"})
NO_PATHS = frozenset({"path_norm"})
WITH_PATHS = ("linear_regression", "logistic_regression", "deep_linear", "relu_without_bias", "batch_norm")
NO_SLOPE_IN_X = frozenset({"margin", "jacobian_norm"})
NO_FACTORS = frozenset({"kfac_gn_norm"})  # a weight is used more than once


def case(name: str) -> Case:
    """Build a case; the same weights and data each time, the global generator as it was."""
    with torch.random.fork_rng():
        torch.manual_seed(sum(map(ord, name)))
        built = BUILDERS[name]()
    built = replace(built, skipped=built.skipped | TRAINING_STATE | (frozenset() if name in WITH_PATHS else NO_PATHS))
    built.model.double()
    return built


def row(builder: Builder) -> Builder:
    BUILDERS[builder.__name__] = builder
    return builder


def normal(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64)


def labels(classes: int, *shape: int) -> Tensor:
    return torch.randint(classes, shape or (N,))


@row
def linear_regression() -> Case:
    return Case(
        "linear_regression", nn.Linear(4, 2), nn.MSELoss(), normal(N, 4), normal(N, 2), fisher="gaussian",
        skipped=NOT_CLASSES,
    )  # fmt: skip


@row
def logistic_regression() -> Case:
    return Case("logistic_regression", nn.Linear(5, 3), nn.CrossEntropyLoss(), normal(N, 5), labels(3))


@row
def deep_linear() -> Case:
    model = nn.Sequential(nn.Linear(4, 3, bias=False), nn.Linear(3, 3, bias=False), nn.Linear(3, 2, bias=False))
    return Case("deep_linear", model, nn.MSELoss(), normal(N, 4), normal(N, 2), fisher="gaussian", skipped=NOT_CLASSES)


@row
def relu_without_bias() -> Case:
    model = nn.Sequential(
        nn.Linear(4, 5, bias=False), nn.ReLU(), nn.Linear(5, 4, bias=False), nn.ReLU(), nn.Linear(4, 3, bias=False)
    )
    return Case("relu_without_bias", model, nn.CrossEntropyLoss(), normal(N, 4), labels(3), smooth=False)


@row
def batch_norm() -> Case:
    """Running statistics far from 0 and 1, a strided and a grouped convolution, ReLU in place."""
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU(inplace=True),
        nn.Conv2d(4, 4, 3, stride=2, groups=2), nn.BatchNorm2d(4), nn.ReLU(inplace=True),
        nn.Flatten(), nn.Linear(16, 3),
    )  # fmt: skip
    for module in model:
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return Case("batch_norm", model, nn.CrossEntropyLoss(), normal(N, 2, 6, 6), labels(3), smooth=False)


@row
def layer_and_group_norm() -> Case:
    model = nn.Sequential(
        nn.Conv2d(2, 4, 2, padding="same", padding_mode="circular"), nn.GroupNorm(2, 4), nn.Tanh(),
        nn.Flatten(2), nn.LayerNorm(9), nn.Flatten(), nn.Linear(36, 2),
    )  # fmt: skip
    for module in model:
        if isinstance(module, (nn.GroupNorm, nn.LayerNorm)):
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
    return Case("layer_and_group_norm", model, nn.CrossEntropyLoss(), normal(N, 2, 3, 3), labels(2))


@row
def weighted_and_ignored() -> Case:
    """Class weights, ignored labels (the first three samples among them), a label number outside of the classes."""
    weight = torch.tensor([0.5, 2.0, 1.0], dtype=torch.float64)
    targets = labels(3)
    targets[[0, 1, 2, 11, 36]] = 255
    loss = nn.CrossEntropyLoss(weight=weight, ignore_index=255)
    of_label = np.where(targets == 255, 0.0, weight[targets % 255].numpy())[:, None]
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))
    return Case("weighted_and_ignored", model, loss, normal(N, 4), targets, label_weights=of_label)


class Characters(nn.Module):
    """A language model: outputs (N, K, T)."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(5, 3)
        self.mix, self.head = nn.Linear(3, 4), nn.Linear(4, 5)

    def forward(self, tokens: Tensor) -> Tensor:
        e = self.embedding(tokens)
        past = e.cumsum(1) / torch.arange(1, tokens.shape[1] + 1, device=tokens.device)[:, None]
        return self.head(torch.tanh(self.mix(past))).mT


@row
def sequences() -> Case:
    """Padded labels of different lengths, and one sample without any."""
    tokens, targets = labels(5, N, 4), labels(5, N, 4)
    targets[torch.arange(4)[None, :] >= torch.randint(1, 5, (N, 1))] = -100
    targets[5] = -100
    return Case(
        "sequences", Characters(), nn.CrossEntropyLoss(), tokens, targets,
        label_weights=(targets != -100).double().numpy(), skipped=NO_SLOPE_IN_X,
    )  # fmt: skip


@row
def frozen() -> Case:
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3))
    for parameter in (model[0].weight, model[2].bias):
        assert isinstance(parameter, nn.Parameter)
        parameter.requires_grad_(False)
    return Case("frozen", model, nn.CrossEntropyLoss(), normal(N, 4), labels(3))


class Tied(nn.Module):
    """One weight in two layers, one of which is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(4, 4), nn.Linear(4, 4, bias=False), nn.Linear(4, 3)
        self.second.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.second(torch.tanh(self.first(torch.tanh(self.first(x)))))))


@row
def tied() -> Case:
    return Case("tied", Tied(), nn.CrossEntropyLoss(), normal(N, 4), labels(3), skipped=NO_FACTORS)


class Own(nn.Module):
    """A parameter of its own, a weight that is used outside of its layer, and a parameter that is not used."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head, self.spare = nn.Linear(4, 4), nn.Linear(4, 3), nn.Linear(2, 2)
        self.scale = nn.Parameter(torch.randn(4))

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.body(x)) * self.scale
        return self.head(F.linear(h, self.body.weight))


@row
def own_parameter() -> Case:
    return Case("own_parameter", Own(), nn.CrossEntropyLoss(), normal(N, 4), labels(3), skipped=NO_FACTORS)


@row
def binary_labels() -> Case:
    model = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3))
    return Case(
        "binary_labels", model, nn.BCEWithLogitsLoss(), normal(N, 5), labels(2, N, 3).double(), fisher="bernoulli",
        skipped=NOT_CLASSES,
    )  # fmt: skip


@row
def label_smoothing() -> Case:
    model = nn.Sequential(nn.Linear(4, 4), nn.Softplus(), nn.Linear(4, 3))
    return Case("label_smoothing", model, nn.CrossEntropyLoss(label_smoothing=0.1), normal(N, 4), labels(3))


@row
def class_probabilities() -> Case:
    model = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 3))
    return Case(
        "class_probabilities", model, nn.CrossEntropyLoss(), normal(N, 4), normal(N, 3).softmax(1), skipped=NOT_CLASSES
    )


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.recurrent, self.head = nn.GRU(2, 3, batch_first=True), nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.recurrent(x)[0][:, -1])


@row
def recurrent() -> Case:
    return Case("recurrent", Recurrent(), nn.CrossEntropyLoss(), normal(N, 3, 2), labels(2))


class Attention(nn.Module):
    """Fused attention has no second derivative, the fused inference path no forward mode; the mask holds -inf."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(4, 2, 4, batch_first=True, activation="gelu")
        self.head = nn.Linear(4, 2)
        self.register_buffer("mask", torch.full((3, 3), -torch.inf).triu(1))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(x, src_mask=self.mask)[:, -1])


@row
def attention() -> Case:
    return Case("attention", Attention(), nn.CrossEntropyLoss(), normal(N, 3, 4), labels(2))


@row
def conv1d() -> Case:
    model = nn.Sequential(
        nn.Conv1d(2, 3, 3), nn.Tanh(), nn.InstanceNorm1d(3, affine=True), nn.Flatten(), nn.Linear(9, 2)
    )
    return Case("conv1d", model, nn.CrossEntropyLoss(), normal(N, 2, 5), labels(2))


class LanguageModel(nn.Module):
    """Causal fused attention before a head that is tied to the embedding; an integer buffer numbers the places."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(4, 4), nn.Embedding(3, 4)
        self.norm, self.mix, self.out = nn.LayerNorm(4), nn.Linear(4, 12, bias=False), nn.Linear(4, 4)
        self.head = nn.Linear(4, 4, bias=False)
        self.head.weight = self.words.weight
        self.register_buffer("numbers", torch.arange(3))

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.words(tokens) + self.places(self.numbers)
        parts = self.mix(self.norm(x)).view(len(x), 3, 3, 2, 2).permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(parts[0], parts[1], parts[2], is_causal=True)
        return self.head(x + self.out(seen.transpose(1, 2).reshape(len(x), 3, 4))).mT


@row
def language_model() -> Case:
    """The next token is the label; the last place has none, and short samples are padded."""
    tokens = labels(4, N, 3)
    targets = torch.cat([tokens[:, 1:], torch.full((N, 1), -100)], 1)
    targets[::5, 1] = -100
    return Case(
        "language_model", LanguageModel(), nn.CrossEntropyLoss(), tokens, targets,
        label_weights=(targets != -100).double().numpy(), skipped=NO_SLOPE_IN_X | NO_FACTORS,
    )  # fmt: skip


class VisionTransformer(nn.Module):
    """Patches by a strided convolution, parameters outside of any layer, attention by torch's own module."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, 4, 2, stride=2)
        self.token, self.places = nn.Parameter(torch.randn(1, 1, 4)), nn.Parameter(torch.randn(1, 5, 4))
        self.norm, self.attention = nn.LayerNorm(4), nn.MultiheadAttention(4, 2, batch_first=True)
        self.head = nn.Sequential(nn.LayerNorm(4), nn.GELU(), nn.Linear(4, 2))

    def forward(self, images: Tensor) -> Tensor:
        x = self.patches(images).flatten(2).mT
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.places
        h = self.norm(x)
        return self.head((x + self.attention(h, h, h, need_weights=False)[0])[:, 0])


@row
def vision_transformer() -> Case:
    return Case("vision_transformer", VisionTransformer(), nn.CrossEntropyLoss(), normal(N, 1, 4, 4), labels(2))


class Tagger(nn.Module):
    """An LSTM that gives every place a tag; its embedding is frozen and has a padding row."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(5, 2, padding_idx=0).requires_grad_(False)
        self.recurrent, self.head = nn.LSTM(2, 2, batch_first=True, bidirectional=True), nn.Linear(4, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.recurrent(self.words(tokens))[0]).mT


@row
def lstm() -> Case:
    tokens, targets = labels(5, N, 3), labels(3, N, 3)
    targets[tokens == 0] = -100
    return Case(
        "lstm", Tagger(), nn.CrossEntropyLoss(), tokens, targets,
        label_weights=(targets != -100).double().numpy(), skipped=NO_SLOPE_IN_X,
    )  # fmt: skip


class Regressor(nn.Module):
    """Writes into its own input, has dropout, and a layer that is never used."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.SiLU(inplace=True), nn.Linear(3, 4), nn.Dropout(0.5), nn.SiLU(inplace=True), nn.Linear(4, 2)
        )
        self.spare = nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x).mul_(2)


@row
def mlp_regressor() -> Case:
    return Case(
        "mlp_regressor", Regressor(), nn.MSELoss(), normal(N, 3), normal(N, 2), fisher="gaussian", skipped=NOT_CLASSES
    )


CASES = tuple(BUILDERS)
