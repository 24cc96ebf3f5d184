"""What can be followed while a network trains: every measure by its name, and trackers of the training itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

from landscape.errors import NotApplicableError, OptionError, near
from landscape.measures import MEASURES
from landscape.measures.curvature_radius import parabola_radii
from landscape.measures.normalized_curvature import normalized_curvature_trace
from landscape.training.stability import edge_of_stability
from landscape.workflows.tracking.moment import Moment, Subject, Value

# The details of a record that are followed too, and the quantity that each becomes.
_DETAILS = {
    "margin": ("q1", "q3", "middle_mean", "misclassified"),
    "jacobian_norm": ("spectral_norm",),
}


@dataclass(frozen=True)
class Quantity:
    """Something that can be followed.

    Attributes:
        name: what `--track` takes.
        compute: the values of a moment; `NotApplicableError` where it has none, the message is the reason.
        about: what it is, in a line.
        measures: of an analysis, whose records it reads.
        check: finds out before the training whether it can be followed; raises `OptionError` with the reason.
        strides: whether it needs every step summed up.
    """

    name: str
    compute: Callable[[Moment], Iterator[Value]]
    about: str
    measures: tuple[str, ...] = ()
    check: Callable[[Subject], object] = lambda subject: None
    strides: bool = False


def chosen(names: Sequence[str]) -> list[Quantity]:
    """The quantities named, in their order and once each.

    Raises:
        OptionError: a name is unknown (near names are offered), or there is none.
    """
    if not names:
        raise OptionError(f"nothing to track; name at least one of {', '.join(QUANTITIES)}.")
    for name in names:
        if name not in QUANTITIES:
            raise OptionError(f"unknown quantity to track {name!r}.{near(name, QUANTITIES)}")
    return [QUANTITIES[name] for name in dict.fromkeys(names)]


def _of_record(measure: str, moment: Moment) -> Iterator[Value]:
    """The value of a measure, those of its groups, and the details that are worth following."""
    record = moment.record(measure)
    yield Value(measure, record.value, record.stderr)
    errors = record.details.get("groups_stderr", {})
    for group, value in record.groups.items():
        yield Value(measure, value, errors.get(group, 0.0 if record.stderr == 0 else math.nan), group)
    for key in _DETAILS.get(measure, ()):
        if math.isfinite(record.details.get(key, math.nan)):
            yield Value(f"{measure}_{key}", record.details[key], 0.0)
    if measure == "top_eigenvalues":
        yield from _further_eigenvalues(moment)


def _further_eigenvalues(moment: Moment) -> Iterator[Value]:
    details = moment.record("top_eigenvalues").details
    values, residuals = details.get("eigenvalues", []), details.get("residuals", [])
    for number, (value, residual) in enumerate(zip(values, residuals, strict=True), start=1):
        if number > 1:
            yield Value(f"top_eigenvalues_{number}", value, residual)
    if "most_negative" in details:
        yield Value("top_eigenvalues_lowest", details["most_negative"], details["most_negative_residual"])


def _norms(moment: Moment) -> Iterator[Value]:
    theta = moment.subject.problem.parameters
    squares = {name: float(tensor.double().square().sum()) for name, tensor in theta.items()}
    yield Value("norm", math.sqrt(sum(squares.values())))
    for group, names in moment.subject.groups.items():
        yield Value("norm", math.sqrt(sum(squares[name] for name in names)), group=group)


def _effective_rates(moment: Moment) -> Iterator[Value]:
    theta = moment.subject.problem.parameters
    for layer, names in moment.subject.normalized_layers().items():
        square = sum(float(theta[name].double().square().sum()) for name in names)
        if square > 0:
            yield Value("effective_learning_rate", moment.rate_of(names) / square, group=layer)


def _edge(moment: Moment) -> Iterator[Value]:
    record = moment.record("top_eigenvalues")
    yield Value("top_eigenvalues", record.value, record.stderr)
    edge = edge_of_stability(moment.subject.must_have_optimizer(), moment.rate)
    if math.isfinite(edge):
        yield Value("edge", edge)


def _strides(moment: Moment) -> Iterator[Value]:
    for group, stride in moment.strides().items():
        yield Value("parameter_stride", stride.parameter, group=group)
        yield Value("loss_stride", stride.loss, group=group)


def _radii(moment: Moment) -> Iterator[Value]:
    subject = moment.subject
    for group, radius in parabola_radii(subject.problem, by=subject.fine).items():
        if math.isfinite(radius.median):
            yield Value("curvature_radius", radius.median, group=group)


def _normalized_curvature(moment: Moment) -> Iterator[Value]:
    subject = moment.subject
    layers = subject.normalized_layers()
    kinds = normalized_curvature_trace(subject.problem, members=layers, seed=subject.seed).details["kinds"]
    for kind, found in kinds.items():
        for layer, value in found["layers"].items():
            yield Value(f"normalized_{kind}_trace", value, found["layers_stderr"][layer], layer)
    if "fisher" not in kinds:
        raise NotApplicableError(f"the loss {subject.problem.loss_name} defines no label distribution")


def _check_edge(subject: Subject) -> None:
    subject.must_have_optimizer()


def _check_rates(subject: Subject) -> None:
    subject.must_have_optimizer()
    subject.normalized_layers()


_TRACKERS = (
    Quantity("norms", _norms, "Euclidean norms of the parameters, of all and by substructure (CS figures 2 to 4)"),
    Quantity(
        "effective_learning_rate",
        _effective_rates,
        "eta / ||w||^2 of each layer that feeds a batch normalisation (WD figure 3)",
        check=_check_rates,
    ),
    Quantity(
        "edge",
        _edge,
        "the top Hessian eigenvalue and the edge of stability of the optimizer (TP figure 3)",
        measures=("top_eigenvalues",),
        check=_check_edge,
    ),
    Quantity(
        "margins",
        partial(_of_record, "margin"),
        "the distribution of the normalised input margins: the measure `margin` (TP figure 1)",
        measures=("margin",),
    ),
    Quantity(
        "strides",
        _strides,
        "the mean change of a parameter in a step, and its gain of loss (CB figures 4 to 7)",
        check=_check_edge,
        strides=True,
    ),
    Quantity("curvature_radius", _radii, "the median of |theta/g| of each layer (CB figure 2)"),
    Quantity(
        "normalized_curvature",
        _normalized_curvature,
        "||w||^2 times the traces of the Fisher and the Gauss-Newton matrix, of each layer that feeds a batch "
        "normalisation (WD figure 7)",
        check=Subject.normalized_layers,
    ),
)

QUANTITIES: Mapping[str, Quantity] = MappingProxyType(
    {
        **{q.name: q for q in _TRACKERS},
        **{
            name: Quantity(name, partial(_of_record, name), measure.about.title, measures=(name,))
            for name, measure in MEASURES.items()
            if name not in {q.name for q in _TRACKERS}  # while it trains, the training itself says more
        },
    }
)

__all__ = ["QUANTITIES", "NotApplicableError", "Quantity", "chosen"]
