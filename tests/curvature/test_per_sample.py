"""Per-sample gradients, parameter by parameter, against one backward pass a sample."""

from __future__ import annotations

from collections import Counter

import numpy as np
import oracles
import pytest
import torch
import torch.nn.functional as F
from cases import CASES, Case, N, case
from torch import Tensor, nn

import landscape
from landscape import LandscapeError, Problem
from landscape.curvature import layer_rules, per_sample
from landscape.curvature.per_sample import PerSampleGradients


def collect(small: Case, batch_size: int) -> dict[str, np.ndarray]:
    """All gradients by name (N, size); each sample and parameter must come exactly once."""
    problem = small.problem(batch_size=batch_size)
    found = {info.name: np.zeros((N, info.size)) for info in problem.infos}
    seen: Counter[tuple[str, int, int]] = Counter()
    gradients = PerSampleGradients(problem)
    places = {
        info.name: gradients.cut(info.name, torch.arange(info.size).reshape(info.shape)) for info in problem.infos
    }
    for batch in problem.batches():

        def keep(name: str, piece: int, rows: slice, G: Tensor, low: int = batch.start) -> None:
            assert len(G) == rows.stop - rows.start
            found[name][low + rows.start : low + rows.stop, places[name][piece]] = G
            seen.update((name, piece, low + n) for n in range(rows.start, rows.stop))

        gradients.run(batch, keep)
    assert set(seen.values()) == {1}
    assert len(seen) == N * sum(map(len, places.values()))
    for info in problem.infos:
        assert sorted(torch.cat(places[info.name]).tolist()) == list(range(info.size))
    return found


def check(small: Case, batch_size: int) -> None:
    expected = oracles.per_sample_gradients(small.function)
    found = collect(small, batch_size)
    for name, G in found.items():
        columns = small.function.columns([name])
        np.testing.assert_allclose(G, expected[:, columns], rtol=1e-10, atol=1e-13, err_msg=name)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("batch_size", [1, 16])
def test_every_parameter_of_every_case(name: str, batch_size: int) -> None:
    check(case(name), batch_size)


def test_pieces_of_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Layers whose gradients do not fit at once are cut by samples."""
    monkeypatch.setattr(per_sample, "_SCALARS_A_THREAD", 100)
    monkeypatch.setattr(per_sample, "_SCALARS_BY_VMAP", 100)
    monkeypatch.setattr(layer_rules, "_LARGEST_PIECE", 5)
    for name in ("batch_norm", "tied", "own_parameter"):
        check(case(name), 16)


class Layered(nn.Module):
    """A layer under test between nothing and a head."""

    def __init__(self, layer: nn.Module, features: int, flatten: bool = True) -> None:
        super().__init__()
        self.layer, self.head, self.flatten = layer, nn.Linear(features, 3), flatten

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.layer(x))
        return self.head(h.flatten(1) if self.flatten else h.mean(1))


class Functional(nn.Module):
    """A layer's weight used as a plain tensor for the samples whose first value is positive: a use outside of it."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.layer(x) + F.linear(x, self.layer.weight)))


class Branching(nn.Module):
    """Control flow that depends on the data: nothing for vmap."""

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.head = nn.Parameter(torch.randn(4)), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x * self.scale if bool(x.isfinite().all()) else x)


class TimeFirst(nn.Module):
    """Time comes first inside: the first dimension counts no samples, for a batch of 3 by accident."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.Linear(2, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.layer(x.transpose(0, 1))).mean(0))


class Rows(nn.Module):
    """Samples and positions joined in the first dimension, and a layer called by keyword."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.norm, self.head = nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(self.layer(x.reshape(-1, 2))).reshape(*x.shape[:2], 4)
        return self.head(input=torch.tanh(h).mean(1))


class OwnLayer(nn.Module):
    """A layer of somebody's, without modules inside: its weight is transposed and has a name of its own."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.kernel, self.shift = nn.Parameter(torch.randn(inputs, outputs)), nn.Parameter(torch.randn(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.kernel + self.shift


class Places(nn.Module):
    """An embedding of the places that all samples share, and a mask that looks at the data as transformers' do."""

    def __init__(self) -> None:
        super().__init__()
        self.places, self.head = nn.Embedding(5, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        places = self.places(torch.arange(x.shape[1])[None])
        h = torch.tanh(x + places) if bool(x.isfinite().all()) else x
        return self.head(h).mean(1)


LAYERS = {
    "own": lambda: (Layered(OwnLayer(3, 4), 4, flatten=False), (5, 3)),
    "places": lambda: (Places(), (5, 4)),
    "grouped, dilated, strided": lambda: (
        Layered(nn.Conv2d(4, 6, 3, groups=2, dilation=2, stride=2, padding=2), 54), (4, 6, 6),
    ),
    "depthwise": lambda: (Layered(nn.Conv2d(3, 6, 2, groups=3), 54), (3, 4, 4)),
    "reflected padding": lambda: (Layered(nn.Conv2d(2, 3, 3, padding=1, padding_mode="reflect"), 48), (2, 4, 4)),
    "same padding, even kernel": lambda: (Layered(nn.Conv2d(2, 3, (2, 4), padding="same"), 48), (2, 4, 4)),
    "conv1d": lambda: (Layered(nn.Conv1d(2, 3, 2, padding=1), 15), (2, 4)),
    "conv3d": lambda: (Layered(nn.Conv3d(1, 2, 2), 16), (1, 3, 3, 3)),
    "transposed": lambda: (Layered(nn.ConvTranspose2d(2, 3, 2, stride=2), 48), (2, 2, 2)),
    "linear on positions": lambda: (Layered(nn.Linear(3, 4), 4, flatten=False), (5, 3)),
    "batch norm 1d on positions": lambda: (Layered(nn.BatchNorm1d(3), 15), (3, 5)),
    "instance norm": lambda: (Layered(nn.InstanceNorm2d(3, affine=True), 27), (3, 3, 3)),
    "layer norm without bias": lambda: (Layered(nn.LayerNorm((3, 2), bias=False), 6), (3, 2)),
    "rms norm": lambda: (Layered(nn.RMSNorm(4), 4), (4,)),
    "prelu": lambda: (Layered(nn.Sequential(nn.Linear(4, 4), nn.PReLU(4)), 4), (4,)),
    "weight norm": lambda: (Layered(nn.utils.parametrizations.weight_norm(nn.Linear(4, 4)), 4), (4,)),
    "functional use": lambda: (Functional(), (4,)),
    "control flow": lambda: (Branching(), (4,)),
    "time first": lambda: (TimeFirst(), (3, 2)),
    "rows": lambda: (Rows(), (5, 2)),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("batch_size", [1, 3, 20])
def test_layers_by_rule_and_by_fallback(name: str, batch_size: int) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, shape = LAYERS[name]()
        x, y = torch.randn(N, *shape, dtype=torch.float64), torch.randint(3, (N,))
    check(Case(name, model.double(), nn.CrossEntropyLoss(), x, y), batch_size)


RULED = ["linear on positions", "grouped, dilated, strided", "depthwise", "reflected padding",
         "same padding, even kernel", "batch norm 1d on positions", "layer norm without bias",
         "conv1d", "conv3d", "transposed", "instance norm", "rms norm", "prelu", "own", "places"]  # fmt: skip


@pytest.mark.parametrize("name", RULED)
def test_common_layers_take_one_pass_by_their_rule(name: str) -> None:
    """A wrong rule is found out and replaced by the slow way, which costs a pass more."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, shape = LAYERS[name]()
        x, y = torch.randn(N, *shape, dtype=torch.float64), torch.randint(3, (N,))
    record = landscape.connectivity(Problem(model.double(), nn.CrossEntropyLoss(), (x, y)))
    # three samples prove the rules, and once more where what they share is handed to each
    assert record.cost == pytest.approx(1, abs=(8 if name == "places" else 4) / N)


def test_a_padding_row_has_no_gradient() -> None:
    class Words(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.head = nn.Embedding(5, 3, padding_idx=0), nn.Linear(3, 3)

        def forward(self, tokens: Tensor) -> Tensor:
            return self.head(torch.tanh(self.embedding(tokens)).sum(1))

    with torch.random.fork_rng():
        torch.manual_seed(0)
        small = Case("words", Words().double(), nn.CrossEntropyLoss(), torch.randint(5, (N, 4)), torch.randint(3, (N,)))
    check(small, 16)
    assert landscape.connectivity(small.problem()).cost == pytest.approx(1, abs=4 / N)


def test_ignored_samples_in_front_do_not_hide_a_use_outside_of_the_layer() -> None:
    """Rules are proven on samples that have a gradient: an ignored one proves anything."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, x, y = Functional().double(), torch.randn(N, 4, dtype=torch.float64), torch.randint(3, (N,))
    y[:10] = -100
    labelled = (y != -100).double().numpy()[:, None]
    check(Case("late", model, nn.CrossEntropyLoss(), x, y, label_weights=labelled), 16)


def test_batch_statistics_are_refused() -> None:
    with pytest.raises(LandscapeError, match="depend on each other"):
        PerSampleGradients(case("batch_norm").problem(bn="train"))


def test_a_gradient_that_is_zero_but_for_rounding_disproves_no_rule() -> None:
    """The bias of the keys shifts all scores of a query alike, which softmax does not see."""

    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.q, self.k, self.v, self.head = (nn.Linear(4, 4) for _ in range(4))

        def forward(self, x: Tensor) -> Tensor:
            return self.head(F.scaled_dot_product_attention(self.q(x), self.k(x), self.v(x)).mean(1))

    with torch.random.fork_rng():
        torch.manual_seed(0)
        small = Case("keys", Attention().double(), nn.CrossEntropyLoss(), torch.randn(N, 3, 4), torch.randint(4, (N,)))
    small = Case("keys", small.model, small.loss, small.inputs.double(), small.targets)
    check(small, 16)
    assert landscape.connectivity(small.problem()).cost == pytest.approx(1, abs=4 / N)


def test_what_a_consumer_overwrites_is_its_own() -> None:
    """The trap: parameters that are added have one gradient, which `vmap` hands out twice."""

    class Added(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Parameter(torch.randn(1, 3)), nn.Parameter(torch.randn(1, 3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.tanh(x + self.a + self.b)

    data = torch.randn(5, 3, dtype=torch.float64), torch.randn(5, 3, dtype=torch.float64)
    problem = Problem(Added().double(), nn.MSELoss(), data)
    kept, spoilt = {}, {}
    batch = next(problem.batches())
    PerSampleGradients(problem).run(batch, lambda name, piece, rows, G: kept.setdefault(name, G.clone()))
    PerSampleGradients(problem).run(batch, lambda name, piece, rows, G: spoilt.setdefault(name, G.clone()) + G.zero_())
    assert kept.keys() == spoilt.keys() == {"a", "b"}
    for name in kept:
        assert torch.equal(kept[name], spoilt[name])
        assert kept[name].any()
