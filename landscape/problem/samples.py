"""A fixed, finite data set in memory, read once from whatever the user hands in.

Inputs and targets are tensors, or tuples or dicts of tensors, whose first dimension counts the samples. A dict with
`labels`, as the loaders of text give it, is a pair: the labels are the targets, all else is the inputs.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten
from torch.utils.data import DataLoader, Dataset, IterableDataset, default_collate

from landscape.errors import DataError

LABELS = "labels"
_CHUNK = 256


@dataclass(frozen=True)
class Samples:
    """Inputs and targets with a common first dimension N."""

    inputs: Any
    targets: Any

    def __len__(self) -> int:
        return int(_leaves((self.inputs, self.targets))[0].shape[0])

    def slice(self, start: int, stop: int) -> Samples:
        """Samples start ... stop - 1."""
        return Samples(*tree_map(lambda t: t[start:stop], (self.inputs, self.targets)))

    def take(self, indices: Tensor) -> Samples:
        """The samples `indices`, in that order."""
        return Samples(*tree_map(lambda t: t[indices.to(t.device)], (self.inputs, self.targets)))


def read_samples(data: Any) -> Samples:
    """Read `data` once and keep it.

    Args:
        data: a pair (inputs, targets) of tensors (or of tuples or dicts of tensors), a dict with `labels`, a map-style
            `Dataset` of such items, or a finite `DataLoader` of such batches.

    Raises:
        DataError: no samples, lengths that differ, items that are no pairs, an endless iterable, or data whose second
            reading differs from the first (shuffling or random augmentation): a measure needs a fixed function.
    """
    if isinstance(data, Samples):
        samples = data
    elif isinstance(data, Mapping) or _is_pair(data):
        samples = Samples(*_pair(data))
    elif isinstance(data, DataLoader):
        samples = _read_twice(lambda: iter(data))
    elif isinstance(data, Dataset) and not isinstance(data, IterableDataset):
        samples = _read_twice(lambda: _chunks(data))
    else:
        raise DataError(
            "expected a pair (inputs, targets) of tensors, a dict with labels, a Dataset or a finite DataLoader, "
            f"got {type(data).__name__}."
        )
    lengths = {int(leaf.shape[0]) if leaf.ndim else -1 for leaf in _leaves((samples.inputs, samples.targets))}
    if len(lengths) != 1 or -1 in lengths:
        raise DataError(f"inputs and targets must have the same number of samples, got {sorted(lengths)}.")
    if lengths == {0}:
        raise DataError("the data hold zero samples; at least one is needed.")
    return samples


def _read_twice(batches: Callable[[], Iterator[Any]]) -> Samples:
    with _random_state_kept():
        kept = _join(_pair(item) for item in batches())
        start = 0
        # the second reading starts from another random state, as the next epoch would
        for item in batches():
            again = Samples(*_pair(item))
            stop = start + len(again)
            if stop > len(kept) or not _same(kept.slice(start, stop), again):
                raise DataError(
                    f"two readings of the data differ at samples {start} to {stop - 1}; a measure needs fixed data: "
                    "turn off shuffling and random augmentation."
                )
            start = stop
        if start != len(kept):
            raise DataError(f"the data gave {len(kept)} samples, then {start}; a measure needs fixed data.")
    return kept


def _join(pairs: Iterator[tuple[Any, Any]]) -> Samples:
    rows: list[list[Tensor]] = []
    structure = None
    for pair in pairs:
        leaves, structure = tree_flatten(pair)
        rows.append([leaf.detach().cpu() for leaf in leaves])
    if structure is None:
        raise DataError("the data hold zero samples; at least one is needed.")
    try:
        return Samples(*tree_unflatten([torch.cat(column) for column in zip(*rows, strict=True)], structure))
    except (RuntimeError, ValueError) as error:
        raise DataError(
            f"the batches do not fit together ({str(error).splitlines()[0]}); expected samples of one shape: pad them."
        ) from error


def _chunks(dataset: Dataset[Any]) -> Iterator[Any]:
    try:
        total = len(dataset)  # type: ignore[arg-type]
    except TypeError as error:
        raise DataError("the Dataset has no length; give a finite one.") from error
    for start in range(0, total, _CHUNK):
        items = [_arrays(dataset[i]) for i in range(start, min(start + _CHUNK, total))]
        try:
            yield default_collate(items)
        except (RuntimeError, TypeError) as error:
            raise DataError(
                f"the Dataset's items {start} to {start + len(items) - 1} do not make a batch "
                f"({str(error).splitlines()[0]}); expected pairs of tensors or numbers of one shape."
            ) from error


def _is_pair(data: Any) -> bool:
    """Two of anything but lists: those would be two samples."""
    return isinstance(data, (tuple, list)) and len(data) == 2 and not all(isinstance(d, (tuple, list)) for d in data)


def _arrays(item: Any) -> Any:
    """A tokenizer's lists of numbers as arrays: torch would take such a list for as many tensors."""
    if not isinstance(item, Mapping):
        return item
    return {key: np.asarray(value) if isinstance(value, list) else value for key, value in item.items()}


def _pair(item: Any) -> tuple[Any, Any]:
    if isinstance(item, Mapping):
        if LABELS not in item or len(item) < 2:
            there = ", ".join(map(str, item)) or "nothing"
            raise DataError(
                f"expected items (inputs, targets), got {type(item).__name__} of {there}; a dict needs {LABELS!r} "
                "beside the network's inputs."
            )
        item = {key: value for key, value in item.items() if key != LABELS}, item[LABELS]
    if not isinstance(item, Sequence) or len(item) != 2:
        raise DataError(f"expected items (inputs, targets), got {type(item).__name__} of another form.")
    inputs = dict(item[0]) if isinstance(item[0], Mapping) else item[0]  # a tokenizer's own kind of mapping
    return tree_map(_as_tensor, inputs), tree_map(_as_tensor, item[1])


def _as_tensor(value: Any) -> Tensor:
    if isinstance(value, Tensor):
        return value.detach()
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value)
    raise DataError(f"inputs and targets must be tensors, got {type(value).__name__}.")


def _same(a: Samples, b: Samples) -> bool:
    pairs = zip(_leaves((a.inputs, a.targets)), _leaves((b.inputs, b.targets)), strict=True)
    return all(x.shape == y.shape and _equal(x, y.cpu()) for x, y in pairs)


def _equal(x: Tensor, y: Tensor) -> bool:
    return bool(((x == y) | ((x != x) & (y != y))).all())  # NaN is NaN again


def _leaves(tree: Any) -> list[Tensor]:
    return tree_flatten(tree)[0]


@contextmanager
def _random_state_kept() -> Iterator[None]:
    """Leave the generators of torch, numpy and Python as they were: a DataLoader's iteration moves torch's."""
    python, numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng():
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
