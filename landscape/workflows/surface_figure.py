"""The figure of a surface. Loads no torch."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from matplotlib.figure import Figure

from landscape.errors import OptionError
from landscape.numbers import format_plain, rewritten
from landscape.plots.slice_curve import slice_figure
from landscape.plots.surface import Path, contour_figure, relief_figure
from landscape.surfaces.grid import Surface

Kind = Literal["contour", "3d"]
Value = Literal["loss", "accuracy"]


def surface_figure(surface: Surface, *, kind: Kind = "contour", value: Value = "loss", log: bool = False) -> Figure:
    """Draw a surface: the curves of a line, or contours or a relief of a plane.

    Args:
        surface: finished or not; points that were not computed are holes, and the note says so.
        kind: of the figure of a plane.
        value: which one a plane shows; a line shows both.
        log: the loss on a logarithmic scale.

    Raises:
        OptionError: accuracy on a logarithmic scale, or of a problem without classes.
    """
    if value == "accuracy" and log:
        raise OptionError("--log is a scale of the loss; leave it out with --value accuracy.")
    if value == "accuracy" and not np.isfinite(surface.accuracy).any():
        raise OptionError("--value accuracy: the surface has none; its labels are no classes.")
    about = surface.about
    labels = [_axis_label(label, norm) for label, norm in zip(about["labels"], about["norms"], strict=True)]
    loss_label = f"mean {about['loss']}" + (" (log scale)" if log else "")
    note = _note(surface, log)
    if surface.dimensions == 1:
        ends = (0.0, 1.0) if surface.settings["directions"] in ("line", "bezier") else (0.0,)
        return slice_figure(
            surface.x, surface.loss[0], surface.accuracy[0],
            x_label=labels[0], loss_label=loss_label, log=log, marks=ends, note=note,
        )  # fmt: skip
    values = surface.loss if value == "loss" else 100 * surface.accuracy
    value_label = loss_label if value == "loss" else "accuracy in percent"
    if kind == "3d":
        return relief_figure(
            surface.x, surface.y, values,
            value_label=value_label, x_label=labels[0], y_label=labels[1], log=log, note=note,
        )  # fmt: skip
    path = Path(surface.path, about["path_labels"], about["path_title"]) if len(surface.path) else None
    return contour_figure(
        surface.x, surface.y, values,
        value_label=value_label, x_label=labels[0], y_label=labels[1], log=log, path=path, note=note,
        equal=about["norms"][0] is not None and math.isclose(*about["norms"], rel_tol=1e-3),
    )  # fmt: skip


def _axis_label(label: str, norm: float | None) -> str:
    label = rewritten(label)
    if norm is None:
        return label
    return f"{label} (‖Δθ‖)" if abs(norm - 1) < 1e-4 else f"{label}; 1 is ‖Δθ‖ = {format_plain(norm)}"


def _note(surface: Surface, log: bool) -> str:
    missing = int((~surface.done).sum())
    below = int((surface.done & (surface.loss <= 0)).sum()) if log else 0
    parts = [
        f"{surface.holes} points are NaN or infinite" if surface.holes else "",
        f"{below} are not above 0" if below else "",
        f"{missing} are not computed yet" if missing else "",
    ]
    told = ", ".join(part for part in parts if part)
    return f"Hatched: {told}." if told else ""
