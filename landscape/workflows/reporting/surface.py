"""The part on a surface: what was computed where, and its figures."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from landscape.numbers import format_count, format_plain, format_share, format_value, rewritten
from landscape.plots.style import svg
from landscape.report.blocks import Block, Fact, Facts, Figures, Part, Shown
from landscape.surfaces.grid import Surface
from landscape.workflows.surface_figure import surface_figure

LOG_FROM = 100.0
"""Largest over smallest loss from which on it is drawn on a logarithmic scale."""


def surface_part(
    surface: Surface, *, name: str, title: str = "", key: str = "surface", origin: Sequence[Fact] = ()
) -> Part:
    """The part on one surface; `name` is that of its file, and `title` of the part where it is not the file's."""
    blocks: list[Block] = [Facts([*facts(surface), *origin]), Figures(_figures(surface))]
    shape = " × ".join(str(len(axis)) for axis in (surface.x, surface.y)[: surface.dimensions])
    return Part(title or f"Surface {name}", key, blocks, summary=f"{shape} points, {_kind(surface)}")


def facts(surface: Surface) -> list[Fact]:
    """What was computed, in words."""
    about, settings, at = surface.about, surface.settings, surface.about["origin"]
    shape = " × ".join(str(len(axis)) for axis in (surface.x, surface.y)[: surface.dimensions])
    done = "" if surface.finished else f", {format_count(int(surface.done.sum()))} of them computed"
    rows = [
        Fact("Directions", _kind(surface)),
        Fact("Points", f"{shape}{done}"),
        Fact("Samples", f"{format_count(about['samples'])}, {settings.get('split', '')} split".rstrip(", ")),
        Fact("Batch normalisation", _bn(str(settings.get("bn", "")))),
    ]
    for label, norm in zip(about["labels"], about["norms"], strict=True):
        if norm is not None:
            rows.append(Fact("Axis", f"{rewritten(label)}: 1 is a displacement of {format_value(norm)}"))
    if surface.dimensions == 2:
        angle = math.degrees(math.acos(min(max(float(about["cosine"]), -1.0), 1.0)))
        rows.append(Fact("Angle", f"{angle:.2f}° between the directions"))
    accuracy = float(at["accuracy"]) if at.get("accuracy") is not None else math.nan
    told = f", accuracy {format_share(accuracy)}" if math.isfinite(accuracy) else ""
    rows.append(Fact("At the checkpoint", f"loss {format_value(float(at['loss']))}{told}"))
    finite = np.where(np.isfinite(surface.loss), surface.loss, np.nan)
    if np.isfinite(finite).any():
        for label, place in (("Lowest loss", np.nanargmin(finite)), ("Highest loss", np.nanargmax(finite))):
            rows.append(Fact(label, _place(surface, int(place))))
    if surface.holes:
        rows.append(Fact("Holes", f"{format_count(surface.holes)} points are NaN or infinite"))
    return rows


def _place(surface: Surface, place: int) -> str:
    j, i = np.unravel_index(place, surface.loss.shape)
    x, y = format_plain(surface.x[i]), format_plain(surface.y[j])
    return f"{format_value(float(surface.loss[j, i]))} at {f'({x}, {y})' if surface.dimensions == 2 else x}"


def _figures(surface: Surface) -> list[Shown]:
    log = _spans_decades(surface)
    scale = ", on a logarithmic scale" if log else ""
    if surface.dimensions == 1:
        alt = "Loss and accuracy along a line or curve."
        return [_shown(svg(surface_figure(surface, log=log)), f"Loss{scale} and accuracy along the slice.", alt)]
    shown = [
        _shown(svg(surface_figure(surface, log=log)), f"Contours of the loss{scale}.", "Contours of the loss."),
        _shown(
            svg(surface_figure(surface, kind="3d", log=log)), f"The loss{scale} as a relief.", "The loss as a relief."
        ),
    ]
    if np.isfinite(surface.accuracy).any():
        drawn = svg(surface_figure(surface, value="accuracy"))
        shown.append(_shown(drawn, "Contours of the accuracy.", "Contours of the accuracy."))
    return shown


def _shown(drawn: bytes, caption: str, alt: str) -> Shown:
    return Shown(drawn.decode(), caption, alt)


def _spans_decades(surface: Surface) -> bool:
    known = surface.loss[surface.done & np.isfinite(surface.loss)]
    return bool(len(known) and known.min() > 0 and known.max() > LOG_FROM * known.min())


def _kind(surface: Surface) -> str:
    directions = str(surface.settings["directions"])
    normal = surface.settings.get("normalize")
    return (
        f"{directions}, normalised by {normal}"
        if directions == "random" and normal not in (None, "none")
        else directions
    )


def _bn(mode: str) -> str:
    return {"eval": "by the running statistics as saved", "recalibrate": "computed anew at each point"}.get(mode, mode)
