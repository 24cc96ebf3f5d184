"""Which channels must be scaled together: a union of labels, one of which stands for what cannot be scaled.

A label is a number that stands for one factor. The channels of a layer's output get labels of their own; where two are
added, or meet in one window, their factors have to be equal, and where one meets something that knows no factor (a
nonlinearity that is not homogeneous, the network's output) its factor is 1: it is united with `FIXED`. `FREE` is the
label of zeros, which go with any factor.
"""

from __future__ import annotations

import torch
from torch import Tensor

FIXED = 0
FREE = -1


class Labels:
    """Labels and what is known of their equality."""

    def __init__(self) -> None:
        self._parent = [FIXED]
        self._size = [1]
        self._why: dict[int, str] = {}

    def new(self, count: int) -> Tensor:
        """`count` labels of their own, int64 (count,)."""
        first = len(self._parent)
        self._parent.extend(range(first, first + count))
        self._size.extend([1] * count)
        return torch.arange(first, first + count)

    def find(self, label: int) -> int:
        """The label that stands for all that are equal to `label`; `FIXED` where it cannot be scaled."""
        while self._parent[label] != label:
            label = self._parent[label]
        return label

    def why(self, label: int) -> str | None:
        """What made `label` fixed; None where it is not."""
        last = label
        while self._parent[label] != label:
            last, label = label, self._parent[label]
        return self._why.get(last, "") if label == FIXED else None

    def fix(self, labels: Tensor, why: str) -> None:
        """Let none of `labels` be scaled, for the reason `why`."""
        for label in torch.unique(_without_repetition(labels)).tolist():
            if label != FREE:
                self._unite(label, FIXED, why)

    def unite(self, one: Tensor, other: Tensor, why: str) -> None:
        """Let labels at the same place be equal, those of `other` repeated as in `one`; `why` if one is fixed."""
        other = other.expand_as(one)
        for dim in range(one.ndim):
            if one.stride(dim) == 0 and other.stride(dim) == 0 and one.shape[dim] > 1:
                one, other = one.narrow(dim, 0, 1), other.narrow(dim, 0, 1)
        differ = (one != other) & (one != FREE) & (other != FREE)
        if differ.any():
            pairs = torch.stack([one[differ], other[differ]])
            for a, b in torch.unique(pairs, dim=1).T.tolist():
                self._unite(a, b, why)

    def _unite(self, one: int, other: int, why: str) -> None:
        a, b = self.find(one), self.find(other)
        if a == b:
            return
        if b == FIXED or (a != FIXED and self._size[a] < self._size[b]):
            a, b = b, a
        # No path is shortened: the way from a label up to FIXED keeps the one that was fixed, and why.
        self._parent[b] = a
        self._size[a] += self._size[b]
        if a == FIXED:
            self._why[b] = why


def _without_repetition(labels: Tensor) -> Tensor:
    """One entry along every dimension that repeats itself."""
    for dim in range(labels.ndim):
        if labels.stride(dim) == 0 and labels.shape[dim] > 1:
            labels = labels.narrow(dim, 0, 1)
    return labels
