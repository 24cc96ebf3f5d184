"""The figure of a study of gradients against batch size, as figures 3, 4 and 7 of CB. Loads no torch."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.figure import Figure

from landscape.errors import OptionError, near
from landscape.numbers import format_coefficient, format_count, format_value
from landscape.plots.batch_scaling import Law, ScalingPanel, batch_scaling_figure
from landscape.plots.style import GREY, LINES, RED
from landscape.study.batch_scaling import GAUSSIAN
from landscape.workflows.batch_scaling_document import WHOLE, BatchScaling, GroupScaling

_TITLES = {
    "gradient": ("Mean gradient (CB figure 3)", "E|gᵢ|"),
    "parameter_stride": ("Parameter stride (CB figure 4)", "η E|gᵢ|"),
    "loss_stride": ("Loss stride (CB figure 7)", "η E gᵢ²"),
}


def scaling_figure(study: BatchScaling, *, group: str = WHOLE) -> Figure:
    """Draw one group: gradient, parameter stride, loss stride, and the norm with its signal and its noise.

    Raises:
        OptionError: there is no such group.
    """
    if group not in study.groups:
        raise OptionError(f"--plot-group: there is no group {group!r}.{near(group, study.groups)}")
    found = study.groups[group]
    panels = [_panel(study, found, quantity) for quantity in _TITLES] + [_norms(study, found)]
    of = "all" if group == WHOLE else group
    note = f"{format_count(found.parameters)} parameters ({of}), {format_count(study.problem['samples'])} samples. "
    return batch_scaling_figure(panels, note=f"{note}Bars: one standard error.")


def _panel(study: BatchScaling, found: GroupScaling, quantity: str) -> ScalingPanel:
    title, label = _TITLES[quantity]
    values, errors = zip(*(point.value(quantity) for point in found.points), strict=True)
    sizes, rates = np.asarray(study.sizes, dtype=float), np.asarray(study.rates, dtype=float)
    law = found.exponents[quantity]
    laws, words = [], ["no value at every size is above 0: no exponent"]
    if math.isfinite(law.exponent):
        exponent, low, high = (format_coefficient(number) for number in (law.exponent, law.low, law.high))
        words = [f"exponent {exponent}, 95% interval {low} to {high}"]
        fitted = np.exp(law.intercept) * sizes**law.exponent
        laws.append(Law("fitted power law", fitted.tolist(), LINES[0], dashed=False))
    expected = format_coefficient(law.expected, 1)
    by_rate = np.ones(len(sizes)) if quantity == "gradient" else rates
    if quantity == "loss_stride":
        noise = by_rate * found.noise_scale.noise / (sizes * found.parameters)
        laws.append(Law(f"noise alone, S/(np): exponent {expected}", noise.tolist(), RED))
    else:
        noise = by_rate * GAUSSIAN * found.scatter / np.sqrt(sizes)
        laws.append(Law(f"noise alone, σ√(2/(πn)): exponent {expected}", noise.tolist(), RED))
    return ScalingPanel(title, words, label, study.sizes, values, errors, laws)


def _norms(study: BatchScaling, found: GroupScaling) -> ScalingPanel:
    """p E g_i^2 = |G|^2 + S/n, where the two terms cross at the noise scale."""
    scale = found.noise_scale
    sizes, rates = np.asarray(study.sizes, dtype=float), np.asarray(study.rates, dtype=float)
    values = np.array([point.loss_stride for point in found.points]) / rates * found.parameters
    errors = np.array([point.loss_stride_stderr for point in found.points]) / rates * found.parameters
    laws = [Law("noise S/n", (scale.noise / sizes).tolist(), RED)]
    if scale.signal > 0:
        laws.append(Law("signal |G|²", [scale.signal] * len(sizes), GREY))
        both = (scale.signal + scale.noise / sizes).tolist()
        laws.append(Law("signal and noise", both, LINES[0], dashed=False))
    mark = (scale.scale, scale.scale_stderr) if scale.resolved else None
    return ScalingPanel(
        "Gradient noise scale", [noise_scale_words(found)], "|g|²", study.sizes, values.tolist(), errors.tolist(),
        laws, mark, "S/|G|²",
    )  # fmt: skip


def noise_scale_words(found: GroupScaling) -> str:
    """S/|G|^2 with its error, or what can be said where the signal is hidden."""
    scale = found.noise_scale
    if scale.resolved:
        return f"S/|G|² = {format_value(scale.scale, scale.scale_stderr)} samples"
    bound = f" above {format_value(scale.at_least, digits=2)} samples" if math.isfinite(scale.at_least) else ""
    return f"S/|G|² not resolved:{bound or ' the noise hides the signal'}"
