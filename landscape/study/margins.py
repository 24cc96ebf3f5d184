"""The margin regression of Jiang et al. 2019, "Predicting the generalization gap in deep networks with margin
distributions" (arXiv:1810.00113): the outcome as a linear function of the logarithms of the margin
signature (lower fence, first quartile, median, third quartile, upper fence), judged by the adjusted R^2

    1 - (1 - R^2) (n - 1) / (n - p - 1),   p the number of entries used,

and by folds: each network predicted by a regression on the others.

A logarithm wants positive margins, and the signature here keeps the sign of misclassified samples. An entry that is not
positive in more than half of the networks is left out of the signature; of what remains, a network with an entry
that is not positive is dropped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.linear_model import LinearRegression
from sklearn.metrics import r2_score
from sklearn.model_selection import KFold, cross_val_predict

from landscape.study.line import FloatArray

SIGNATURE = ("lower_fence", "q1", "median", "q3", "upper_fence")
FOLDS = 10


@dataclass(frozen=True)
class MarginRegression:
    """The regression of the outcome on the signature.

    Attributes:
        n: networks used.
        entries: of the signature that were used.
        log: whether their logarithms were taken.
        r2: of the fit.
        adjusted_r2: of the fit.
        folds: how many.
        folds_r2: 1 - SS_res / SS_tot of the predictions of networks left out; below 0 the mean predicts better.
        coefficients: by entry, and `intercept`.
        left_out: entries that were not used, with the reason.
        dropped: networks that were not used, with the reason.
    """

    n: int
    entries: Sequence[str]
    log: bool
    r2: float
    adjusted_r2: float
    folds: int
    folds_r2: float
    coefficients: Mapping[str, float]
    left_out: Mapping[str, str]
    dropped: Mapping[str, str]


@dataclass(frozen=True)
class NoRegression:
    """Why there is no regression."""

    reason: str


def margin_regression(
    signatures: pd.DataFrame, outcome: pd.Series, *, log: bool = True, folds: int = FOLDS, seed: int = 0
) -> MarginRegression | NoRegression:
    """Regress `outcome` on `signatures` (a row a network, the columns of `SIGNATURE`), both indexed by name.

    The networks are shuffled by `seed` and cut into `folds` parts (as many as there are networks, if fewer).
    """
    missing = signatures.isna().any(axis=1) | outcome.isna()
    dropped = {str(name): "no margin signature or no outcome" for name in signatures.index[missing]}
    rows, target = signatures[~missing], outcome[~missing]
    left_out: dict[str, str] = {}
    entries = list(SIGNATURE)
    if log:
        share = (rows <= 0).mean()
        left_out = {e: f"not positive in {share[e]:.0%} of the networks" for e in entries if share[e] > 0.5}
        entries = [entry for entry in entries if entry not in left_out]
        negative = (rows[entries] <= 0).any(axis=1)
        dropped |= {str(name): "a margin that is not positive has no logarithm" for name in rows.index[negative]}
        rows, target = rows[~negative], target[~negative]
    least = len(entries) + 2
    if not entries or len(rows) < least:
        kind = "with positive margins" if log else "with a margin signature"
        return NoRegression(f"a regression on {len(entries)} entries wants {least} networks {kind}, got {len(rows)}")
    x_np = rows[entries].to_numpy(dtype=float)
    x_np = np.log(x_np) if log else x_np
    y_n = target.to_numpy(dtype=float)
    if np.ptp(y_n) == 0:
        return NoRegression("the outcome is the same for all networks")
    if np.linalg.matrix_rank(x_np - x_np.mean(axis=0)) < len(entries):
        return NoRegression("the entries of the margin signature do not vary by themselves")
    fit = LinearRegression().fit(x_np, y_n)
    r2 = float(r2_score(y_n, fit.predict(x_np)))
    n, p = x_np.shape
    parts = min(folds, n)
    predicted: FloatArray = cross_val_predict(
        LinearRegression(), x_np, y_n, cv=KFold(parts, shuffle=True, random_state=seed)
    )
    return MarginRegression(
        n=n,
        entries=entries,
        log=log,
        r2=r2,
        adjusted_r2=1 - (1 - r2) * (n - 1) / (n - p - 1),
        folds=parts,
        folds_r2=float(r2_score(y_n, predicted)),
        coefficients={
            "intercept": float(fit.intercept_),
            **{e: float(c) for e, c in zip(entries, fit.coef_, strict=True)},
        },
        left_out=left_out,
        dropped=dropped,
    )
