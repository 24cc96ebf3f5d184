"""Granulated Kendall correlation: does a measure follow the outcome where one hyperparameter alone changes?

Jiang et al. 2020, "Fantastic generalization measures and where to find them" (arXiv:1912.02178): for each
hyperparameter the mean, over the slices of the design in which all others are fixed, of Kendall's tau within the slice;
Psi is the mean over the hyperparameters. A measure that only follows one hyperparameter is thereby found out.

Within a slice tau-b is taken in place of tau, which ties would leave undefined; a slice in which all pairs are tied in
the measure or in the outcome says nothing and is left out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from landscape.study.line import FloatArray
from landscape.study.pairs import AxisPairs


@dataclass(frozen=True)
class Granulated:
    """Psi, the psi of each hyperparameter, and how many slices each is the mean of."""

    psi: float = math.nan
    by_axis: Mapping[str, float] = field(default_factory=dict)
    slices: Mapping[str, int] = field(default_factory=dict)


def granulated_kendall(x_n: FloatArray, y_n: FloatArray, pairs: Sequence[AxisPairs]) -> Granulated:
    """Psi of a measure `x_n` and an outcome `y_n`; a run with a NaN in either is left out."""
    by_axis, slices = {}, {}
    for axis in pairs:
        dx, dy = (np.sign(v[axis.first] - v[axis.second]) for v in (x_n, y_n))
        known = np.isfinite(dx) & np.isfinite(dy)
        number = axis.slice[known]
        if not len(number):
            continue
        surplus, in_x, in_y = (np.bincount(number, weights=terms[known]) for terms in (dx * dy, np.abs(dx), np.abs(dy)))
        said = (in_x > 0) & (in_y > 0)
        if said.any():
            by_axis[axis.axis] = float(np.mean(surplus[said] / np.sqrt(in_x[said] * in_y[said])))
            slices[axis.axis] = int(said.sum())
    psi = float(np.mean(list(by_axis.values()))) if by_axis else math.nan
    return Granulated(psi, by_axis, slices)
