"""The figure of a repeated figure of CB. Loads no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from landscape.config.scaling_figures import SCALING_FIGURES
from landscape.numbers import format_coefficient
from landscape.plots.batch_scaling import Law, ScalingPanel, batch_scaling_figure
from landscape.plots.style import LINES, RED

_LABELS = {"gradient": "E|gᵢ|", "parameter_stride": "E|Δwᵢ|/η", "loss_stride": "E(ΔLᵢ)/η"}


def scaling_reproduction_figure(document: Mapping[str, Any]) -> Figure:
    """The means over the seeds with their standard deviations, the fitted law and the paper's exponent."""
    figure = SCALING_FIGURES[document["figure"]]
    sizes = [point["size"] for point in document["points"]]
    values = [point["mean"] for point in document["points"]]
    errors = [point["deviation"] or 0.0 for point in document["points"]]
    n = np.array(sizes, dtype=float)
    fitted = np.exp(document["intercept"]) * n ** document["exponent"]
    claimed = values[0] * (n / n[0]) ** figure.claimed
    panel = ScalingPanel(
        f"CB {figure.of}",
        [exponent_words(document)],
        _LABELS[figure.quantity],
        sizes,
        values,
        errors,
        [
            Law("fitted power law", fitted.tolist(), LINES[0], dashed=False),
            Law(f"equation {figure.equation}: exponent {format_coefficient(figure.claimed, 1)}", claimed.tolist(), RED),
        ],
    )
    words = f"{document['settings']['model']} on {document['settings']['data']}, layer {document['layer']}"
    return batch_scaling_figure([panel], note=f"{words}. Bars: standard deviation over {len(document['seeds'])} seeds.")


def exponent_words(document: Mapping[str, Any]) -> str:
    """The exponent with its interval over the seeds."""
    exponent = format_coefficient(document["exponent"])
    if document["low"] is None:
        return f"exponent {exponent} (one seed, no interval)"
    return f"exponent {exponent}, 95% {format_coefficient(document['low'])} to {format_coefficient(document['high'])}"
