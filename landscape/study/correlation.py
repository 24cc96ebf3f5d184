"""How one measure goes with one outcome over many networks: all that is said of the pair, and what was left out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from landscape.study.bootstrap import Intervals, Outcome, intervals
from landscape.study.coefficients import LEAST, Coefficients, coefficients, is_constant
from landscape.study.granulated import Granulated, granulated_kendall
from landscape.study.line import FloatArray, Line, fit_line
from landscape.study.pairs import AxisPairs
from landscape.study.partial import explaining
from landscape.study.sign_error import SignError, sign_error

_NONE = Coefficients(math.nan, math.nan, math.nan)


@dataclass(frozen=True)
class Correlation:
    """A measure (or its part in a substructure) against an outcome.

    Attributes:
        measure, group: what it is; the group is empty for the whole network.
        log: whether the logarithm of the measure was taken (the natural one).
        names: of the networks used.
        x, y: (n,) what was correlated: the measure or its logarithm, and the outcome.
        refused: why there is no correlation, else None.
        line: y on x; None where refused.
        coefficients, intervals: of x and y.
        granulated, sign_error: by hyperparameter; empty where no two networks differ in one alone.
        explained_by: hyperparameters that explain the order, with the rank correlation that each leaves.
        dropped: networks that were not used, with the reason.
    """

    measure: str
    group: str
    log: bool
    names: Sequence[str] = ()
    x: FloatArray = field(default_factory=lambda: np.empty(0))
    y: FloatArray = field(default_factory=lambda: np.empty(0))
    refused: str | None = None
    line: Line | None = None
    coefficients: Coefficients = _NONE
    intervals: Intervals = field(default_factory=Intervals)
    granulated: Granulated = field(default_factory=Granulated)
    sign_error: SignError = field(default_factory=SignError)
    explained_by: Mapping[str, float] = field(default_factory=dict)
    dropped: Mapping[str, str] = field(default_factory=dict)

    @property
    def n(self) -> int:
        """How many networks were used."""
        return len(self.names)


@dataclass(frozen=True)
class Networks:
    """What all measures of a study share.

    Attributes:
        names: (n,) different.
        outcome: (n,) NaN where it is not known.
        axes: a row a network, a column a hyperparameter that varies.
        pairs: of `find_pairs(axes)`.
    """

    names: Sequence[str]
    outcome: FloatArray
    axes: pd.DataFrame
    pairs: Sequence[AxisPairs]
    _outcomes: dict[bytes, Outcome] = field(default_factory=dict, repr=False, compare=False)

    def outcome_of(self, used_n: npt.NDArray[np.bool_]) -> Outcome:
        """The outcome of some of the networks, the same object for the same ones: it keeps what it has drawn."""
        key = used_n.tobytes()
        if key not in self._outcomes:
            self._outcomes[key] = Outcome(self.outcome[used_n])
        return self._outcomes[key]


def correlate(
    networks: Networks,
    values_n: FloatArray,
    measure: str,
    group: str = "",
    *,
    log: bool = True,
    resamples: int = 1000,
    seed: int = 0,
) -> Correlation:
    """Correlate a measure with the outcome of the networks.

    A network without a finite value or outcome is dropped, and where the logarithm is taken one whose value is not
    positive. Refused are fewer than three networks, a measure or an outcome that is constant, and the logarithm of a
    measure that is not positive in more than half of the networks.

    Cost: O(n^2 resamples), see `intervals`.
    """
    finite = np.isfinite(values_n)
    known = np.isfinite(networks.outcome)
    dropped = {networks.names[i]: "no outcome" for i in np.flatnonzero(~known).tolist()}
    dropped |= {networks.names[i]: "no finite value" for i in np.flatnonzero(~finite & known).tolist()}
    used = finite & known
    empty = Correlation(measure, group, log)
    if log:
        negative = used & (values_n <= 0)
        if 2 * negative.sum() > used.sum():
            reason = f"{negative.sum()} of {used.sum()} values are not positive, so have no logarithm; give --no-log"
            return replace(empty, refused=reason, dropped=dropped)
        dropped |= {networks.names[i]: "not positive" for i in np.flatnonzero(negative).tolist()}
        used &= ~negative
    names = [networks.names[i] for i in np.flatnonzero(used).tolist()]
    x_n = np.log(values_n[used]) if log else values_n[used].astype(np.float64)
    y_n = networks.outcome[used]
    result = replace(empty, names=names, x=x_n, y=y_n, dropped=dropped)
    refused = _refusal(values_n[used], y_n)
    if refused is not None:
        return replace(result, refused=refused)
    line = fit_line(x_n, y_n)
    # Signs of differences do not change by the logarithm; NaN keeps a dropped network out of its pairs.
    kept = np.where(used, values_n, np.nan)
    return replace(
        result,
        line=line,
        coefficients=coefficients(x_n, y_n),
        intervals=intervals(x_n, networks.outcome_of(used), resamples=resamples, seed=seed),
        granulated=granulated_kendall(kept, networks.outcome, networks.pairs),
        sign_error=sign_error(kept, networks.outcome, networks.pairs, math.copysign(1.0, line.slope)),
        explained_by=explaining(x_n, y_n, networks.axes[used]),
    )


def _refusal(values_n: FloatArray, y_n: FloatArray) -> str | None:
    if len(values_n) < LEAST:
        return f"expected a value of {LEAST} networks or more, got {len(values_n)}"
    if is_constant(values_n):
        return "the measure is the same for all networks"
    if is_constant(y_n):
        return "the outcome is the same for all networks"
    return None
