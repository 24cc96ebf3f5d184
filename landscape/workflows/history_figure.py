"""The figure of one run's history and track, or of several runs laid over each other. Loads no torch."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import matplotlib as mpl
import pandas as pd
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from landscape.catalog import CATALOG
from landscape.plots.curves import Curve, CurvePanel, Dash, ShareStrips, Span, curves_figure
from landscape.plots.style import BLUE, GREY, INK, LINES, RED
from landscape.workflows.history import RunHistory

TITLES = {
    "norm": "Norm of the parameters",
    "effective_learning_rate": "Effective learning rate η/‖w‖²",
    "parameter_stride": "Parameter stride E|Δw| of a step",
    "loss_stride": "Loss stride E(−Δw g) of a step",
    "curvature_radius": "Curvature radius, median of |θ/g|",
    "normalized_fisher_trace": "‖w‖² tr F of a layer",
    "normalized_gauss_newton_trace": "‖w‖² tr GN of a layer",
    "jacobian_norm_spectral_norm": "Input–output Jacobian, spectral norm",
    "margin_misclassified": "Share of negative margins",
}
# Drawn within the panel of another quantity.
_WITHIN = ("edge", "top_eigenvalues_", "margin_q1", "margin_q3", "margin_middle_mean")
_SHARES = ("margin_misclassified",)
_FEW = 6
BANDS = "Bands: ± one standard error of the estimate."
QUARTILES = "Margins: first to third quartile."


def history_figure(runs: Sequence[RunHistory]) -> Figure:
    """Loss, accuracy and learning rate with the phases, what was decayed, and each tracked quantity over the epochs.

    Several runs have a colour each; a quantity that is known by substructure then has a panel a substructure: of more
    than six the first, the middle and the last.
    """
    return _figure(_panels(runs))


def history_figures(runs: Sequence[RunHistory], *, first: int = 4, most: int = 6) -> list[Figure]:
    """The same in figures for pages: `most` panels each, and `first` in that which stands below a table."""
    panels = _panels(runs)
    starts = [0, *range(first, len(panels), most)]
    return [_figure(panels[start:end]) for start, end in zip(starts, [*starts[1:], len(panels)], strict=True)]


def _panels(runs: Sequence[RunHistory]) -> list[CurvePanel | ShareStrips]:
    if len(runs) == 1:
        return [*_history(runs[0]), *_decays(runs[0]), *_tracked(runs[0])]
    return [*_histories(runs), *_overlaid(runs)]


def _figure(panels: Sequence[CurvePanel | ShareStrips]) -> Figure:
    curves = [curve for panel in panels if isinstance(panel, CurvePanel) for curve in panel.curves]
    notes = [BANDS] if any(c.error is not None and any(e > 0 for e in c.error) for c in curves) else []
    notes += [QUARTILES] if any(c.band is not None for c in curves) else []
    return curves_figure(panels, note=" ".join(notes))


# -- one run ---------------------------------------------------------------------------------------------------------


def _history(run: RunHistory) -> list[CurvePanel]:
    table = run.history
    x = table["epoch"].tolist()
    spans, cuts = _phases(table), _cuts(table)

    def pair(what: str) -> list[Curve]:
        return [
            Curve("train", x, table[f"train_{what}"].tolist(), BLUE),
            Curve("test", x, table[f"test_{what}"].tolist(), RED),
        ]

    return [
        CurvePanel("Loss", pair("loss"), spans, cuts),
        CurvePanel("Accuracy", pair("accuracy"), spans, cuts, linear=True),
        CurvePanel("Learning rate", [Curve("", x, table["lr"].tolist(), INK)], spans, cuts, linear=True),
    ]


def _phases(table: pd.DataFrame) -> list[Span]:
    """The stretches of the two-phase rule; a row's phase is that of the epoch before it."""
    if "phase" not in table:
        return []
    spans: list[Span] = []
    for epoch, phase in zip(table["epoch"], table["phase"], strict=True):
        if not isinstance(phase, str):
            continue
        if spans and spans[-1].label == phase:
            spans[-1] = Span(phase, spans[-1].start, float(epoch))
        else:
            spans.append(Span(phase, float(epoch) - 1, float(epoch)))
    return spans


def _cuts(table: pd.DataFrame) -> list[float]:
    return [float(epoch) for epoch in table.loc[table["cut"] == 1, "epoch"]] if "cut" in table else []


def _decays(run: RunHistory) -> list[ShareStrips]:
    """Which tensors were decayed in which share of each epoch's steps; only those where that changes."""
    decay, history = run.decay, run.history
    if decay.empty or len(history) < 2:
        return []
    names = [name for name in decay.columns if name != "step" and decay[name].nunique() > 1]
    if not names:
        return []
    ends = history["step"].astype(int).tolist()
    shares = []
    for name in names:
        known = pd.Series((decay[name] > 0).to_numpy(), index=decay["step"].astype(int))
        steps = known.reindex(range(1, ends[-1] + 1)).ffill()
        shares.append([float(steps.loc[low + 1 : high].mean()) for low, high in pairwise(ends)])
    edges = [float(epoch) for epoch in history["epoch"]]
    return [ShareStrips("Share of steps with decay, by tensor", names, edges, shares)]


def _tracked(run: RunHistory) -> list[CurvePanel]:
    panels = []
    for quantity in _quantities(run.track):
        of_it = run.track[run.track["quantity"] == quantity]
        if quantity == "top_eigenvalues":
            panels.append(_eigenvalues(run.track))
        elif quantity == "margin":
            panels.append(_margins(run.track))
        else:
            panels.append(_by_group(quantity, of_it))
    return panels


def _quantities(track: pd.DataFrame) -> list[str]:
    """In the order of the track; the eigenvalues first, as they are looked at beside the learning rate."""
    found = list(dict.fromkeys(track["quantity"]))
    if "edge" in found and "top_eigenvalues" not in found:
        return found
    kept = [name for name in found if not any(name.startswith(part) for part in _WITHIN)]
    return sorted(kept, key=lambda name: name != "top_eigenvalues")


def _title(quantity: str) -> str:
    if quantity in CATALOG:
        return CATALOG[quantity].title
    return TITLES.get(quantity, quantity.replace("_", " "))


def _curve(rows: pd.DataFrame, label: str, colour: str, *, dash: Dash = "-", bold: bool = False) -> Curve:
    return Curve(
        label,
        rows["at"].tolist(),
        rows["value"].tolist(),
        colour,
        dash,
        error=rows["stderr"].fillna(0.0).tolist(),
        bold=bold,
    )


def _whole(track: pd.DataFrame, quantity: str) -> pd.DataFrame:
    return track[(track["quantity"] == quantity) & (track["group"] == "")]


def _eigenvalues(track: pd.DataFrame) -> CurvePanel:
    curves = [_curve(_whole(track, "top_eigenvalues"), "λ₁", BLUE, bold=True)]
    title = "Top Hessian eigenvalues"
    further = [name for name in dict.fromkeys(track["quantity"]) if name.startswith("top_eigenvalues_")]
    for number, colour in ((2, "#5BA3CF"), (3, "#9CC9E5")):
        if f"top_eigenvalues_{number}" in further:
            curves.append(_curve(_whole(track, f"top_eigenvalues_{number}"), f"λ{'₂₃'[number - 2]}", colour))
    edge = _whole(track, "edge")
    if not edge.empty:
        curves.append(_curve(edge, "edge of stability", RED, dash="--"))
        title = "Top eigenvalues and edge of stability"
    return CurvePanel(title, curves)


def _margins(track: pd.DataFrame) -> CurvePanel:
    median = _whole(track, "margin")
    sides = [_whole(track, f"margin_{name}")["value"].tolist() for name in ("q1", "q3")]
    x = median["at"].tolist()
    band = (sides[0], sides[1]) if all(len(side) == len(x) for side in sides) else None
    curves = [Curve("median", x, median["value"].tolist(), BLUE, band=band, bold=True)]
    middle = _whole(track, "margin_middle_mean")
    if not middle.empty:
        curves.append(_curve(middle, "mean of the middle half", RED, dash="--"))
    return CurvePanel(_title("margin"), curves)


def _by_group(quantity: str, rows: pd.DataFrame) -> CurvePanel:
    groups = [group for group in dict.fromkeys(rows["group"]) if group]
    colours = _colours(len(groups))
    curves = [
        _curve(rows[rows["group"] == group], group, colour) for group, colour in zip(groups, colours, strict=True)
    ]
    total = rows[rows["group"] == ""]
    if not total.empty:
        curves.append(_curve(total, "all" if groups else "", INK, bold=True))
    legend: list[tuple[str, str, Dash]] | None = None
    if len(groups) > _FEW:
        middle = len(groups) // 2
        legend = [(groups[i], colours[i], "-") for i in (0, middle, len(groups) - 1)]
        legend += [("all", INK, "-")] if not total.empty else []
    return CurvePanel(_title(quantity), curves, legend=legend, linear=quantity in _SHARES)


def _colours(count: int) -> list[str]:
    """Colours of the palette for a few groups; for many (layers in their order) from dark to light."""
    if count <= _FEW:
        return list(LINES[:count])
    ramp = mpl.colormaps["viridis"]
    return [to_hex(ramp(0.92 * i / (count - 1))) for i in range(count)]


# -- several runs ----------------------------------------------------------------------------------------------------


def _histories(runs: Sequence[RunHistory]) -> list[CurvePanel]:
    colours = _run_colours(runs)
    names: list[tuple[str, str, Dash]] = [(run.name, colour, "-") for run, colour in zip(runs, colours, strict=True)]
    splits: list[tuple[str, str, Dash]] = [("train", GREY, "--"), ("test", GREY, "-")]
    panels = []
    for what in ("loss", "accuracy"):
        curves = [
            Curve(run.name, run.history["epoch"].tolist(), run.history[f"{split}_{what}"].tolist(), colour, dash)
            for run, colour in zip(runs, colours, strict=True)
            for split, _, dash in splits
        ]
        panels.append(CurvePanel(what.capitalize(), curves, legend=[*names, *splits], linear=what == "accuracy"))
    rates = [
        Curve(run.name, run.history["epoch"].tolist(), run.history["lr"].tolist(), colour)
        for run, colour in zip(runs, colours, strict=True)
    ]
    return [*panels, CurvePanel("Learning rate", rates, linear=True)]


def _overlaid(runs: Sequence[RunHistory]) -> list[CurvePanel]:
    colours = _run_colours(runs)
    together = pd.concat([run.track for run in runs], ignore_index=True)
    panels = []
    for quantity in _quantities(together):
        rows = together[together["quantity"] == quantity]
        groups = [group for group in dict.fromkeys(rows["group"]) if group]
        if "" in set(rows["group"]):
            panels.append(_of_runs(runs, colours, quantity, "", _title(quantity)))
        if quantity == "top_eigenvalues":  # its groups say which part the one eigenvector lies in
            continue
        if len(groups) > _FEW:
            groups = [groups[i] for i in (0, len(groups) // 2, len(groups) - 1)]
        panels += [_of_runs(runs, colours, quantity, group, f"{_title(quantity)}: {group}") for group in groups]
    return panels


def _of_runs(runs: Sequence[RunHistory], colours: Sequence[str], quantity: str, group: str, title: str) -> CurvePanel:
    curves = []
    edged = False
    for run, colour in zip(runs, colours, strict=True):
        rows = run.track[(run.track["quantity"] == quantity) & (run.track["group"] == group)]
        if not rows.empty:
            curves.append(_curve(rows, run.name, colour))
        edge = _whole(run.track, "edge")
        if quantity == "top_eigenvalues" and not edge.empty:
            curves.append(_curve(edge, run.name, colour, dash="--"))
            edged = True
    legend: list[tuple[str, str, Dash]] = [(run.name, colour, "-") for run, colour in zip(runs, colours, strict=True)]
    if edged:
        return CurvePanel(
            "Top eigenvalue and edge of stability",
            curves,
            legend=[*legend, ("edge of stability", GREY, "--")],
        )
    return CurvePanel(title, curves, legend=legend, linear=quantity in _SHARES)


def _run_colours(runs: Sequence[RunHistory]) -> list[str]:
    return _colours(len(runs))
