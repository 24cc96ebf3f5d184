"""From networks to the correlation of each measure with how well they do. Loads no torch."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd

from landscape.catalog import PRESETS, expand
from landscape.errors import OptionError, near
from landscape.study.coefficients import LEAST, is_constant
from landscape.study.correlation import Correlation, Networks, correlate
from landscape.study.line import FloatArray
from landscape.study.margins import SIGNATURE, MarginRegression, NoRegression, margin_regression
from landscape.study.pairs import find_pairs
from landscape.workflows.evidence import Evidence, differences, once_each, those_there
from landscape.workflows.numbers_table import column, numeric_columns

Target = Literal["accuracy", "gap", "loss"]
SCHEMA = "landscape.correlations/1"
TARGETS: Mapping[str, str] = {
    "accuracy": "test accuracy",
    "gap": "generalisation gap (train − test accuracy)",
    "loss": "test loss",
}
_SHOWN = 5  # names in a note
# Settings that say where a run was kept, not how it was trained.
_NO_AXES = ("data", "norm_transfer", "norm_transfer_hash")


@dataclass(frozen=True)
class Study:
    """What is correlated.

    Attributes:
        networks: their names, outcomes and hyperparameters.
        target: the outcome, for people.
        values: (measure, group) -> a value a network, NaN where there is none; group "" is the whole network.
        signatures: the margin signature of each network; empty where there is none.
        notes: what the reader should know of the networks.
    """

    networks: Networks
    target: str
    values: Mapping[tuple[str, str], FloatArray]
    signatures: pd.DataFrame
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Correlations:
    """The result: a correlation a measure and group, the margin regression, what to know."""

    target: str
    names: Sequence[str]
    axes: Sequence[str]
    found: Sequence[Correlation]
    margins: MarginRegression | NoRegression | None
    notes: Sequence[str] = field(default_factory=tuple)

    def whole(self) -> list[Correlation]:
        """Those of whole networks."""
        return [one for one in self.found if not one.group]

    def table(self) -> pd.DataFrame:
        """A row a measure and group, a column a statistic."""
        return pd.DataFrame([_row(one) for one in self.found])

    def to_plain(self) -> dict[str, Any]:
        """All of it as plain JSON values; NaN is null."""
        margins: dict[str, Any] | None = None
        if isinstance(self.margins, MarginRegression):
            margins = vars(self.margins)
        elif self.margins is not None:
            margins = {"refused": self.margins.reason}
        document = {
            "schema": SCHEMA,
            "target": self.target,
            "networks": list(self.names),
            "hyperparameters": list(self.axes),
            "correlations": [
                {
                    **_row(one),
                    "granulated_by": dict(one.granulated.by_axis),
                    "sign_error_by": dict(one.sign_error.by_environment),
                    "explained_by": dict(one.explained_by),
                    "points": [
                        {"name": name, "x": float(x), "y": float(y)}
                        for name, x, y in zip(one.names, one.x, one.y, strict=True)
                    ],
                    "dropped": dict(one.dropped),
                }
                for one in self.found
            ],
            "margins": margins,
            "notes": list(self.notes),
        }
        plain: dict[str, Any] = _plain(document)
        return plain


def study_of(
    networks: Sequence[Evidence],
    *,
    target: str = "accuracy",
    measures: Sequence[str] = (),
    axes: Sequence[str] | None = None,
    allow_mixed: bool = False,
    left_out: Mapping[str, str] | None = None,
) -> Study:
    """Lay out what was measured of networks; one that is there twice counts once.

    Args:
        networks: two may not have the same name.
        target: `accuracy`, `gap` or `loss`.
        measures: only these; all if empty.
        axes: the hyperparameters that count as such; None: all settings of the training that vary.
        allow_mixed: let networks, data sets and settings of the analysis differ.
        left_out: what was asked for and is no network, with the reason.

    Raises:
        OptionError: fewer than three networks with an outcome, the same outcome for all of them, an unknown target,
            measure or hyperparameter, or mixed networks that are not allowed.
    """
    check_target(target)
    mixed = differences(networks, network=True)
    if mixed and not allow_mixed:
        raise OptionError(
            f"the networks are mixed ({'; '.join(mixed)}); give --allow-mixed to correlate them all the same."
        )
    networks, again = once_each(networks)
    outcome = np.array([_outcome(one.metrics, target) for one in networks])
    _enough(outcome, TARGETS[target], [one.name for one in networks])
    values: dict[tuple[str, str], FloatArray] = {}
    unsettled: dict[str, int] = {}
    for i, one in enumerate(networks):
        for name, record in one.analysis.measures.items():
            for group, value in (("", record.value), *record.groups.items()):
                values.setdefault((name, group), np.full(len(networks), np.nan))[i] = value
            if record.skipped is None and not record.converged:
                unsettled[name] = unsettled.get(name, 0) + 1
    known = list(dict.fromkeys(name for name, _ in values))
    wanted = those_there(measures, known)
    values = {
        key: values[key]
        for key in sorted(values, key=lambda key: wanted.index(key[0]) if key[0] in wanted else -1)
        if key[0] in wanted
    }
    names = [one.name for one in networks]
    notes = [f"left out: {name} {reason}" for name, reason in (left_out or {}).items()]
    if again:
        shown = [f"{name} (as {first})" for name, first in list(again.items())[:_SHOWN]]
        rest = f" and {len(again) - _SHOWN} more" if len(again) > _SHOWN else ""
        notes.append(f"counted once, checkpoints that are there twice: {', '.join(shown)}{rest}")
    notes += [f"mixed: {words}" for words in mixed]
    notes += [
        f"{name}: {count} of {len(names)} values did not converge"
        for name, count in unsettled.items()
        if name in wanted
    ]
    table = _axes([one.config for one in networks], axes)
    margins = [one.analysis.measures.get("margin") for one in networks]
    signatures = pd.DataFrame(
        [{e: _number(m.details.get(e)) if m is not None else math.nan for e in SIGNATURE} for m in margins], index=names
    )
    return Study(
        Networks(names, outcome, table, find_pairs(table)),
        TARGETS[target],
        values,
        signatures if "margin" in wanted and signatures.notna().all(axis=1).any() else signatures.iloc[:0],
        notes,
    )


def check_target(target: str) -> None:
    """Raises:
    OptionError: analyses have no such target.
    """
    if target not in TARGETS:
        raise OptionError(f"--target: expected accuracy, gap or loss for analyses, got {target!r}.")


def study_of_table(
    table: pd.DataFrame, *, target: str, measures: Sequence[str] = (), axes: Sequence[str] | None = None
) -> Study:
    """Lay out anybody's numbers: a row a network, a column a measure, a hyperparameter or the outcome.

    Args:
        table: the first column that holds no numbers has the names; without one the rows are numbered from 1.
        target: the column of the outcome.
        measures: columns, or presets, which mean those of their measures that are columns; all numeric ones that are
            nothing else if empty.
        axes: columns that are hyperparameters; none if None.

    Raises:
        OptionError: a column is not there or holds no numbers, or there are fewer than three outcomes, or one alone.
    """
    chosen = [column(table, name, "--axes") for name in axes or ()]
    column(table, target, "--target")
    numbers = numeric_columns(table, [target, *chosen])
    wanted = _columns(table, numbers, measures) if measures else numbers
    if not pd.api.types.is_numeric_dtype(table[target]):
        raise OptionError(f"--target: the column {target!r} holds no numbers.")
    if not wanted:
        raise OptionError("the table has no column of numbers beside the target; expected one a measure.")
    words = [str(name) for name in table.columns if name not in numbers and name not in (target, *chosen)]
    labels = table[words[0]].astype(str).tolist() if words else [str(row + 1) for row in range(len(table))]
    from_one = [label if labels.count(label) == 1 else f"{label} (row {row + 1})" for row, label in enumerate(labels)]
    outcome = table[target].to_numpy(dtype=float, na_value=np.nan)
    _enough(outcome, target, from_one)
    frame = table[chosen].reset_index(drop=True)
    values = {(name, ""): table[name].to_numpy(dtype=float, na_value=np.nan) for name in wanted}
    return Study(Networks(from_one, outcome, frame, find_pairs(frame)), target, values, pd.DataFrame(columns=SIGNATURE))


def run_study(
    study: Study, *, log: bool = True, groups: bool = True, resamples: int = 1000, seed: int = 0
) -> Correlations:
    """Correlate each measure of the study with the outcome.

    Args:
        study: what is correlated.
        log: take the logarithm of each measure.
        groups: also of each substructure.
        resamples: of the bootstrap; 0: no intervals.
        seed: of the bootstrap and of the folds.

    Raises:
        OptionError: no measure can be correlated; the message has the reasons.
    """
    found = [
        correlate(study.networks, values, name, group, log=log, resamples=resamples, seed=seed)
        for (name, group), values in study.values.items()
        if groups or not group
    ]
    if all(one.refused is not None for one in found):
        reasons = "; ".join(f"{one.measure}: {one.refused}" for one in found if not one.group)
        raise OptionError(f"no measure can be correlated with {study.target} ({reasons}).")
    margins = None
    if len(study.signatures):
        outcome = pd.Series(study.networks.outcome, index=study.signatures.index)
        margins = margin_regression(study.signatures, outcome, log=log, seed=seed)
    names, axes = study.networks.names, [str(name) for name in study.networks.axes.columns]
    return Correlations(study.target, names, axes, found, margins, study.notes)


def _outcome(metrics: Mapping[str, float], target: str) -> float:
    test = metrics.get("test_loss" if target == "loss" else "test_accuracy", math.nan)
    return metrics.get("train_accuracy", math.nan) - test if target == "gap" else test


def _enough(outcome: FloatArray, target: str, names: Sequence[str]) -> None:
    known = int(np.isfinite(outcome).sum())
    if known < LEAST:
        without = [name for name, value in zip(names, outcome, strict=True) if not math.isfinite(value)]
        shown = f"; none is known of {', '.join(without[:5])}{' …' if len(without) > 5 else ''}" if without else ""
        raise OptionError(f"a correlation wants {LEAST} networks or more with a known {target}, got {known}{shown}.")
    if is_constant(outcome[np.isfinite(outcome)]):
        raise OptionError(f"nothing can be correlated with {target}: it is the same for all {known} networks.")


def _columns(table: pd.DataFrame, numbers: Sequence[str], wanted: Sequence[str]) -> list[str]:
    """The columns that are wanted by name, and of a preset those that are there."""
    found: dict[str, None] = {}
    for name in wanted:
        if name in PRESETS and name not in table.columns:
            found |= dict.fromkeys(one for one in expand([name]) if one in numbers)
            continue
        column(table, name, "--measures")
        if name not in numbers:
            raise OptionError(
                f"--measures: the column {name!r} holds no numbers, or is the target or a hyperparameter."
            )
        found[name] = None
    if not found:
        raise OptionError(f"--measures: the table has no measure of {', '.join(wanted)}; known: {', '.join(numbers)}.")
    return list(found)


def _axes(configs: Sequence[Mapping[str, Any]], wanted: Sequence[str] | None) -> pd.DataFrame:
    """The settings of the training that vary, a row a network; a setting left out is at its default."""
    known = dict.fromkeys(name for config in configs for name in config)
    for name in wanted or ():
        if name not in known:
            raise OptionError(f"--axes: no network has the setting {name!r}.{near(name, known)}")
    texts = {name: [_setting(config.get(name)) for config in configs] for name in known}
    varying = {
        name: values
        for name, values in texts.items()
        if len(set(map(str, values))) > 1 and name not in _NO_AXES and (wanted is None or name in wanted)
    }
    return pd.DataFrame(varying, index=range(len(configs)), dtype=object)


def _setting(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, (list, dict)) else value


def _row(one: Correlation) -> dict[str, Any]:
    line, c, i = one.line, one.coefficients, one.intervals
    return {
        "measure": one.measure,
        "group": one.group,
        "log": one.log,
        "n": one.n,
        "r2": line.r2 if line is not None else math.nan,
        "r2_low": i.r2.low,
        "r2_high": i.r2.high,
        "slope": line.slope if line is not None else math.nan,
        "intercept": line.intercept if line is not None else math.nan,
        "sign": "" if line is None else "+" if line.slope > 0 else "-",
        "pearson": c.pearson,
        "pearson_low": i.pearson.low,
        "pearson_high": i.pearson.high,
        "spearman": c.spearman,
        "kendall": c.kendall,
        "kendall_low": i.kendall.low,
        "kendall_high": i.kendall.high,
        "granulated_kendall": one.granulated.psi,
        "sign_error": one.sign_error.mean,
        "worst_sign_error": one.sign_error.worst,
        "worst_environment": one.sign_error.worst_environment,
        "explained_by": ", ".join(one.explained_by),
        "dropped": len(one.dropped),
        "refused": one.refused or "",
    }


def _number(value: Any) -> float:
    return float(value) if isinstance(value, (int, float)) else math.nan


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
