"""Which runs differ in one hyperparameter only: what granulated correlation and sign errors are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

Indices = npt.NDArray[np.intp]
REPLICATE = "seed"
"""Runs that differ in their seed alone are the same experiment again: it is held fixed and is no axis of its own."""


@dataclass(frozen=True)
class AxisPairs:
    """All pairs of runs that differ in `axis` and in nothing else.

    Attributes:
        axis: the hyperparameter.
        first, second: (pairs,) the runs of each pair.
        slice: (pairs,) pairs of one slice of the design (all other hyperparameters the same) have one number.
        environment: (pairs,) pairs of the same two values have one number.
        environments: the names of these, `lr: 0.05 | 0.01`.
    """

    axis: str
    first: Indices
    second: Indices
    slice: Indices
    environment: Indices
    environments: Sequence[str]


def find_pairs(axes: pd.DataFrame) -> list[AxisPairs]:
    """The pairs of each hyperparameter that has any; `axes` has a row a run and a column a hyperparameter.

    Values are the same where their text is the same; one that is missing is a value of its own.
    """
    texts = axes.astype(object).where(axes.notna(), "default").map(str)
    found = []
    for name in texts.columns:
        if name == REPLICATE:
            continue
        others = [other for other in texts.columns if other != name]
        slices = texts.groupby(others, sort=False).ngroup() if others else pd.Series(0, index=texts.index)
        one = _pairs_of(str(name), texts[name].tolist(), np.asarray(slices, dtype=np.int64))
        if len(one.first):
            found.append(one)
    return found


def _pairs_of(axis: str, values: Sequence[str], slices_n: npt.NDArray[np.int64]) -> AxisPairs:
    codes, known = pd.factorize(np.asarray(values, dtype=object))
    first, second = [], []
    order = np.argsort(slices_n, kind="stable")
    ends = np.flatnonzero(np.diff(slices_n[order])) + 1
    for members in np.split(order, ends):
        if len(members) > 1:
            a, b = np.triu_indices(len(members), 1)
            differ = codes[members[a]] != codes[members[b]]
            first.append(members[a[differ]])
            second.append(members[b[differ]])
    empty: list[Indices] = [np.empty(0, dtype=np.intp)]
    one, two = np.concatenate(empty + first), np.concatenate(empty + second)
    low, high = np.minimum(codes[one], codes[two]), np.maximum(codes[one], codes[two])
    keys, environment = np.unique(low * len(known) + high, return_inverse=True)
    names = [f"{axis}: {known[key // len(known)]} | {known[key % len(known)]}" for key in keys]
    return AxisPairs(axis, one, two, slices_n[one].astype(np.intp), environment, names)
