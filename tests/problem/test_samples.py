"""Reading data once, whatever form it has; refusing what is not fixed or not finite in number."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, RandomSampler, TensorDataset

from landscape.errors import DataError
from landscape.problem.samples import read_samples

N = 23
X = torch.arange(N * 2, dtype=torch.float64).reshape(N, 2)
Y = torch.arange(N) % 3


class Items(Dataset[Any]):
    """A map-style data set of whatever `item` makes."""

    def __init__(self, item: Any, size: int = N) -> None:
        self.item, self.size = item, size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Any:
        return self.item(index)


class Endless(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        while True:
            yield X[0], Y[0]


class Unsized(Dataset[Any]):
    def __getitem__(self, index: int) -> Any:
        return X[index], Y[index]


SAME = {
    "tensors": lambda: (X, Y),
    "a list of two": lambda: [X, Y],
    "numpy arrays": lambda: (X.numpy(), Y.numpy()),
    "tensors with a gradient": lambda: (X.clone().requires_grad_(), Y),
    "a TensorDataset": lambda: TensorDataset(X, Y),
    "a Dataset of tensor and int": lambda: Items(lambda i: (X[i], int(Y[i]))),
    "a Dataset of arrays": lambda: Items(lambda i: (X[i].numpy(), Y[i].numpy())),
    "a loader": lambda: DataLoader(TensorDataset(X, Y), batch_size=5),
    "a loader of a list": lambda: DataLoader(list(zip(X, Y, strict=True)), batch_size=4),  # type: ignore[arg-type]
    "a loader with a generator": lambda: DataLoader(TensorDataset(X, Y), 7, generator=torch.Generator()),
    "a loader of finite iterables": lambda: DataLoader(IterableOnce(), batch_size=6),
}


class IterableOnce(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        yield from zip(X, Y, strict=True)


@pytest.mark.parametrize("name", SAME)
def test_every_form_gives_the_same_samples_in_their_order(name: str) -> None:
    samples = read_samples(SAME[name]())
    assert torch.equal(samples.inputs, X)
    assert torch.equal(samples.targets, Y)
    assert not samples.inputs.requires_grad
    assert len(samples) == N


def test_reading_leaves_all_generators_as_they_were() -> None:
    def draw(index: int) -> tuple[Tensor, int]:
        torch.rand(1), np.random.rand(), random.random()
        return X[index], int(Y[index])

    states = torch.get_rng_state(), np.random.get_state(), random.getstate()
    for data in (Items(draw), DataLoader(Items(draw), 4), DataLoader(TensorDataset(X, Y), 4)):
        read_samples(data)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.random.get_state()[1].tolist() == states[1][1].tolist()
    assert random.getstate() == states[2]


VARYING = {
    "shuffling": lambda: DataLoader(TensorDataset(X, Y), 5, shuffle=True),
    "shuffling by a seeded generator": lambda: DataLoader(
        TensorDataset(X, Y), 5, shuffle=True, generator=torch.Generator().manual_seed(0)
    ),
    "a random sampler": lambda: DataLoader(TensorDataset(X, Y), 5, sampler=RandomSampler(TensorDataset(X, Y))),
    "noise by torch": lambda: Items(lambda i: (X[i] + torch.rand(2), int(Y[i]))),
    "noise by numpy": lambda: DataLoader(Items(lambda i: (X[i] + np.random.rand(), int(Y[i]))), 5),
    "noise by python": lambda: Items(lambda i: (X[i] + random.random(), int(Y[i]))),
    "noise in the labels": lambda: Items(lambda i: (X[i], random.randrange(1000))),
    "one flip in the last sample": lambda: Items(lambda i: (X[i] * (random.random() if i == N - 1 else 1), 0)),
}


@pytest.mark.parametrize("name", VARYING)
def test_data_that_change_between_readings_are_refused(name: str) -> None:
    with pytest.raises(DataError, match=r"two readings.*fixed"):
        read_samples(VARYING[name]())


def test_data_that_shrink_between_readings_are_refused() -> None:
    class Shrinking(IterableDataset[Any]):
        left = N

        def __iter__(self) -> Iterator[Any]:
            yield from zip(X[: self.left], Y[: self.left], strict=True)
            self.left -= 3

    with pytest.raises(DataError, match=r"gave 23 samples, then 20"):
        read_samples(DataLoader(Shrinking(), 4))


BAD = {
    "a generator": (lambda: ((x, y) for x, y in zip(X, Y, strict=True)), "finite DataLoader, got generator"),
    "a list of pairs": (lambda: [(X[0], Y[0]), (X[1], Y[1])], "got list"),
    "an iterable data set": (Endless, "got Endless"),
    "a Dataset without a length": (Unsized, "no length"),
    "a tensor alone": (lambda: X, "got Tensor"),
    "strings": (lambda: ("inputs", "targets"), "must be tensors, got str"),
    "three tensors": (lambda: TensorDataset(X, Y, Y), r"expected items \(inputs, targets\)"),
    "a loader of inputs alone": (lambda: DataLoader(TensorDataset(X), 4), r"expected items \(inputs, targets\)"),
    "items as mappings": (lambda: Items(lambda i: {"x": X[i]}), r"expected items \(inputs, targets\), got dict"),
    "lengths that differ": (lambda: (X, Y[:-1]), "same number of samples, got .22, 23"),
    "no samples": (lambda: (X[:0], Y[:0]), "zero samples"),
    "an empty Dataset": (lambda: Items(lambda i: (X[i], 0), 0), "zero samples"),
    "an empty loader": (lambda: DataLoader(TensorDataset(X[:0], Y[:0]), 4), "zero samples"),
    "a loader that drops all": (lambda: DataLoader(TensorDataset(X, Y), 50, drop_last=True), "zero samples"),
    "items of many shapes": (lambda: Items(lambda i: (torch.zeros(i + 1), 0)), "of one shape"),
    "batches of many shapes": (lambda: DataLoader(Items(lambda i: (torch.zeros(i + 1), 0)), 1), "pad them"),
    "items of no tensor": (lambda: Items(lambda i: (object(), 0)), "do not make a batch"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_fixed_set_of_samples_is_refused_in_one_line(name: str) -> None:
    make, words = BAD[name]
    with pytest.raises(DataError, match=words) as caught:
        read_samples(make())
    assert "\n" not in str(caught.value)


def test_nested_inputs_by_position_and_by_name() -> None:
    for inputs in ((X, X + 1), [X, X + 1], {"a": X, "b": X + 1}):
        samples = read_samples((inputs, Y))
        assert len(samples) == N
        part = samples.slice(3, 7)
        first = part.inputs["b"] if isinstance(part.inputs, dict) else part.inputs[1]
        assert torch.equal(first, X[3:7] + 1)
        chosen = samples.take(torch.tensor([5, 2]))
        assert chosen.targets.tolist() == Y[[5, 2]].tolist()


def test_not_a_number_reads_the_same_twice() -> None:
    """A missing value is found later, by its sample, and not taken for random data."""
    x = X.clone()
    x[4, 1] = torch.nan
    assert len(read_samples(TensorDataset(x, Y))) == N
